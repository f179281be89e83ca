"""Unpack a tar stream into a place inside a container's root; the archive and the container may both be hostile."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, cast

from envkit.errors import EnvkitError
from envkit.host.beneath import make_directories_beneath, open_beneath

_CHUNK = 1 << 16
_XATTR = "SCHILY.xattr."


class Stream:
    """An iterator of bytes as the file that tarfile's stream mode reads."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            part = next(self._parts, None)
            if part is None:
                break
            self._rest += part
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Unpacker:
    """root: descriptor of the container's root; base: the directory in it that the archive is relative to."""

    def __init__(self, root: int, base: str) -> None:
        self.root = root
        self.base = "/" + base.strip("/")
        self._late: list[tuple[str, tarfile.TarInfo]] = []  # directories' modes and times, set when they are full

    def unpack(self, parts: Iterator[bytes]) -> None:
        try:
            with tarfile.open(fileobj=cast(IO[bytes], Stream(parts)), mode="r|") as archive:
                for member in archive:
                    self._member(archive, member)
        except tarfile.TarError as error:
            raise EnvkitError("The stream is no tar archive", str(error)) from error
        for path, member in reversed(self._late):
            self._finish_directory(path, member)

    def _place(self, name: str) -> str:
        """Where a member goes, in the container's own terms. Raises EnvkitError for a name that climbs out."""
        words = [word for word in name.split("/") if word not in ("", ".")]
        if ".." in words:
            raise EnvkitError("An archive names a place outside of itself", repr(name))
        return "/".join([self.base.rstrip("/"), *words])

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._place(member.name)
        if path.rstrip("/") == self.base.rstrip("/"):
            if not member.isdir():
                raise EnvkitError("An archive's top is no directory", repr(member.name))
            return  # the place itself stays as it is
        parent_path, _, name = path.rpartition("/")
        parent = make_directories_beneath(self.root, parent_path or "/")
        try:
            if member.isdir():
                self._directory(parent, name, path, member)
            elif member.isreg():
                self._file(archive, parent, name, member)
            elif member.issym():
                _remove(parent, name)
                os.symlink(member.linkname, name, dir_fd=parent)
                os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
            elif member.islnk():
                self._hard_link(parent, name, member)
            elif member.isfifo():
                _remove(parent, name)
                os.mkfifo(name, member.mode & 0o7777, dir_fd=parent)
            else:
                raise EnvkitError("An archive has a device in it", repr(member.name), "leave it out")
        finally:
            os.close(parent)

    def _directory(self, parent: int, name: str, path: str, member: tarfile.TarInfo) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not _leads_to_directory(self.root, path):
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o700, dir_fd=parent)
        self._late.append((path, member))

    def _finish_directory(self, path: str, member: tarfile.TarInfo) -> None:
        directory = open_beneath(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchown(directory, member.uid, member.gid)
            os.fchmod(directory, member.mode & 0o7777)
            os.utime(directory, (member.mtime, member.mtime))
        finally:
            os.close(directory)

    def _file(self, archive: tarfile.TarFile, parent: int, name: str, member: tarfile.TarInfo) -> None:
        content = archive.extractfile(member)
        assert content is not None
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            _remove(parent, name)
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EBUSY:  # EBUSY: a file that is itself a mount; its content is replaced
                raise
            descriptor = os.open(name, flags | os.O_TRUNC, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            while data := content.read(_CHUNK):
                file.write(data)
            file.flush()
            os.fchown(descriptor, member.uid, member.gid)
            os.fchmod(descriptor, member.mode & 0o7777)
            for key, value in member.pax_headers.items():
                attribute = key.removeprefix(_XATTR)
                if key.startswith(_XATTR) and (attribute.startswith("user.") or attribute == "security.capability"):
                    os.setxattr(descriptor, attribute, value.encode("utf-8", "surrogateescape"))
            os.utime(descriptor, (member.mtime, member.mtime))

    def _hard_link(self, parent: int, name: str, member: tarfile.TarInfo) -> None:
        source = open_beneath(self.root, self._place(member.linkname), os.O_PATH | os.O_NOFOLLOW)
        try:
            if stat.S_ISDIR(os.fstat(source).st_mode):
                raise EnvkitError("An archive links to a directory", repr(member.linkname))
            _remove(parent, name)
            os.link(f"/proc/self/fd/{source}", name, dst_dir_fd=parent, follow_symlinks=True)
        finally:
            os.close(source)


def _remove(parent: int, name: str) -> None:
    """Make room for a file. Raises IsADirectoryError where a directory is."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def _leads_to_directory(root: int, path: str) -> bool:
    try:
        os.close(open_beneath(root, path, os.O_PATH | os.O_DIRECTORY))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
