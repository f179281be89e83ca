"""Be told when a directory changes, without polling: inotify(7) by ctypes, one descriptor, no thread."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
OVERFLOW, IGNORED = 0x4000, 0x8000
ONLYDIR, ONESHOT = 0x1000000, 0x80000000

_libc = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("iIII")


class Notice(NamedTuple):
    """One event: the watch it belongs to (-1: events were lost), its mask, the name inside a watched directory."""

    watch: int
    mask: int
    name: str


class Inotify:
    """A set of watches. `fileno()` is readable when something happened; reading never blocks."""

    def __init__(self) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify")

    def fileno(self) -> int:
        return self._descriptor

    def add(self, path: str, mask: int) -> int | None:
        """Watch path; None when it does not exist. The same inode gives the same number again, with the new mask."""
        try:
            return _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask)), path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, watch: int) -> None:
        """Stop watching; a watch that is gone already is fine."""
        _libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[Notice]:
        """Everything that has happened since the last call."""
        found: list[Notice] = []
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return found
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, offset)
                offset += _HEADER.size
                name = data[offset : offset + length].rstrip(b"\0")
                offset += length
                found.append(Notice(watch, mask, os.fsdecode(name)))

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(result)
