"""The files of an image archive, looked up by name: a tar file (compressed or not) or a directory."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

from envkit.errors import ImageError, NotFoundError
from envkit.host.beneath import open_beneath
from envkit.image import tar
from envkit.image.compression import decompressed, detect
from envkit.image.limits import Limits

_HOPS = 8  # of links between members: old `docker save` links equal layers


class Container(Protocol):
    """Files by name, `/` between the parts."""

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""

    def open(self, name: str) -> IO[bytes]:
        """The file, seekable, at its start; to be closed. Raises ImageError when it is missing."""


@contextmanager
def open_container(path: str, temporary: str, limits: Limits) -> Iterator[Container]:
    """The files of the archive or directory at path. temporary: where a compressed archive may be unfolded.

    Raises NotFoundError when path does not exist.
    """
    if os.path.isdir(path):
        yield _Directory(path)
        return
    try:
        file = open(path, "rb")  # noqa: SIM115  closed below
    except OSError as error:
        hint = "give the path of an archive or of an OCI layout; - reads standard input"
        raise NotFoundError("an image archive cannot be read", f"{path}: {error.strerror}", hint) from error
    with file:
        if detect(file.read(6)) == "none":
            file.seek(0)
            yield _Tar(file, path, limits)
            return
        file.seek(0)
        with open(temporary, "x+b") as plain, decompressed(file, limits) as source:
            os.unlink(temporary)
            shutil.copyfileobj(_Bounded(source, limits.bytes), plain, 1 << 20)
            plain.seek(0)
            yield _Tar(plain, path, limits)


def read_small(container: Container, name: str, limit: int) -> bytes:
    """A file's content. Raises ImageError when it is missing or larger than limit bytes."""
    with container.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ImageError("a file of an image archive is too large", f"{name}: more than {limit} bytes")
    return data


class _Directory:
    def __init__(self, path: str) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        try:
            self.open(name).close()
        except ImageError:
            return False
        return True

    def open(self, name: str) -> IO[bytes]:
        try:
            return os.fdopen(open_beneath(self._path, name, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except OSError as error:
            raise ImageError("an image layout lacks a file", f"{self._path}: {name}: {error.strerror}") from error


def _entries(reader: tar.Reader, path: str) -> Iterator[tar.Entry]:
    """The archive's entries; what is malformed is told of this file."""
    try:
        yield from reader
    except ImageError as error:
        hint = "give the output of `docker save`, `podman save`, `skopeo copy` or `envkit image save`"
        raise ImageError("this is not an image archive", f"{path}: {error.detail}", hint) from error


class _Tar:
    def __init__(self, file: IO[bytes], path: str, limits: Limits) -> None:
        self._file, self._path = file, path
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        size = os.fstat(file.fileno()).st_size
        reader = tar.Reader(file, limits)
        for entry in _entries(reader, path):
            name = os.path.normpath(entry.name)
            if len(self._places) + len(self._links) >= limits.entries:
                raise ImageError("an image archive has too many files", f"{path}: more than {limits.entries}")
            if entry.kind == tar.FILE and entry.segments is None:
                start = file.tell()
                if start + entry.size > size:
                    raise ImageError("an image archive is cut off", f"{path}: inside {entry.name!r}")
                self._places[name] = (start, entry.size)
            elif entry.kind == tar.SYMLINK:
                self._links[name] = os.path.normpath(os.path.join(os.path.dirname(name), entry.linkname))
            elif entry.kind == tar.HARDLINK:
                self._links[name] = os.path.normpath(entry.linkname)
            reader.skip(file)

    def _find(self, name: str) -> tuple[int, int] | None:
        for _ in range(_HOPS):
            if name in self._places:
                return self._places[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def has(self, name: str) -> bool:
        return self._find(os.path.normpath(name)) is not None

    def open(self, name: str) -> IO[bytes]:
        place = self._find(os.path.normpath(name))
        if place is None:
            raise ImageError("an image archive lacks a file", f"{self._path}: {name}")
        return io.BufferedReader(_Slice(self._file, *place), 1 << 18)


class _Slice(io.RawIOBase):
    """A part of a file, read with pread, so that several can be open at once."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._descriptor, self._start, self._size = file.fileno(), start, size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # a writable buffer, as io passes it
        wanted = min(len(buffer), max(0, self._size - self._place))
        data = os.pread(self._descriptor, wanted, self._start + self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


class _Bounded:
    def __init__(self, source: tar.Source, limit: int) -> None:
        self._source, self._left = source, limit

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ImageError("a compressed image archive is too large")
        return data
