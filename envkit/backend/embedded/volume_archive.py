"""A tar archive as the content of a volume: unpacked as warily as a layer, but for whiteouts, which are names here."""

from __future__ import annotations

import io
import os
import tempfile

from envkit.errors import ImageError
from envkit.host.idmap import IdMap
from envkit.image import limits
from envkit.image.compression import decompressed, detect
from envkit.image.unpack import unpack
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

_RATIO = 5000  # databases keep zeros in reserve; zstd makes 10,000 of them one byte
_CHUNK = 1 << 20


def unpack_into(place: str, source: IO[bytes]) -> tuple[str, ...]:
    """Fill the empty directory place from an archive, compressed or not; what could not be kept. Raises ImageError."""
    wanted = limits.Limits.from_environ()
    if limits.VARIABLE not in os.environ:
        wanted = replace(wanted, bytes=1 << 62, ratio=_RATIO)
    try:
        with _seekable(source, os.path.dirname(place)) as file, decompressed(file, wanted) as plain:
            return tuple(unpack(plain, place, IdMap.current(), (), wanted, whiteouts=False))
    except ImageError as error:
        raise ImageError(
            "A volume cannot be filled from this archive", error.detail or error.summary,
            error.hint if limits.VARIABLE in error.hint else "nothing of it was taken over; make the archive anew",
        ) from error  # fmt: skip


def _seekable(source: IO[bytes], directory: str) -> IO[bytes]:
    """The archive as decompressed() wants it: what is plain or gzip is read as it comes, the rest is kept first."""
    if source.seekable():
        return source
    start = source.read(6)
    if detect(start) in ("none", "gzip"):
        return _Begun(start, source)  # type: ignore[return-value]
    spool = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  (the caller's to close)
    spool.write(start)
    while block := source.read(_CHUNK):
        spool.write(block)
    spool.seek(0)
    return spool


class _Begun(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, source: IO[bytes]) -> None:
        super().__init__()
        self._start, self._source, self._at = start, source, 0
        self._read = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._at < len(self._start):
            data = self._start[self._at : self._at + size] if size >= 0 else self._start[self._at :]
            self._at += len(data)
            return data
        data = self._source.read(size)
        self._read += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Only back to the start, before anything further was read."""
        if offset or whence or self._read:
            raise io.UnsupportedOperation("this stream goes forward only")
        self._at = 0
        return 0

    def tell(self) -> int:
        return self._at + self._read
