"""Every look at the disk that decides what an Environment is goes through here, so that the compile cache knows them.

`with recording() as reads:` collects what is read or looked for until its end, absent files included. Outside of it the
functions only read. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from envkit.digest import sha256

ABSENT = "absent"


class Reads:
    """files: path -> digest of its content, or ABSENT. found: path -> "file", "directory" or ABSENT, for paths that
    were only looked for."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.found: dict[str, str] = {}

    def holds(self) -> bool:
        """Whether all of it is still so."""
        return all(kind_of(path) == kind for path, kind in self.found.items()) and all(
            digest_of(path) == digest for path, digest in self.files.items()
        )


_active: list[Reads] = []


@contextmanager
def recording() -> Iterator[Reads]:
    """Collect all reads until the end; the innermost recording gets them."""
    reads = Reads()
    _active.append(reads)
    try:
        yield reads
    finally:
        _active.remove(reads)


def read_file(path: str, *, secret: bool = False) -> bytes:
    """The content of a file. Raises OSError. secret: leave no trace of it (the caller keeps a keyed digest)."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        if _active:
            _active[-1].files[os.path.abspath(path)] = ABSENT
        raise
    if _active and not secret:
        _active[-1].files[os.path.abspath(path)] = sha256(content)
    return content


def is_file(path: str) -> bool:
    """os.path.isfile, recorded."""
    return look(path) == "file"


def is_directory(path: str) -> bool:
    """os.path.isdir, recorded."""
    return look(path) == "directory"


def look(path: str) -> str:
    """file, directory or absent (ABSENT), recorded."""
    kind = kind_of(path)
    if _active:
        _active[-1].found[os.path.abspath(path)] = kind
    return kind


def kind_of(path: str) -> str:
    """What is at path, unrecorded."""
    if os.path.isdir(path):
        return "directory"
    return "file" if os.path.exists(path) else ABSENT


def digest_of(path: str) -> str:
    """The digest of a file's content, unrecorded; ABSENT when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return sha256(file.read())
    except OSError:
        return ABSENT
