"""The root of an instance: image layers under overlayfs, with a stub layer that holds the mount points.

A read-only root cannot get mount points later, so the stub (the lowest layer) has them: an image's own files win over
it. A stub that a layer's opaque directory or whiteout would hide stands in a layer above them all. Read-only roots of
one image and one set of targets are one mount, shared by every instance of the environment; a writable root is a mount
of its own with an upper directory in the record directory. The stub also satisfies the rule that an overlay without an
upper needs two lowers. Mounts live in the engine namespace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from envkit.backend.embedded.layers import Stack, normal
from envkit.digest import canonical_json, sha256
from envkit.errors import EnvkitError
from envkit.host import mounts
from envkit.host.files import make_directory, remove_tree
from envkit.host.home import Home
from envkit.host.steps import step
from envkit.values import value

_DIRECTORIES = ("/proc", "/dev", "/sys", "/run", "/tmp", "/etc")
_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_OPAQUE = frozenset({"trusted.overlay.opaque", "user.overlay.opaque"})


@value
class Points:
    """Mount points that the root must have, as absolute container paths; what the image lacks becomes stubs."""

    directories: tuple[str, ...]
    files: tuple[str, ...]


def run_directory(home: Home, environment: str) -> str:
    """Where one environment's mounts are (below HOME/run)."""
    return os.path.join(home.run, "environments", environment)


def missing(stack: Stack, points: Points) -> Points:
    """What the stub must hold: the points that the image does not have, symlinks resolved. Pure but for lookups.

    Raises EnvkitError when the image has a file where a directory is to be mounted, or the reverse.
    """
    return Points(_absent(stack, (*_DIRECTORIES, *points.directories), True),
                  _absent(stack, (*_FILES, *points.files), False))  # fmt: skip


def _absent(stack: Stack, paths: Iterable[str], directory: bool) -> tuple[str, ...]:
    found = set()
    for path in paths:
        where, info = stack.resolve(normal(path))
        if info is None:
            if where != "/":
                found.add(where)
        elif stat.S_ISDIR(info.st_mode) != directory:
            raise EnvkitError(
                "A mount does not fit the image",
                f"{path} is {'not a directory' if directory else 'a directory'} in the image",
                "mount it at another path",
            )
    return tuple(sorted(found))


def key_of(image_digest: str, stubs: Points) -> str:
    """Equal for roots that may be one mount."""
    return sha256(canonical_json([image_digest, stubs.directories, stubs.files]))[7:23]


def _make_stub(directory: str, stubs: Points) -> None:
    for path in stubs.directories:
        os.makedirs(directory + path, mode=0o755, exist_ok=True)
        if path == "/tmp":
            os.chmod(directory + path, 0o1777)
    for path in stubs.files:
        os.makedirs(os.path.dirname(directory + path), mode=0o755, exist_ok=True)
        os.close(os.open(directory + path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _hidden(trees: Sequence[str], stubs: Points) -> Points | None:
    """The stubs that would not be seen below the layers: a layer made one of their directories anew (it is opaque) or
    removed what was there (a whiteout). None: all are seen."""

    def hides(path: str) -> bool:
        parts = path.split("/")[1:]
        for tree in trees:
            for count in range(1, len(parts) + 1):
                place = f"{tree}/{'/'.join(parts[:count])}"
                try:
                    info = os.lstat(place)
                except (FileNotFoundError, NotADirectoryError):
                    break
                if not stat.S_ISDIR(info.st_mode) or not _OPAQUE.isdisjoint(os.listxattr(place, follow_symlinks=False)):
                    return True
        return False

    found = Points(tuple(filter(hides, stubs.directories)), tuple(filter(hides, stubs.files)))
    return found if found.directories or found.files else None


def _dress(over: str, stack: Stack) -> None:
    """Give directories that the image has as well its owner, permissions and times."""
    for place, _, _ in os.walk(over, topdown=False):
        info = stack.resolve(place[len(over) :] or "/")[1]
        if info is not None and stat.S_ISDIR(info.st_mode):
            os.chown(place, info.st_uid, info.st_gid)
            os.chmod(place, stat.S_IMODE(info.st_mode))
            os.utime(place, ns=(info.st_atime_ns, info.st_mtime_ns))


def shared(home: Home, environment: str, image_digest: str, trees: Sequence[str], stubs: Points,
           mounted: set[str]) -> str:  # fmt: skip
    """The read-only root for an image and its stubs, mounted once; returns its directory.

    mounted: the mount points of the engine namespace, to which a new one is added.
    """
    base = os.path.join(run_directory(home, environment), "roots", key_of(image_digest, stubs))
    target = os.path.join(base, "root")
    if target in mounted:
        return target
    stub = os.path.join(base, "stub")
    make_directory(target)
    remove_tree(stub)
    make_directory(stub)
    _make_stub(stub, stubs)
    lowers = [*reversed(trees), stub]
    if hidden := _hidden(trees, stubs):
        over = os.path.join(base, "over")
        remove_tree(over)
        make_directory(over)
        _make_stub(over, hidden)
        _dress(over, Stack(trees))
        lowers.insert(0, over)
    step("rootfs.shared")
    mounts.overlay(lowers, target, read_only=True)
    mounted.add(target)
    return target


def private(record_directory: str, trees: Sequence[str], stubs: Points, mounted: set[str]) -> str:
    """The writable root of one instance; its upper directory survives restarts. Returns its directory."""
    target = os.path.join(record_directory, "root")
    if target in mounted:
        return target
    upper, work, stub = (os.path.join(record_directory, name) for name in ("upper", "work", "stub"))
    for path in (target, work, stub):
        make_directory(path)
    if not os.path.isdir(upper):
        make_directory(upper)
        _adopt(upper, trees)
    remove_tree(stub)
    make_directory(stub)
    _make_stub(stub, stubs)
    step("rootfs.private")
    mounts.overlay([*reversed(trees), stub], target, upper, work)
    mounted.add(target)
    return target


def _adopt(upper: str, trees: Sequence[str]) -> None:
    """The upper directory's owner, mode and xattrs become those of `/`, so they must be the image root's."""
    if not trees:
        return
    top = trees[-1]
    info = os.lstat(top)
    os.chown(upper, info.st_uid, info.st_gid)
    os.chmod(upper, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(top):
        if not name.startswith(("trusted.overlay.", "user.overlay.")):
            os.setxattr(upper, name, os.getxattr(top, name))


def drop_unused(home: Home, environment: str, used: set[str], mounted: set[str]) -> None:
    """Unmount and remove the shared roots that no record names any more."""
    base = os.path.join(run_directory(home, environment), "roots")
    try:
        keys = os.listdir(base)
    except FileNotFoundError:
        return
    for key in keys:
        target = os.path.join(base, key, "root")
        if target in used:
            continue
        if target in mounted:
            mounts.unmount(target)
            mounted.discard(target)
        remove_tree(os.path.join(base, key))
