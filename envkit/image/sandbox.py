"""Run one command in the root of a layer that is being made.

The command runs under crun (runc where that is absent) with the default capabilities of containers, in namespaces of
its own, the network's among them. Source: OCI runtime-spec config.md, config-linux.md.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from threading import Event as Flag

from envkit.host.process import find, require
from envkit.image import contained
from envkit.image.confinement import CAPABILITIES, EVERY_CAPABILITY, MASKED, READ_ONLY, seccomp
from envkit.image.contained import Line, Outcome
from envkit.image.users import ROOT, Identity
from envkit.values import field, value


@value
class Bind:
    """A file or directory of this machine, seen at target during the command."""

    source: str
    target: str
    read_only: bool = True


@value
class Command:
    """What to run. network: path of a network namespace's pin, None: one with nothing but a loopback. tmpfs: the size
    of one in bytes is in sizes, where it has one. rlimits: name -> {"soft", "hard"}. privileged: no confinement."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    identity: Identity = ROOT
    workdir: str = "/"
    network: str | None = None
    binds: tuple[Bind, ...] = ()
    tmpfs: tuple[str, ...] = ("/tmp",)
    sizes: Mapping[str, int] = field(default_factory=dict)
    shm_size: int = 64 << 20
    rlimits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    privileged: bool = False


def run(
    root: str, directory: str, command: Command, *, on_line: Line = lambda line: None, cancelled: Flag | None = None
) -> Outcome:
    """Run command in root (writable); directory is an empty one for the bundle, on the same machine.

    Mount points that root lacked are gone from it afterwards. Raises HostError when the command could not be started,
    InterruptedBuildError when cancelled was set; the command is dead then.
    """
    made = Mountpoints(root, [bind.target for bind in command.binds] + [*command.tmpfs, *_SYSTEM])
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(bundle(root, command), file)
    try:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR": directory}
        return contained.run(
            _argv(directory), environment=environment, directory=directory, on_line=on_line, cancelled=cancelled
        )
    finally:
        made.remove()


def _argv(directory: str) -> list[str]:
    runtime = find("crun") or require("runc")
    flags = ["--cgroup-manager=disabled"] if os.path.basename(runtime) == "crun" else []
    identifier = "build-" + os.urandom(6).hex()
    return [runtime, "--root", os.path.join(directory, "runtime"), *flags, "run", "--bundle", directory, identifier]


_BOUND = ("rbind", "rprivate", "nosuid", "nodev")
_SYSTEM = ("/proc", "/sys", "/dev")


def bundle(root: str, command: Command) -> dict[str, object]:
    """The runtime's config.json."""
    who = command.identity
    mounts: list[dict[str, object]] = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", f"size={command.shm_size}"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        *(
            _mount(path, "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777", *_size(command.sizes.get(path, 0)))
            for path in command.tmpfs
        ),
        *(
            _mount(bind.target, "bind", bind.source, *_BOUND, "ro" if bind.read_only else "rw")
            for bind in command.binds
        ),
    ]
    network: dict[str, str] = {"type": "network"}
    if command.network:
        network["path"] = command.network
    linux: dict[str, object] = {
        "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")] + [network],
        "maskedPaths": list(MASKED), "readonlyPaths": list(READ_ONLY),
    }  # fmt: skip
    if command.privileged:
        linux["maskedPaths"], linux["readonlyPaths"] = [], []
    elif (profile := seccomp()) is not None:
        linux["seccomp"] = profile
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups), "umask": 0o022},
            "args": list(command.argv),
            "env": [f"{name}={value}" for name, value in command.environment.items()],
            "cwd": command.workdir,
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "permitted"), EVERY_CAPABILITY if command.privileged else CAPABILITIES
            ),
            "rlimits": [
                {"type": f"RLIMIT_{name.upper()}", "soft": pair["soft"], "hard": pair["hard"]}
                for name, pair in command.rlimits.items()
            ],
            "noNewPrivileges": False,
        },
        "root": {"path": root, "readonly": False},
        "hostname": "localhost",
        "mounts": mounts,
        "linux": linux,
    }  # fmt: skip


def _size(size: int) -> tuple[str, ...]:
    return (f"size={size}",) if size else ()


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


class Mountpoints:
    """The runtime makes missing mount points in the root; this remembers which, and takes away those left empty."""

    def __init__(self, root: str, targets: list[str]) -> None:
        self._root = root
        self._missing: list[str] = []
        for target in sorted(set(targets)):
            parts = target.strip("/").split("/")
            for length in range(1, len(parts) + 1):
                path = "/".join(parts[:length])
                if path not in self._missing and not self._exists(path):
                    self._missing.append(path)

    def _open(self, path: str) -> int:
        from envkit.host.beneath import open_beneath

        return open_beneath(self._root, path, os.O_PATH | os.O_CLOEXEC)

    def _exists(self, path: str) -> bool:
        try:
            os.close(self._open(path))
        except OSError:
            return False
        return True

    def remove(self) -> None:
        """Remove them, deepest first: empty directories and empty files."""
        for path in reversed(self._missing):
            parent, _, name = path.rpartition("/")
            with suppress(OSError):  # absent after all, or filled by the command: then it is the layer's
                holder = self._open(parent or ".")
                try:
                    info = os.stat(name, dir_fd=holder, follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        os.rmdir(name, dir_fd=holder)
                    elif info.st_size == 0:
                        os.unlink(name, dir_fd=holder)
                finally:
                    os.close(holder)
