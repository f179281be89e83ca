"""`cp`: tar streams out of and into instances, running or not.

Every name is looked up by descriptors below the container's own root (openat2 RESOLVE_IN_ROOT), and no path is ever
followed on the host's side: a symlink in a container leads to places in that container, whatever it says and however
fast it changes. Nothing is executed inside.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envkit.backend.embedded import container_root
from envkit.backend.embedded import record as records
from envkit.backend.embedded.record import Record
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.host.beneath import open_beneath

if TYPE_CHECKING:
    from envkit.address import Address
    from envkit.host.home import Home

_CHUNK = 1 << 16
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_END = b"\0" * 1024


def copy_from(home: Home, environment: str, address: Address, path: str) -> Iterator[bytes]:
    """path as a tar stream (POSIX.1-2001) whose top entry is path's last component. A symlink is copied as one.

    Raises NotFoundError for the instance and for the path.
    """
    record = _record(home, environment, address)
    with container_root.opened(record) as root, _plain_errors(record, path):
        clean = os.path.normpath("/" + path)
        parent = open_beneath(root, os.path.dirname(clean), _DIRECTORY)
        try:
            name = os.path.basename(clean)
            yield from _Packer().pack(parent, name or ".", name or ".")
        finally:
            os.close(parent)
    yield _END


def copy_to(home: Home, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
    """Unpack a tar stream below the existing directory path. Owners, modes and times are the archive's.

    Raises NotFoundError for the instance and for the path; ConflictError where nothing can be written; EnvkitError for
    a stream that is no tar archive, or that names places outside.
    """
    from envkit.backend.embedded.unpack import Unpacker

    record = _record(home, environment, address)
    with container_root.opened(record) as root, _plain_errors(record, path):
        os.close(open_beneath(root, path, _DIRECTORY))
        Unpacker(root, path).unpack(tar)


def _record(home: Home, environment: str, address: Address) -> Record:
    record = records.find(home, environment, address)
    if record is None:
        raise NotFoundError("There is no such instance", str(address), "`envkit ps` lists what there is")
    return record


@contextmanager
def _plain_errors(record: Record, path: str) -> Iterator[None]:
    where = f"{record.address}:{path}"
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "not a directory" if isinstance(error, NotADirectoryError) else "no such file"
        hint = "`envkit exec SERVICE ls -la DIRECTORY` shows what is there"
        raise NotFoundError("There is no such place in the instance", f"{where}: {what}", hint) from error
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ConflictError(
                "The place is read-only", where,
                "copy to a volume or a tmpfs, or give the service `read_only: false`",
            ) from error  # fmt: skip
        raise EnvkitError("The copy failed", f"{where}: {error.filename or ''} {error.strerror}") from error


class _Packer:
    """Tar headers and contents, one directory descriptor at a time."""

    def __init__(self) -> None:
        self._links: dict[tuple[int, int], str] = {}  # (device, inode) -> the name it was packed under first

    def pack(self, directory: int, name: str, arcname: str) -> Iterator[bytes]:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode):
            return
        info = _header(status, arcname)
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=directory)
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(directory, name, info, status)
            return
        yield _encode(info)
        if stat.S_ISDIR(status.st_mode):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                for child in sorted(os.listdir(inner)):
                    yield from self.pack(inner, child, child if arcname == "." else f"{arcname}/{child}")
            finally:
                os.close(inner)

    def _file(self, directory: int, name: str, info: tarfile.TarInfo, status: os.stat_result) -> Iterator[bytes]:
        known = self._links.get((status.st_dev, status.st_ino))
        if status.st_nlink > 1 and known is not None:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, known, 0
            yield _encode(info)
            return
        self._links[status.st_dev, status.st_ino] = info.name
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a fifo in its stead must not block us
        with open(os.open(name, flags, dir_fd=directory), "rb") as file:
            now = os.fstat(file.fileno())
            if not stat.S_ISREG(now.st_mode):
                raise EnvkitError("A file changed its kind while it was copied", info.name)
            info.size = now.st_size
            info.pax_headers = _xattrs(file.fileno())
            yield _encode(info)
            left = info.size
            while left:
                data = file.read(min(_CHUNK, left)) or b"\0" * min(_CHUNK, left)  # cut meanwhile: the size is promised
                left -= len(data)
                yield data
            yield b"\0" * (-info.size % 512)


def _header(status: os.stat_result, name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid, info.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
    kind = stat.S_IFMT(status.st_mode)
    info.type = {
        stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE,
        stat.S_IFBLK: tarfile.BLKTYPE,
    }.get(kind, tarfile.REGTYPE)  # fmt: skip
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return info


def _encode(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _xattrs(file: int) -> dict[str, str]:
    """The attributes that belong to the content: user.* and file capabilities."""
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    return {
        f"SCHILY.xattr.{name}": os.getxattr(file, name).decode("utf-8", "surrogateescape")
        for name in names
        if name.startswith("user.") or name == "security.capability"
    }
