"""The mounts of a RUN: what a cache key says of them, and how they come about."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from envkit.digest import fingerprint
from envkit.errors import ConflictError
from envkit.host.files import make_directory
from envkit.host.lock import Lock
from envkit.image.dockerfile.copy import put_file
from envkit.image.dockerfile.sources import File, Source
from envkit.image.placing import LayerError, Placer
from envkit.image.sandbox import Bind
from envkit.image.step import Step
from envkit.image.users import Identity
from envkit.spec.dockerfile.mounts import RunMount
from envkit.values import field, struct, value


@struct
class Mounted:
    """What the command is given."""

    binds: list[Bind] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)


@value
class Mounting:
    """source(name, step): the tree that `from` means. secrets: id -> name of the secret; ssh: id -> path ("": the
    agent of this process)."""

    mounts: Sequence[RunMount]
    source: Callable[[str, Step], Source]
    workdir: str = "/"
    secrets: Mapping[str, str] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> list[Any]:
        """Caches and secrets count as written, whatever is in them."""
        return [
            [mount.kind, self._target(mount), mount.source, mount.origin, mount.id, mount.writable, mount.env,
             mount.size, mount.required] for mount in self.mounts
        ]  # fmt: skip

    @property
    def looks(self) -> bool:
        """Whether there is anything to see."""
        return any(mount.kind == "bind" for mount in self.mounts)

    def sees(self, step: Step) -> Any:
        """Bind mounts count with what is in them."""
        seen = []
        for mount in self.mounts:
            if mount.kind == "bind":
                source = self.source(mount.origin, step)
                with ExitStack() as stack:
                    seen.append(fingerprint([_row(source, file) for file in _files(source, mount, stack)]))
        return seen

    def _target(self, mount: RunMount) -> str:
        if not mount.target:
            name = mount.id or "default"
            return f"/run/secrets/{name}" if mount.kind == "secret" else ""
        return posixpath.normpath(posixpath.join(self.workdir, mount.target))

    def mount(self, step: Step, identity: Identity, stack: ExitStack) -> Mounted:
        """Make them; what they hold open is let go with stack. Raises LayerError."""
        made = Mounted()
        for number, mount in enumerate(self.mounts):
            target = self._target(mount)
            if mount.kind == "tmpfs":
                made.tmpfs += (target,)
                made.sizes[target] = mount.size
            elif mount.kind == "cache":
                path = self._cache(step, mount, target, stack)
                made.binds.append(Bind(path, target, read_only=not mount.writable))
            elif mount.kind == "bind":
                made.binds.append(self._bind(step, mount, target, number, stack))
            elif mount.kind == "secret":
                self._secret(step, mount, target, number, made)
            else:
                self._agent(step, mount, number, made)
        return made

    def _bind(self, step: Step, mount: RunMount, target: str, number: int, stack: ExitStack) -> Bind:
        source = self.source(mount.origin, step)
        files = _files(source, mount, stack)
        if not mount.writable and not source.ignore:
            return Bind(os.path.realpath(files[0].path), target)
        place = step.space.directory(f"bind-{number}")
        top = "/top"
        with Placer(place) as placer:
            for file in files:
                _copy(placer, file, f"{top}/{file.name}".rstrip("/"))
        return Bind(place + top, target, read_only=not mount.writable)

    def _cache(self, step: Step, mount: RunMount, target: str, stack: ExitStack) -> str:
        """One directory per id, shared by all builds of this installation."""
        name = hashlib.sha256(f"{mount.id or target}".encode()).hexdigest()[:16]
        base = os.path.join(step.context.home.cache, "build", "caches", f"dockerfile-{name}")
        path = base
        make_directory(os.path.dirname(base), 0o755)
        if mount.sharing == "locked":
            stack.enter_context(Lock(base + ".lock", {"purpose": "a cache of builds"}))
        elif mount.sharing == "private":
            path = _private(base, stack)
        if not os.path.isdir(path):
            make_directory(path, 0o755)
            if mount.origin:
                with ExitStack() as inner, Placer(path) as placer:
                    for file in _files(self.source(mount.origin, step), mount, inner):
                        if file.name:
                            _copy(placer, file, "/" + file.name)
            os.chmod(path, 0o755 if mount.mode is None else mount.mode)
            os.chown(path, mount.uid, mount.gid)
        return path

    def _secret(self, step: Step, mount: RunMount, target: str, number: int, made: Mounted) -> None:
        identifier = mount.id or posixpath.basename(mount.target)
        name = self.secrets.get(identifier)
        if name is None:
            if mount.required:
                hint = f"add it to `secrets:` of the build: [{{source: NAME, target: {identifier}}}]"
                raise LayerError("a command asks for a secret that the build does not give", identifier, hint)
            return
        content = step.context.secret(name)
        if mount.env:
            made.environment[mount.env] = content.decode(errors="surrogateescape")
            if not mount.target:
                return
        directory = step.space.tmpfs("secrets") if not _is_there(step, "secrets") else step.space.directory("secrets")
        path = step.space.file(f"secrets/{number}", content, 0o400 if mount.mode is None else mount.mode)
        os.chown(path, mount.uid, mount.gid)
        os.chmod(directory, 0o755)
        made.binds.append(Bind(path, target))

    def _agent(self, step: Step, mount: RunMount, number: int, made: Mounted) -> None:
        identifier = mount.id or "default"
        path = self.ssh.get(identifier)
        agent = path or step.context.environ.get("SSH_AUTH_SOCK", "") if path is not None else ""
        if agent and os.path.exists(agent) and stat.S_ISSOCK(os.stat(agent).st_mode):
            target = mount.target or f"/run/buildkit/ssh_agent.{number}"
            made.binds.append(Bind(agent, target, read_only=False))
            made.environment["SSH_AUTH_SOCK"] = target
            return
        if path is not None and agent:
            hint = "start an agent that holds the key (ssh-agent, ssh-add), and give `ssh: [default]`"
            raise LayerError("this is no SSH agent", agent, hint)
        if mount.required or path is not None:
            hint = f"write `ssh: [{identifier}]` below the build, and start an agent: SSH_AUTH_SOCK names it"
            raise LayerError("a command asks for an SSH agent that is not there", identifier, hint)


def _is_there(step: Step, name: str) -> bool:
    return os.path.isdir(os.path.join(step.space.path, name))


def _private(base: str, stack: ExitStack) -> str:
    """A directory that no other command uses now."""
    number = 0
    while True:
        path = f"{base}-{number}" if number else base
        lock = Lock(path + ".lock", {"purpose": "a private cache of a build"})
        try:
            lock.acquire(0)
        except ConflictError:
            number += 1
            continue
        stack.callback(lock.release)
        return path


def _files(source: Source, mount: RunMount, stack: ExitStack) -> list[File]:
    matches = [match for match in source.matches(mount.source or "/", (), stack) if match.files]
    if len(matches) != 1:
        raise LayerError("a mount's source is not one file or directory", mount.source)
    return matches[0].files


def _row(source: Source, file: File) -> list[Any]:
    mode = file.info.st_mode
    return [file.name, stat.S_IFMT(mode), stat.S_IMODE(mode), source.digest(file)]


def _copy(placer: Placer, file: File, target: str) -> None:
    mode = file.info.st_mode
    if stat.S_ISDIR(mode):
        placer.make_directory(target, stat.S_IMODE(mode), file.info.st_uid, file.info.st_gid)
    elif stat.S_ISLNK(mode):
        placer.link(target, os.readlink(file.path))
    elif stat.S_ISREG(mode):
        put_file(placer, file.path, target, stat.S_IMODE(mode), (file.info.st_uid, file.info.st_gid), attributes=False)
