"""Archives on the caller's side: files that appear whole or not at all, stdin and stdout, compression by suffix."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from envkit.errors import EnvkitError, HostError, NotFoundError, UsageError, way_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

_KINDS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".tzst": "zstd"}
_UNKNOWN = (".bz2", ".xz", ".zip", ".7z", ".lz4")


@contextmanager
def reading(name: str, cwd: str) -> Iterator[IO[bytes]]:
    """An archive to read from; - is stdin. Raises NotFoundError, UsageError for a terminal."""
    if name == "-":
        if sys.stdin.isatty():
            raise UsageError("stdin is a terminal", hint="give a file, or `< FILE`")
        yield sys.stdin.buffer
        return
    try:
        with open(os.path.join(cwd, name), "rb") as file:
            yield file
    except (FileNotFoundError, IsADirectoryError) as error:
        if error.filename != os.path.join(cwd, name):
            raise
        raise NotFoundError("There is no such archive", f"{name}: {error.strerror}") from error


def write(chunks: Iterable[bytes], name: str, cwd: str) -> tuple[int, int]:
    """Write an archive to the file name, compressed as its suffix says; - is stdout. (bytes before, bytes written).

    An existing file is replaced when the new one is whole. Raises UsageError, HostError.
    """
    if name == "-":
        if sys.stdout.isatty():
            raise UsageError("stdout is a terminal", hint="give a file, or `> FILE`")
        sys.stdout.flush()
        return _copied(chunks, 1, "none")
    path = os.path.join(cwd, name)
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _UNKNOWN:
        raise UsageError(f"{suffix} is not written here", hint="write .tar, .tar.gz or .tar.zst")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with _explained(name), open(path, "wb", buffering=0) as file:  # a device, a named pipe
            return _copied(chunks, file.fileno(), _KINDS.get(suffix, "none"))
    with _explained(name):
        return _whole(chunks, path, _KINDS.get(suffix, "none"))


def _whole(chunks: Iterable[bytes], path: str, kind: str) -> tuple[int, int]:
    directory = os.path.dirname(path)
    below = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    descriptor = os.open(directory, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666 & ~_umask())
    temporary = os.path.join(directory, f".{os.path.basename(path)}.{os.urandom(4).hex()}")
    try:
        found = _copied(chunks, descriptor, kind)
        os.fsync(descriptor)
        os.link(f"/proc/self/fd/{descriptor}", temporary, dst_dir_fd=below, follow_symlinks=True)
        os.rename(temporary, path)
        os.fsync(below)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
        os.close(below)
    return found


def _copied(chunks: Iterable[bytes], descriptor: int, kind: str) -> tuple[int, int]:
    before = 0

    def counted() -> Iterator[bytes]:
        nonlocal before
        for chunk in chunks:
            before += len(chunk)
            yield chunk

    if kind == "zstd":
        after = _zstd(counted(), descriptor)
    else:
        after = 0
        if kind == "gzip":
            from envkit.image.compression import gzipped

            packed: Iterable[bytes] = gzipped(counted())
        else:
            packed = counted()
        for chunk in packed:
            _write(descriptor, chunk)
            after += len(chunk)
    return before, after


def _zstd(chunks: Iterable[bytes], descriptor: int) -> int:
    """By the program; the bytes that it has written (0 where that is no file)."""
    from envkit.host.process import require

    with subprocess.Popen([require("zstd"), "-q", "-T0", "-c"], stdin=subprocess.PIPE, stdout=descriptor) as child:
        pipe: Any = child.stdin
        try:
            for chunk in chunks:
                pipe.write(chunk)
            pipe.close()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise EnvkitError("An archive cannot be compressed", f"zstd ended with {child.returncode}")
    return os.fstat(descriptor).st_size


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError("An archive cannot be written", f"{name}: {error.strerror}", way_out(error)) from error


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
