"""The local side of `cp`: tar streams to and from files of the caller.

Archives from a container are hostile input. Nothing is written through a symbolic link below the destination, whoever
made it, an earlier copy included; links themselves are copied as they are, wherever they point. tarfile's own filters
(PEP 706) refuse such links, and are not in every Python 3.11.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from envkit.errors import EnvkitError, NotFoundError

if TYPE_CHECKING:
    from envkit.address import Address
    from envkit.backend.base import Backend

_CHUNK = 1 << 16


class _Reader(io.RawIOBase):
    """An iterator of bytes as a readable file."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = part
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def unpack(stream: Iterator[bytes], destination: str, *, owners: bool = False) -> None:
    """Write the archive's top entry as destination, or into it where it is a directory. owners: as in the archive, as
    far as the caller may; else the caller's. Raises EnvkitError."""
    into = destination if os.path.isdir(destination) else os.path.dirname(destination) or "."
    rename = None if os.path.isdir(destination) else os.path.basename(destination)
    if not os.path.isdir(into):
        raise NotFoundError("no such directory", into, "create it first")
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Reader(stream)), mode="r|") as archive:
            archive.extraction_filter = lambda member, path: member
            for member in archive:
                member.name = _below(into, member.name, rename)
                if member.islnk():
                    member.linkname = _below(into, member.linkname, rename)
                elif not (member.isreg() or member.isdir() or member.issym()):
                    raise EnvkitError("the copy failed", f"{member.name} is a device or a pipe")
                _clear(os.path.join(into, member.name), member.isdir())
                if not owners:
                    member.uid, member.gid = os.geteuid(), os.getegid()
                    member.mode = (member.mode & 0o755) | (0o700 if member.isdir() else 0o600)
                archive.extract(member, into, numeric_owner=True)
    except (tarfile.TarError, OSError) as error:
        raise EnvkitError("the copy failed", str(error)) from error


def _below(into: str, name: str, rename: str | None) -> str:
    """The name of a member at its place. Raises EnvkitError where it leaves into, by `..` or by a symbolic link."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if rename is not None:
        parts[:1] = [rename]
    for depth in range(1, len(parts)):
        if os.path.islink(os.path.join(into, *parts[:depth])):
            raise EnvkitError("the copy failed", f"{name} would be written through the link {'/'.join(parts[:depth])}")
    if ".." in parts:
        raise EnvkitError("the copy failed", f"{name} leaves the destination")
    return "/".join(parts) or "."


def _clear(path: str, is_directory: bool) -> None:
    """Make place: whatever is there is replaced, but for a directory by a directory."""
    if os.path.islink(path) or (os.path.lexists(path) and not os.path.isdir(path)):
        os.unlink(path)
    elif os.path.isdir(path) and not is_directory:
        raise EnvkitError("the copy failed", f"{path} is a directory")


def pack(source: str, top: str, *, owners: bool = False) -> Iterator[bytes]:
    """source as a tar stream whose top entry is called top. owners: as they are; else root's, as Docker has it.
    Raises NotFoundError."""
    if not os.path.lexists(source):
        raise NotFoundError("no such file", source, "check the path; SERVICE:PATH names one in an instance")
    with tempfile.TemporaryFile() as spool:
        _write(spool, source, top, owners)
        spool.seek(0)
        while part := spool.read(_CHUNK):
            yield part


def place(backend: Backend, environment: str, address: Address, path: str, source: str) -> tuple[str, str]:
    """Where a copy of source to path goes: (directory in the container, name there), by the rules of cp(1)."""
    name = os.path.basename(os.path.normpath(source))
    if path.endswith("/") or _is_directory(backend, environment, address, path):
        return path, name
    return os.path.dirname(path) or "/", os.path.basename(path)


def followed(backend: Backend, environment: str, address: Address, path: str) -> str:
    """Where path in the container leads when it is a symbolic link. Raises EnvkitError for a circle of links."""
    for _ in range(40):
        stream = backend.copy_from(environment, address, path)
        with tarfile.open(fileobj=io.BufferedReader(_Reader(stream)), mode="r|") as archive:
            first = archive.next()
        if first is None or not first.issym():
            return path
        path = os.path.normpath(os.path.join(os.path.dirname(os.path.normpath("/" + path)), first.linkname))
    raise EnvkitError("the copy failed", f"{path}: too many levels of symbolic links")


def _write(spool: IO[bytes], source: str, top: str, owners: bool) -> None:
    def roots(member: tarfile.TarInfo) -> tarfile.TarInfo:
        if not owners:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source, arcname=top, filter=roots)


def _is_directory(backend: Backend, environment: str, address: Address, path: str) -> bool:
    stream = backend.copy_from(environment, address, path)
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Reader(stream)), mode="r|") as archive:
            first = archive.next()
            return first is not None and first.isdir()
    except (EnvkitError, tarfile.TarError):
        return False
