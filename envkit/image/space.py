"""The place where one layer is made: a directory of its own below HOME/cache/build, with whatever is mounted in it.

Everything is taken away at the end, also after an error or an interrupt; what a killed build left is taken away by the
next one. The caller has entered the engine namespace before its threads were started.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from envkit.errors import HostError
from envkit.host import files, mounts
from envkit.host.home import Home
from envkit.host.lock import Lock, is_locked


class Space:
    """A build directory: `with Space(home) as space`. path: the directory; root: where the layer's root is seen."""

    def __init__(self, home: Home, overlay_options: Sequence[str] = ()) -> None:
        self._top = _top(home)
        self._options = tuple(overlay_options)
        self.path = os.path.join(self._top, f"{os.getpid()}.{os.urandom(4).hex()}")
        self._lock = Lock(self.path + ".lock", {"purpose": "building a layer"})
        self._mounted: list[str] = []

    @property
    def root(self) -> str:
        return os.path.join(self.path, "root")

    @property
    def upper(self) -> str:
        return os.path.join(self.path, "upper")

    def __enter__(self) -> Space:
        files.make_directory(self._top, 0o700)
        self._lock.acquire()
        try:
            os.mkdir(self.path, 0o700)
            files.make_directory(os.path.join(self.path, "empty"), 0o755)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for target in reversed(self._mounted):
            mounts.unmount(target)
        self._mounted.clear()
        remove(self.path)
        with suppress(FileNotFoundError):
            os.unlink(self._lock.path)
        self._lock.release()

    def directory(self, name: str, mode: int = 0o755) -> str:
        """A directory of the space, made when absent."""
        path = os.path.join(self.path, name)
        files.make_directory(path, mode)
        return path

    def file(self, name: str, content: str | bytes, mode: int = 0o644) -> str:
        """A new file of the space."""
        path = os.path.join(self.path, name)
        data = content.encode() if isinstance(content, str) else content
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        return path

    def tmpfs(self, name: str, size: str = "16m") -> str:
        """A directory of the space in memory, for what must never be on a disk."""
        path = self.directory(name, 0o700)
        mounts.tmpfs(path, ("mode=700", f"size={size}"))
        self._mounted.append(path)
        return path

    def see(self, trees: Sequence[str], name: str = "seen") -> str:
        """The merged root of trees (bottom first), read-only; the same one when it is asked for again by that name."""
        stub = os.path.join(self.path, "empty")
        if not trees:
            return stub
        target = self.directory(name)
        if target in self._mounted:
            return target
        mounts.overlay([*reversed(trees), stub], target, read_only=True, options=self._options)
        self._mounted.append(target)
        return target

    def write(self, trees: Sequence[str]) -> str:
        """The merged root of trees (bottom first), whose changes go to `upper`. Once per space."""
        for name in ("root", "upper", "work"):
            self.directory(name)
        below = [*reversed(trees)] or [os.path.join(self.path, "empty")]
        _dress_like(below[0], self.upper)
        mounts.overlay(
            below, self.root, self.upper, os.path.join(self.path, "work"), for_capture=True, options=self._options
        )
        self._mounted.append(self.root)
        return self.root

    def settle(self) -> None:
        """Unmount the root, so that `upper` is complete and still."""
        mounts.unmount(self.root)
        self._mounted.remove(self.root)


def _dress_like(source: str, target: str) -> None:
    """The upper's own owner and mode become those of `/`."""
    info = os.stat(source)
    os.chown(target, info.st_uid, info.st_gid)
    os.chmod(target, info.st_mode & 0o7777)


def remove(path: str) -> None:
    """Take away a build directory and all that is mounted in it."""
    inside = [entry.target for entry in mounts.mount_table() if entry.target.startswith(path + "/")]
    for target in reversed(inside):
        mounts.unmount(target)
    files.remove_tree(path)


def sweep(home: Home) -> list[str]:
    """Remove what killed builds have left; returns the directories. Builds that run hold their locks: left alone."""
    top = _top(home)
    removed = []
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(top)):
            path = os.path.join(top, name)
            if name.endswith(".lock") or is_locked(path + ".lock"):
                continue
            with suppress(HostError, FileNotFoundError):  # another sweep is at it
                remove(path)
                removed.append(path)
                os.unlink(path + ".lock")
    return removed


def _top(home: Home) -> str:
    """Without symlinks, as the mount table has it."""
    return os.path.join(os.path.realpath(home.cache), "build", "work")
