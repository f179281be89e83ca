"""Put files into the root of an image that somebody else has filled; nothing ever lands outside it.

Every path is resolved as if the root were `/`: a symlink of the image (`/bin` -> `usr/bin`) leads where it leads there.
Directories that exist stay as they are, missing ones are made 0755 root. Raises LayerError for what cannot be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from envkit.errors import EnvkitError
from envkit.host.beneath import open_beneath

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class LayerError(EnvkitError):
    """A layer cannot be made as it is written; the builder adds which one."""


def survey(root: str, paths: Iterable[str]) -> list[list[Any]]:
    """What a layer that writes below the directories `paths` sees of the root: of each and its parents that exist,
    where it really lies, its mode and its owner. Equal surveys give equal layers."""
    wanted: set[str] = set()
    for path in paths:
        parts = path.strip("/").split("/")
        wanted.update("/".join(parts[:length]) for length in range(len(parts) + 1))
    seen: list[list[Any]] = []
    missing: set[str] = set()
    for path in sorted(wanted, key=lambda path: path.split("/")):
        if path.rpartition("/")[0] in missing:
            missing.add(path)
            continue
        try:
            descriptor = open_beneath(root, path, _DIRECTORY)
        except FileNotFoundError:
            missing.add(path)
            continue
        except NotADirectoryError:
            seen.append([path, "no directory"])
            continue
        try:
            info = os.fstat(descriptor)
            seen.append([path, real_path(root, descriptor), stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid])
        finally:
            os.close(descriptor)
    return seen


def real_path(root: str, descriptor: int) -> str:
    """Where an open file of the root lies in it ("/" for the root itself)."""
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    return "/" + os.path.relpath(path, os.path.realpath(root)) if path != os.path.realpath(root) else "/"


class Placer:
    """Writes into one root; used as a context manager."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, _DIRECTORY)

    def __enter__(self) -> Placer:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """A descriptor of the directory at path, made with its parents where it is missing."""
        try:
            descriptor = self._made(path.strip("/"))
        except NotADirectoryError as error:
            raise LayerError("a file is in the way of a directory", path) from error
        except FileNotFoundError as error:
            raise LayerError("a symbolic link of the image leads nowhere", path) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _made(self, path: str) -> int:
        """An O_PATH descriptor of the directory, which may have to be made (whatever the umask says)."""
        try:
            return open_beneath(self._root, path, _DIRECTORY)
        except FileNotFoundError:
            if not path:
                raise
        parent, _, name = path.rpartition("/")
        holder = self._made(parent)
        try:
            try:
                os.mkdir(name, 0o755, dir_fd=holder)
            except FileExistsError:
                return open_beneath(self._root, path, _DIRECTORY)  # a dangling link: ENOENT says so
            os.chmod(name, 0o755, dir_fd=holder)
            return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=holder)
        finally:
            os.close(holder)

    def make_directory(self, path: str, mode: int, uid: int, gid: int) -> bool:
        """A directory with this mode and owner, unless it exists: then it stays as it is. Whether it was made."""
        parent, name = _split(path)
        if not name:
            return False
        with self.directory(parent) as holder:
            try:
                os.mkdir(name, 0o700, dir_fd=holder)
            except FileExistsError:
                with self.directory(path):
                    return False
            os.chown(name, uid, gid, dir_fd=holder)
            os.chmod(name, mode, dir_fd=holder)
            return True

    def put(
        self, path: str, data: bytes | int, mode: int, uid: int, gid: int, attributes: Mapping[str, bytes] | None = None
    ) -> None:
        """A regular file; data: its content, or a descriptor to copy from. An existing file or link is replaced."""
        with self._new(path) as file:
            if isinstance(data, int):
                _copy(data, file.fileno())
            else:
                file.write(data)
            file.flush()
            self._finish(file, mode, uid, gid)
            for name, value in (attributes or {}).items():
                os.setxattr(file.fileno(), name, value)

    def put_blocks(self, path: str, blocks: Iterable[bytes], mode: int, uid: int, gid: int) -> None:
        """put of a content that comes in pieces."""
        with self._new(path) as file:
            for block in blocks:
                file.write(block)
            file.flush()
            self._finish(file, mode, uid, gid)

    @contextmanager
    def _new(self, path: str) -> Iterator[IO[bytes]]:
        parent, name = _split(path)
        with self.directory(parent) as holder:
            self._clear(holder, name, path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o600, dir_fd=holder), "wb") as file:
                yield file

    @staticmethod
    def _finish(file: IO[bytes], mode: int, uid: int, gid: int) -> None:
        """Owner first: chown clears setuid."""
        os.fchown(file.fileno(), uid, gid)
        os.fchmod(file.fileno(), mode)

    def hard_link(self, source: str, path: str) -> None:
        """Another name for the file at source, which was put before."""
        (source_parent, source_name), (parent, name) = _split(source), _split(path)
        with self.directory(source_parent) as origin, self.directory(parent) as holder:
            self._clear(holder, name, path)
            try:
                os.link(source_name, name, src_dir_fd=origin, dst_dir_fd=holder, follow_symlinks=False)
            except FileNotFoundError as error:
                raise LayerError("a hard link's file does not exist", f"{path} -> {source}") from error

    def link(self, path: str, target: str, uid: int = 0, gid: int = 0) -> None:
        """A symbolic link; an existing file or link is replaced."""
        parent, name = _split(path)
        with self.directory(parent) as holder:
            self._clear(holder, name, path)
            os.symlink(target, name, dir_fd=holder)
            os.chown(name, uid, gid, dir_fd=holder, follow_symlinks=False)

    def remove(self, path: str) -> None:
        """Remove a file or link; absent is fine."""
        parent, name = _split(path)
        with suppress(FileNotFoundError):
            holder = open_beneath(self._root, parent.strip("/"), _DIRECTORY)
            try:
                os.unlink(name, dir_fd=holder)
            finally:
                os.close(holder)

    def _clear(self, holder: int, name: str, path: str) -> None:
        if name in ("", ".", ".."):
            raise LayerError("this is no path for a file", path)
        try:
            os.unlink(name, dir_fd=holder)
        except FileNotFoundError:
            return
        except IsADirectoryError as error:
            raise LayerError("a directory is in the way of a file", path) from error


def exists(root: str, path: str) -> bool:
    """Whether there is anything at path in the root, links resolved inside it."""
    try:
        os.close(open_beneath(root, path.strip("/"), os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def parent_of(path: str) -> str:
    """The directory that path lies in."""
    return _split(path)[0]


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rstrip("/").rpartition("/")
    return parent, name


def _copy(source: int, target: int) -> None:
    """The data of an open file; holes and reflinks where the file system has them (copy_file_range(2))."""
    size = os.fstat(source).st_size
    done = 0
    while done < size:
        try:
            copied = os.copy_file_range(source, target, size - done, done, done)
        except OSError:
            break
        if copied == 0:
            return
        done += copied
    os.lseek(target, done, os.SEEK_SET)
    os.lseek(source, done, os.SEEK_SET)
    while data := os.read(source, 1 << 20):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
