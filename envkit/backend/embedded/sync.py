"""`develop.watch`: files of the project put into a running instance, also below a read-only root.

The container sees its root through a mount of its own, which may be read-only; the engine has the same file system
mounted writably (rootfs.private). So a directory is looked up as the container sees it, volumes included, and where
that mount is read-only but is the root's, the very same directory (equal device and inode) is opened from the engine's
side. What the container may write stays what it was. Every file is replaced by a rename: nobody reads half of one.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import IO, cast

from envkit.backend.embedded import container_root
from envkit.backend.embedded import record as records
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.unpack import Stream
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.host.beneath import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.address import Address
    from envkit.host.home import Home

_CHUNK = 1 << 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOTE = "synced"
"""The file of the record directory that names, between NUL bytes, what has been put in."""


def sync_to(
    home: Home, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
) -> None:
    """See backend.base.Backend.sync_to."""
    record = records.find(home, environment, address)
    if record is None:
        raise NotFoundError("There is no such instance", str(address), "`envkit ps` lists what there is")
    where = f"{address}:{target}"
    try:
        with ExitStack() as stack:
            seen = stack.enter_context(container_root.opened(record))
            own = _own_root(record)
            if own is not None:
                stack.callback(os.close, own)
            files = _Files(seen, own, target)
            stack.callback(files.close)
            files.remove(removed)
            files.unpack(tar)
            if not record.spec.get("read_only"):
                _note(record, files.written)
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ConflictError(
                "The place is read-only", where, "sync to the root, to a volume or to a tmpfs"
            ) from error
        raise EnvkitError("The files cannot be synced", f"{where}: {error.filename or ''} {error.strerror}") from error


def synced(record: Record) -> frozenset[str]:
    """The absolute paths in the container that sync has written: not the container's own work."""
    data = records.slurp(record.path(_NOTE)) or b""
    return frozenset(os.fsdecode(name) for name in data.split(b"\0") if name)


def _own_root(record: Record) -> int | None:
    """The engine's writable view of a read-only root, None where the container's is writable by itself."""
    if not record.spec.get("read_only") or record.shared_root or not record.root:
        return None
    return os.open(record.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _note(record: Record, written: Sequence[str]) -> None:
    new = set(written) - synced(record)
    if new:
        with open(record.path(_NOTE), "ab") as file:
            file.write(b"".join(os.fsencode(path) + b"\0" for path in sorted(new)))


class _Files:
    """One batch below target."""

    def __init__(self, seen: int, own: int | None, target: str) -> None:
        self._seen, self._own = seen, own
        self._base = os.path.normpath("/" + target).replace("//", "/").rstrip("/")
        self._last: tuple[str, int] | None = None  # the directory that was opened last
        self.written: list[str] = []

    def close(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def remove(self, paths: Sequence[str]) -> None:
        """Take files and whole trees away; what is not there is fine."""
        for path in paths:
            parent, name = os.path.split(self._place(path))
            try:
                directory = self._open(parent)
            except (FileNotFoundError, NotADirectoryError):
                continue
            _remove(directory, name)
        self.close()  # it may be one of those that are gone

    def unpack(self, parts: Iterator[bytes]) -> None:
        try:
            with tarfile.open(fileobj=cast(IO[bytes], Stream(parts)), mode="r|") as archive:
                for member in archive:
                    self._member(archive, member)
        except tarfile.TarError as error:
            raise EnvkitError("The stream is no tar archive", str(error)) from error

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._place(member.name)
        if path == self._base:
            self._make(path or "/")
            return
        parent, name = os.path.split(path)
        directory = self._make(parent)
        self.written.append(path)
        if member.isdir():
            self._directory(directory, name, member.mode)
        elif member.isreg():
            content = archive.extractfile(member)
            assert content is not None
            self._file(directory, name, member, content)
        elif member.issym():
            temporary = _temporary()
            os.symlink(member.linkname, temporary, dir_fd=directory)
            _own(directory, temporary, name)
            _rename(directory, temporary, name)

    def _place(self, name: str) -> str:
        """A path of the batch in the container's terms. Raises EnvkitError for one that climbs out."""
        words = [word for word in name.split("/") if word not in ("", ".")]
        if ".." in words:
            raise EnvkitError("A path leads outside of its target", repr(name))
        return "/".join([self._base, *words])

    # -- directories

    def _open(self, path: str) -> int:
        """A descriptor of an existing directory through which one can write, valid until the next call."""
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        self.close()
        found = open_beneath(self._seen, path or "/", _DIRECTORY)
        if self._own is not None and os.fstatvfs(found).f_flag & os.ST_RDONLY:
            info = os.fstat(found)
            os.close(found)
            found = open_beneath(self._own, path or "/", _DIRECTORY)
            same = os.fstat(found)
            if (same.st_dev, same.st_ino) != (info.st_dev, info.st_ino):
                os.close(found)
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        self._last = path, found
        return found

    def _make(self, path: str) -> int:
        """The same; made with its missing parents where it is not there."""
        try:
            return self._open(path)
        except FileNotFoundError:
            parent, name = os.path.split(path)
        self._directory(self._make(parent if parent != "/" else ""), name, 0o755)
        self.written.append(path)
        return self._open(path)

    def _directory(self, parent: int, name: str, mode: int) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.chmod(name, mode & 0o7777, dir_fd=parent)
                return
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)
        _own(parent, name, name)
        os.chmod(name, mode & 0o7777, dir_fd=parent)

    # -- files

    def _file(self, parent: int, name: str, member: tarfile.TarInfo, content: IO[bytes]) -> None:
        temporary = _temporary()
        descriptor = os.open(temporary, _NEW, 0o600, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                while data := content.read(_CHUNK):
                    file.write(data)
                _own(parent, temporary, name)
                os.fchmod(descriptor, member.mode & 0o7777)
                os.utime(descriptor, (member.mtime, member.mtime))
            _rename(parent, temporary, name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise


def _temporary() -> str:
    return f".envkit-{os.urandom(6).hex()}"


def _own(directory: int, made: str, name: str) -> None:
    """Give what was made the owner of what it replaces, else that of its directory."""
    try:
        info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if made == name:
            info = os.fstat(directory)
    except FileNotFoundError:
        info = os.fstat(directory)
    os.chown(made, info.st_uid, info.st_gid, dir_fd=directory, follow_symlinks=False)


def _rename(directory: int, temporary: str, name: str) -> None:
    """Put it in its place; a file that is itself a mount (EBUSY) gets the content instead."""
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except IsADirectoryError:
        _remove(directory, name)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        with open(os.open(temporary, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory), "rb") as source, open(
            os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory), "wb"
        ) as file:
            shutil.copyfileobj(source, file)
        os.unlink(temporary, dir_fd=directory)


def _remove(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=directory)
