"""Open files inside a root that somebody else has filled: an image, a volume.

Every lookup is openat2(2) with RESOLVE_IN_ROOT: absolute symlinks and `..` stay inside, magic links are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from envkit.host.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2


@contextmanager
def _opened(root: int | str) -> Iterator[int]:
    if isinstance(root, int):
        yield root
        return
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_beneath(root: int | str, relative: str, flags: int, mode: int = 0) -> int:
    """Open relative as if root (a directory's path or descriptor) were `/`. The descriptor is close-on-exec.

    Raises OSError as os.open does; ELOOP for a magic link. mode counts only with O_CREAT and is not masked away here.
    """
    with _opened(root) as descriptor:
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        return openat2(descriptor, relative or ".", flags, mode if flags & (os.O_CREAT | os.O_TMPFILE) else 0, resolve)


def read_beneath(root: int | str, relative: str, limit: int = 16 << 20) -> bytes | None:
    """The content of a regular file inside root; None when there is none. At most limit bytes."""
    import stat

    try:
        descriptor = open_beneath(root, relative, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


def make_directories_beneath(root: int | str, relative: str, mode: int = 0o755) -> int:
    """Make relative and its missing parents inside root; return an O_PATH descriptor of it."""
    flags = os.O_PATH | os.O_DIRECTORY
    with _opened(root) as top:
        try:
            return open_beneath(top, relative, flags)
        except FileNotFoundError:
            parent, _, name = relative.rstrip("/").rpartition("/")
        holder = make_directories_beneath(top, parent, mode) if parent else open_beneath(top, ".", flags)
        try:
            try:
                os.mkdir(name, mode, dir_fd=holder)
            except FileExistsError:
                return open_beneath(top, relative, flags)  # another's work, or a dangling symlink: then ENOENT says so
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=holder)
        finally:
            os.close(holder)
