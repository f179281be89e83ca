"""Carrying changed files into instances: a tar stream of what is there, and the names of what is gone."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Sequence

from envkit.reconcile.watch.contents import Changes
from envkit.reconcile.watch.rules import Rule

_CHUNK = 1 << 20


def pack(rule: Rule, paths: Sequence[str]) -> Iterator[bytes]:
    """The files, directories and links at these paths (relative to the rule's) as a tar stream (POSIX.1-2001). What is
    gone meanwhile is left out: its own hint comes."""
    _, name = rule.place
    for path in paths:
        arcname = name or path
        if arcname:
            yield from _one(os.path.join(rule.path, path) if path else rule.path, arcname)
    yield b"\0" * 1024


def removals(rule: Rule, changes: Changes) -> tuple[str, ...]:
    """What is to be taken away below the rule's place."""
    _, name = rule.place
    return tuple(posixpath.join(name, path) if path else name for path in changes.removed if name or path)


def _one(path: str, arcname: str) -> Iterator[bytes]:
    info = tarfile.TarInfo(arcname)
    try:
        status = os.lstat(path)
        info.mode, info.mtime = stat.S_IMODE(status.st_mode), status.st_mtime
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISREG(status.st_mode):
            yield from _file(path, info)
            return
        else:
            return
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # ELOOP: a link has taken the file's place
            raise
        return
    yield _header(info)


def _file(path: str, info: tarfile.TarInfo) -> Iterator[bytes]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
        info.size = os.fstat(file.fileno()).st_size
        yield _header(info)
        left = info.size
        while left:
            data = file.read(min(_CHUNK, left)) or b"\0" * min(_CHUNK, left)  # cut meanwhile: the size is promised
            left -= len(data)
            yield data
        yield b"\0" * (-info.size % 512)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

