"""Compressed streams: recognised by their first bytes, limited in what they may unfold to, reproducible when written.

Sources: RFC 1952 (gzip), RFC 8878 (zstd). zlib does gzip; zstd needs the module `zstandard` or the program.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from envkit.errors import ImageError, UnsupportedError
from envkit.image.limits import DEFAULT, Limits, way_out
from envkit.image.tar import Source

if TYPE_CHECKING:
    from subprocess import Popen

_CHUNK = 1 << 18
_MAGIC = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))


def detect(start: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz` or `none` from the first 6 bytes."""
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "none")


def gzipped(chunks: Iterable[bytes], level: int = 6) -> Iterator[bytes]:
    """chunks as one gzip member without a name or a time: the same bytes for the same content and zlib."""
    engine = zlib.compressobj(level, zlib.DEFLATED, 31)
    for chunk in chunks:
        if data := engine.compress(chunk):
            yield data
    yield engine.flush()


@contextmanager
def decompressed(file: IO[bytes], limits: Limits = DEFAULT) -> Iterator[Source]:
    """A reader of what file (seekable, at its start) unfolds to. Raises ImageError from read() on damage or a bomb."""
    kind = detect(file.read(6))
    file.seek(0)
    if kind == "none":
        yield file
    elif kind == "gzip":
        yield _Guard(_Gunzip(file), file, limits)
    elif kind == "bzip2":
        import bz2

        with bz2.BZ2File(file) as reader:
            yield _Guard(reader, file, limits)
    elif kind == "xz":
        import lzma

        with lzma.LZMAFile(file) as reader:
            yield _Guard(reader, file, limits, lzma.LZMAError)
    else:
        with _zstd(file) as (source, error):
            yield _Guard(source, file, limits, error)


class _Guard:
    """Counts what comes out, and compares it with what went in."""

    def __init__(
        self, source: Source, file: IO[bytes], limits: Limits, error: type[Exception] = zlib.error
    ) -> None:  # fmt: skip
        self._source, self._file, self._limits = source, file, limits
        self._errors = (EOFError, OSError, error)
        self._total = 0

    def read(self, size: int, /) -> bytes:
        try:
            data = self._source.read(size)
        except self._errors as error:
            raise ImageError("a compressed layer is damaged", str(error)) from error
        self._total += len(data)
        if self._total > self._limits.ratio_floor:
            consumed = max(self._file.tell(), 1)
            if self._total > consumed * self._limits.ratio:
                raise ImageError(
                    "a layer unfolds to far more than it holds",
                    f"{consumed} compressed bytes gave {self._total}, more than {self._limits.ratio} times as many",
                    way_out("ratio"),
                )
        return data


class _Gunzip:
    """gzip members one after another. (gzip.GzipFile needs 4 ms to import and is slower.)"""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._engine = zlib.decompressobj(wbits=31)
        self._begun = False

    def read(self, size: int, /) -> bytes:
        while True:
            pending = self._engine.unconsumed_tail
            if self._engine.eof:
                pending = self._engine.unused_data or self._file.read(_CHUNK)
                if not pending.strip(b"\0"):  # padding after the last member is allowed (gzip manual)
                    return b""
                self._engine = zlib.decompressobj(wbits=31)
            pending = pending or self._file.read(_CHUNK)
            if not pending:
                raise EOFError("the compressed data is cut off")
            if data := self._engine.decompress(pending, size):
                return data


@contextmanager
def _zstd(file: IO[bytes]) -> Iterator[tuple[Source, type[Exception]]]:
    """A reader, and what it raises on damage. The program first: the module takes a cut-off stream for a whole one."""
    import subprocess

    from envkit.host.process import find

    program = find("zstd")
    if program is None:
        module = _zstd_module()
        with module.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True) as reader:
            yield reader, module.ZstdError
        return
    command = [program, "-dc", "--memory=128MB"]
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # Python's buffer is ahead of the descriptor that the program gets
    with subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            yield _Checked(child), OSError
        finally:
            if child.poll() is None:
                child.kill()


def _zstd_module() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        raise UnsupportedError(
            "a layer is compressed with zstd, which nothing here can read", "neither the program nor the module exists",
            "install Debian's zstd package, or pip install zstandard",
        ) from None  # fmt: skip


class _Checked:
    """The output of a program, whose failure is an error at the end of it."""

    def __init__(self, child: Popen[bytes]) -> None:
        assert child.stdout and child.stderr
        self._child, self._output, self._errors = child, child.stdout, child.stderr

    def read(self, size: int, /) -> bytes:
        data = self._output.read(size)
        if not data and size and self._child.wait():
            raise OSError(self._errors.read(2000).decode(errors="replace").strip())
        return data
