"""The copying of trees behind files.copy_tree: descriptor by descriptor, so that no name is resolved twice.

Source: ioctl_ficlone(2): file systems that can (btrfs, XFS, bcachefs) let both files share their blocks until one is
written to, so that a copy takes neither time nor space.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 30
_FICLONE = 0x40049409
_CANNOT_CLONE = frozenset({
    errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EBADF,
})  # fmt: skip


class Copier:
    """One copy: remembers the inodes with several names, to link them again.

    live: others write in the source meanwhile, so that what vanishes is left out and counted in `vanished`. files and
    bytes: what was copied (directories do not count, and a file with several names counts once); cloned: how many files
    share their blocks with the source.
    """

    def __init__(self, *, live: bool = False) -> None:
        self._links: dict[tuple[int, int], str] = {}
        self._live = live
        self._clones = True
        self.files = self.bytes = self.cloned = self.vanished = 0

    def copy(self, source: str, target: str) -> None:
        """Copy source (any type) to target."""
        info = os.lstat(source)
        source_parent, source_name = os.path.split(os.path.abspath(source))
        target_parent, target_name = os.path.split(os.path.abspath(target))
        above = os.open(source_parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            below = os.open(target_parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._entry(above, source_name or ".", below, target_name or ".", info, target)
            finally:
                os.close(below)
        finally:
            os.close(above)

    def _entry(self, source: int, name: str, target: int, new: str, info: os.stat_result, path: str) -> None:
        if stat.S_ISDIR(info.st_mode):
            self._directory(source, name, target, new, info, path)
            return
        if info.st_nlink > 1:
            key = (info.st_dev, info.st_ino)
            if first := self._links.get(key):
                os.link(first, new, dst_dir_fd=target, follow_symlinks=False)
                return
            self._links[key] = path
        self.files += 1
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
        elif stat.S_ISREG(info.st_mode):
            self._regular(source, name, target, new, info)
            return
        else:
            os.mknod(new, info.st_mode, info.st_rdev, dir_fd=target)
        _own(target, new, info)
        reader = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            _copy_attributes_of_link(reader, target, new)
        finally:
            os.close(reader)
        _touch(target, new, info)

    def _directory(self, source: int, name: str, target: int, new: str, info: os.stat_result, path: str) -> None:
        try:
            os.mkdir(new, 0o700, dir_fd=target)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(new, dir_fd=target, follow_symlinks=False).st_mode):
                raise
        reader = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            writer = os.open(new, _DIRECTORY, dir_fd=target)
            try:
                with os.scandir(reader) as entries:
                    children = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
                for child, child_info in children:
                    self._child(reader, child, writer, child_info, os.path.join(path, child))
                _dress(reader, writer, info)
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    def _child(self, source: int, name: str, target: int, info: os.stat_result, path: str) -> None:
        try:
            self._entry(source, name, target, name, info, path)
        except FileNotFoundError:
            if not self._live or _exists(source, name):
                raise
            self._links.pop((info.st_dev, info.st_ino), None)
            self.vanished += 1

    def _regular(self, source: int, name: str, target: int, new: str, info: os.stat_result) -> None:
        reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            writer = os.open(new, flags, 0o600, dir_fd=target)
            try:
                if not (self._clones and info.st_size and self._clone(reader, writer)):
                    _copy_data(reader, writer, os.fstat(reader).st_size if self._live else info.st_size)
                self.bytes += os.fstat(writer).st_size
                _dress(reader, writer, info)
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    def _clone(self, reader: int, writer: int) -> bool:
        """Let both share their blocks; where the file system cannot, it is not asked again."""
        try:
            fcntl.ioctl(writer, _FICLONE, reader)
        except OSError as error:
            if error.errno not in _CANNOT_CLONE:
                raise
            self._clones = False
            return False
        self.cloned += 1
        return True


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _copy_data(reader: int, writer: int, size: int) -> None:
    """Copy the data of a file and leave its holes holes."""
    os.ftruncate(writer, size)
    position = 0
    while position < size:
        try:
            begin = os.lseek(reader, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(reader, begin, os.SEEK_HOLE)
        _copy_range(reader, writer, begin, end)
        position = end


def _copy_range(reader: int, writer: int, begin: int, end: int) -> None:
    in_kernel = True
    while begin < end:
        if in_kernel:
            try:
                copied = os.copy_file_range(reader, writer, min(end - begin, _CHUNK), begin, begin)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                in_kernel = False
                continue
        else:
            copied = os.pwrite(writer, os.pread(reader, min(end - begin, 1 << 20), begin), begin)
        if copied == 0:
            return  # the file was cut while it was read
        begin += copied


def _dress(reader: int, writer: int, info: os.stat_result) -> None:
    """Owner, then mode (chown clears setuid), then attributes (chown clears capabilities), then times."""
    os.fchown(writer, info.st_uid, info.st_gid)
    os.fchmod(writer, stat.S_IMODE(info.st_mode))
    for attribute in os.listxattr(reader):
        try:
            os.setxattr(writer, attribute, os.getxattr(reader, attribute))
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
    os.utime(writer, ns=(info.st_atime_ns, info.st_mtime_ns))


def _own(target: int, new: str, info: os.stat_result) -> None:
    os.chown(new, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(new, stat.S_IMODE(info.st_mode), dir_fd=target)


def _copy_attributes_of_link(reader: int, target: int, new: str) -> None:
    """Attributes of what cannot be opened (symlinks, devices): by way of /proc/self/fd, without following the link."""
    source = f"/proc/self/fd/{reader}"
    holder = f"/proc/self/fd/{target}/{new}"
    try:
        names = os.listxattr(source)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ELOOP, errno.EPERM):
            return
        raise
    for attribute in names:
        try:
            os.setxattr(holder, attribute, os.getxattr(source, attribute), follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _touch(target: int, new: str, info: os.stat_result) -> None:
    os.utime(new, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target, follow_symlinks=False)
