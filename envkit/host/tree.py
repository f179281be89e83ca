"""Trees of files as inputs: walked in one order on every machine, and digested.

A digest depends on names, types, permission bits, symlink targets and contents; on owners only when asked; never on
times. Contents are read again only when size, times or inode of a file changed (StatCache).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from envkit.host import files
from envkit.host.ignore import Ignore

_RACY = 2_000_000_000  # nanoseconds: the coarsest clock among file systems in use (FAT)
_CHUNK = 1 << 20


class Entry(NamedTuple):
    """One file of a walk. path: relative, with slashes; "" for the top itself."""

    path: str
    info: os.stat_result

    @property
    def kind(self) -> str:
        """file, directory, symlink, fifo, socket or device."""
        return _KINDS.get(stat.S_IFMT(self.info.st_mode), "device")


_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}  # fmt: skip


class StatCache:
    """Digests of files by path and (size, mtime, ctime, inode), kept in a JSON file between runs.

    A file that changed within the last two seconds is not remembered: it could change once more within one tick of the
    file system's clock (git's "racy" rule). path "" keeps nothing. Losing the file costs time only.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._writes = bool(path)
        self._old: dict[str, list[object]] = {}
        self._seen: dict[str, list[object]] = {}
        if path:
            value = files.read_json(path) if os.path.exists(path) else None
            self._old = value if isinstance(value, dict) else {}

    @classmethod
    def at(cls, cache: str, directory: str, *, write: bool = True) -> StatCache:
        """The cache file of one directory below the installation's cache directory. write=False: only read it."""
        if write:
            files.make_directory(os.path.join(cache, "trees"))
        name = hashlib.sha256(os.fsencode(os.path.abspath(directory))).hexdigest()[:24]
        made = cls(os.path.join(cache, "trees", f"{name}.json"))
        made._writes = write
        return made

    def digest(self, path: str, info: os.stat_result) -> str:
        """The hex sha256 of a regular file's content; info is its lstat of just now."""
        key = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        known = self._old.get(path)
        if known and known[:4] == key:
            self._seen[path] = known
            return str(known[4])
        started = time.time_ns()
        digest, same = _digest_file(path, key)
        if same and started - max(info.st_mtime_ns, info.st_ctime_ns) > _RACY:
            self._seen[path] = [*key, digest]
        return digest

    def save(self) -> None:
        """Write what this run has seen; entries it did not see are dropped."""
        if self._writes and self._seen != self._old:
            files.write_json(self._path, self._seen, durable=False)


def walk(path: str, ignore: Ignore | None = None) -> Iterator[Entry]:
    """Every entry of the tree at path, the top first, names in byte order, parents before children.

    Symlinks are not followed, except that path itself may be one. What ignore leaves out is not yielded; a directory it
    leaves out is entered when something below it is taken back.
    """
    yield Entry("", os.stat(path))
    if os.path.isdir(path):
        yield from _below(path, "", ignore)


def _below(directory: str, prefix: str, ignore: Ignore | None) -> Iterator[Entry]:
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in found:
        path = prefix + entry.name
        if not ignore or not ignore.matches(path):
            yield Entry(path, entry.stat(follow_symlinks=False))
        if entry.is_dir(follow_symlinks=False) and not (ignore and ignore.prunes(path)):
            yield from _below(entry.path, path + "/", ignore)


def digest_tree(
    path: str, ignore: Ignore | None = None, cache: StatCache | None = None, *, owners: bool = False, modes: bool = True
) -> str:
    """`sha256:…` of a file or a tree. Sockets are left out. Raises FileNotFoundError, PermissionError.

    modes=False: of the permissions only whether a file's owner may execute it, which is what git keeps.
    """
    cache = cache or StatCache()
    total = hashlib.sha256()
    for entry in walk(path, ignore):
        kind = entry.kind
        if kind == "socket":
            continue
        full = os.path.join(path, entry.path) if entry.path else path
        content = ""
        if kind == "file":
            content = cache.digest(full, entry.info)
        elif kind == "symlink":
            content = hashlib.sha256(os.fsencode(os.readlink(full))).hexdigest()
        elif kind == "device":
            content = f"{stat.S_IFMT(entry.info.st_mode):o}:{entry.info.st_rdev}"
        mode = "" if kind == "symlink" else f"{stat.S_IMODE(entry.info.st_mode):o}"
        if not modes:
            mode = "x" if kind == "file" and entry.info.st_mode & stat.S_IXUSR else ""
        owner = f"{entry.info.st_uid}:{entry.info.st_gid}" if owners else ""
        total.update(os.fsencode(entry.path) + f"\0{kind}\0{mode}\0{owner}\0{content}\n".encode())
    cache.save()
    return f"sha256:{total.hexdigest()}"


def tree_size(path: str) -> int:
    """Bytes that a tree takes on its disk; a file with several names counts once; absent is 0."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [path] if os.path.lexists(path) else []
    while pending:
        current = pending.pop()
        info = os.lstat(current)
        if (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512
        if stat.S_ISDIR(info.st_mode):
            with os.scandir(current) as entries:
                pending += [entry.path for entry in entries]
    return total


def _digest_file(path: str, key: list[int]) -> tuple[str, bool]:
    """The digest of a file, and whether it is still the file of key afterwards."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        digest = hashlib.sha256()
        while data := file.read(_CHUNK):
            digest.update(data)
        info = os.fstat(file.fileno())
    return digest.hexdigest(), [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino] == key
