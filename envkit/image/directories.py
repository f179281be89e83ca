"""The directories of a tree that is being filled from an archive, as descriptors that cannot lead out of it.

Source: openat2(2), RESOLVE_BENEATH: the kernel refuses absolute symlinks and `..` beyond the root with EXDEV.
"""

from __future__ import annotations

import errno
import os

from envkit.host.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_OPEN_AT_ONCE = 64


def relative(name: str) -> str:
    """An archive's name as components joined by `/`; "" is the root. Raises ValueError saying what is wrong."""
    if not name:
        raise ValueError("an empty name")
    if name.startswith("/"):
        raise ValueError(f"{name!r} is an absolute name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{name!r} climbs out by `..`")
    return "/".join(parts)


class Directories:
    """Descriptors by path, opened once while in use. implied: directories that no entry has described yet."""

    def __init__(self, root: str) -> None:
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.implied: set[str] = {""}
        self._open: dict[str, int] = {}

    def close(self) -> None:
        """Close every descriptor."""
        for descriptor in (*self._open.values(), self.root):
            os.close(descriptor)

    def get(self, path: str) -> int:
        """A descriptor (O_PATH), good until the next call; the directory is made, with its parents, where it is
        missing. Raises OSError: EXDEV or ELOOP for a symlink that leads out, ENOTDIR for what is no directory."""
        if not path:
            return self.root
        if (known := self._open.get(path)) is not None:
            return known
        try:
            descriptor = self.open(path)
        except FileNotFoundError:
            self._imply(path)
            descriptor = self.open(path)
        if len(self._open) >= _OPEN_AT_ONCE:
            while self._open:
                os.close(self._open.popitem()[1])
        self._open[path] = descriptor
        return descriptor

    def where(self, path: str) -> str:
        """A name of the directory for calls that take no descriptor of this kind (proc(5), /proc/PID/fd)."""
        return f"/proc/self/fd/{self.get(path)}"

    def open(self, path: str) -> int:
        """A descriptor (O_PATH) of an existing directory, the caller's to close. Raises OSError."""
        return openat2(self.root, path or ".", os.O_PATH | os.O_DIRECTORY, 0, _RESOLVE)

    def _imply(self, path: str) -> None:
        above, _, name = path.rpartition("/")
        try:
            os.mkdir(name, 0o755, dir_fd=self.get(above))
        except FileExistsError:  # a dangling symlink
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        self.implied.add(path)
