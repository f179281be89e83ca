"""What a tree holds, by content: hints say where to look, and only what differs is a change.

A file's identity is its kind, its permissions and its content (a symlink's: where it leads). Times, inodes and owners
are none of it, so that a file which was touched, written again as it was, or saved by renaming is what it was. Contents
are read again where a hint says so, or size, times or inode have changed.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from envkit.values import value

_RACY = 2_000_000_000  # nanoseconds: the coarsest clock among file systems in use (FAT)
_CHUNK = 1 << 20

Identity = tuple[str, int, bytes]  # kind (f, d, l), permissions, digest of the content


class _Known(NamedTuple):
    """key: size, times and inode with which the content was read; () where it may have changed unseen since."""

    identity: Identity
    key: tuple[int, ...]


@value
class Changes:
    """Relative paths; "" is the top itself. changed: new or different, parents before children. removed: gone, or of
    another kind now; of a directory that is gone only itself, but of the top what was in it."""

    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)

    def __len__(self) -> int:
        return len(self.changed) + len(self.removed)


class Contents:
    """A file or directory tree. counts: whether a relative path (and whether it is a directory) belongs to it; enters:
    whether a directory may have anything below it that does."""

    def __init__(
        self, path: str, counts: Callable[[str, bool], bool] | None = None, enters: Callable[[str], bool] | None = None
    ) -> None:
        self.path = path
        self._counts = counts or (lambda path, is_directory: True)
        self._enters = enters or (lambda path: True)
        self._known: dict[str, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def identities(self) -> Mapping[str, Identity]:
        """Path -> identity, as of the last look."""
        return {path: known.identity for path, known in self._known.items()}

    @property
    def paths(self) -> list[str]:
        """Everything that is there, parents before children."""
        return sorted(self._known)

    def look(self) -> Changes:
        """Compare the whole tree with what is known of it, and know it."""
        found: dict[str, _Known] = {}
        self._walk("", found, read=False)
        return self._settle(found, [path for path in self._known if path not in found])

    def look_at(self, hints: Iterable[str]) -> Changes:
        """Compare these places (relative paths; of a directory everything below it) with what is known, and know it."""
        found: dict[str, _Known] = {}
        asked = set(_tops(hints))
        for path in asked:
            if self._is_within(path):
                self._walk(path, found, read=True)
        gone = [path for path in asked if path in self._known and path not in found]
        if directories := {path for path in asked if not path or self._may_have_been_directory(path, found)}:
            gone += [
                path for path in self._known
                if path not in found and path not in asked and _is_below(path, directories)
            ]  # fmt: skip
        return self._settle(found, gone)

    def _may_have_been_directory(self, path: str, found: Mapping[str, _Known]) -> bool:
        known = self._known.get(path)
        return known.identity[0] == "d" if known else path not in found or found[path].identity[0] == "d"

    def _is_within(self, path: str) -> bool:
        """Whether every parent counts, or at least is looked into."""
        parts = path.split("/")
        return all(self._enters("/".join(parts[:count])) for count in range(1, len(parts)))

    def _walk(self, path: str, found: dict[str, _Known], *, read: bool) -> None:
        """Put what is at path and below it into found. read: the content of path itself is read in any case."""
        full = os.path.join(self.path, path) if path else self.path
        try:
            info = os.stat(full) if not path else os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return
        is_directory = stat.S_ISDIR(info.st_mode)
        if (not path or self._counts(path, is_directory)) and (known := self._look(path, full, info, read)):
            found[path] = known
        pending = [path] if is_directory and (not path or self._enters(path)) else []
        while pending:
            self._list(pending.pop(), found, pending)

    def _list(self, path: str, found: dict[str, _Known], pending: list[str]) -> None:
        try:
            with os.scandir(os.path.join(self.path, path) if path else self.path) as entries:
                for entry in entries:
                    below = f"{path}/{entry.name}" if path else entry.name
                    is_directory = entry.is_dir(follow_symlinks=False)
                    if below in self._known or self._counts(below, is_directory):
                        try:
                            info = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        if known := self._look(below, entry.path, info, False):
                            found[below] = known
                    if is_directory and self._enters(below):
                        pending.append(below)
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # gone meanwhile: its own hint comes
            return

    def _look(self, path: str, full: str, info: os.stat_result, read: bool) -> _Known | None:
        """What is there now; None for what is gone again, or is no file, directory or link."""
        key = (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISDIR(info.st_mode):
            return _Known(("d", mode, b""), key)
        old = self._known.get(path)
        if old is not None and old.key == key and not read:
            return old
        try:
            if stat.S_ISLNK(info.st_mode):
                return _Known(("l", 0, os.fsencode(os.readlink(full))), key)
            if not stat.S_ISREG(info.st_mode):
                return None
            now = time.time_ns()
            content = _digest(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            content = b""
        racy = now - max(info.st_mtime_ns, info.st_ctime_ns) < _RACY
        return _Known(("f", mode, content), () if racy else key)

    def _settle(self, found: Mapping[str, _Known], gone: Iterable[str]) -> Changes:
        changed, removed = [], []
        for path, new in found.items():
            old = self._known.get(path)
            if old is None or old.identity != new.identity:
                changed.append(path)
                if old is not None and old.identity[0] != new.identity[0]:
                    removed.append(path)
            self._known[path] = new
        for path in gone:
            if self._known.pop(path).identity[0] != "d" or path:  # of a top that is gone its children are named
                removed.append(path)
        return Changes(tuple(sorted(changed)), tuple(_tops(removed)))


def _tops(paths: Iterable[str]) -> list[str]:
    """The paths without those below another of them."""
    kept: list[str] = []
    chosen: set[str] = set()
    for path in sorted(set(paths)):
        parts = path.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        if ("" in chosen and path) or any(parent in chosen for parent in above):
            continue
        chosen.add(path)
        kept.append(path)
    return kept


def _is_below(path: str, directories: Collection[str]) -> bool:
    while (cut := path.rfind("/")) >= 0:
        path = path[:cut]
        if path in directories:
            return True
    return "" in directories


def _digest(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        digest = blake2b(digest_size=16)
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.digest()
