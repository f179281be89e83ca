"""Files: written whole or not at all, copied with everything they have, removed without following anything.

Sources: rename(2), fsync(2), openat2(2), xattr(7), lseek(2) SEEK_DATA.
"""

from __future__ import annotations

import errno
import os
import stat

from envkit.errors import HostError
from envkit.host.steps import step
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_atomic(path: str, data: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Make path a file with exactly data and mode; readers see the old content or the new, never a part.

    durable: it survives a power cut once this returns (file and directory are fsynced). The directory must exist.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            _write_all(descriptor, data)
            os.fchmod(descriptor, mode)
            if durable:
                step("fsync")
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        step("write_atomic.rename")
        os.rename(temporary, path)
    except BaseException as error:
        _unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:  # write(2) and fsync(2) name none
            error.filename = path
        raise
    if durable:
        fsync_directory(directory or ".")


def write_json(path: str, value: Any, mode: int = 0o644, *, durable: bool = True) -> None:
    """write_atomic of value as JSON."""
    write_atomic(path, json.dumps(value, ensure_ascii=False).encode(), mode, durable=durable)


def read_json(path: str) -> Any:
    """The JSON value of a file; None when there is no such file. Raises HostError when it is not JSON."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        hint = "delete it; the next apply writes it anew"
        raise HostError("a state file is damaged", f"{path}: {error}", hint) from error


def fsync_directory(path: str) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: str, mode: int = 0o755) -> None:
    """Make path and its missing parents; the directory itself gets exactly mode. An existing one is left as it is."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    except FileNotFoundError:
        make_directory(os.path.dirname(path), 0o755)
        make_directory(path, mode)
        return
    os.chmod(path, mode)


def remove_tree(path: str) -> None:
    """Remove path and everything below it; absent is fine.

    Follows no symlink and enters no mount: raises HostError when something is mounted inside, so that a forgotten bind
    never costs the data behind it. Any depth, two descriptors.
    """
    path = path.rstrip("/")
    step("remove_tree")
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        current = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _empty(current)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EBUSY):
            raise HostError("a directory that is to be removed has a mount inside", f"{path}: {error}") from error
        raise
    os.rmdir(path)


def _empty(current: int) -> None:
    """Empty the directory of the descriptor, and close it."""
    from envkit.host.syscalls import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    above: list[tuple[str, int, list[str]]] = []  # of each parent: the child we are in, its inode, children left
    try:
        children = _unlink_files(current)
        while children or above:
            if children:
                name = children.pop()
                next_one = openat2(current, name, flags, 0, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
                above.append((name, os.fstat(current).st_ino, children))
                os.close(current)
                current = next_one
                children = _unlink_files(current)
                continue
            name, inode, children = above.pop()
            next_one = os.open("..", flags | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = next_one
            if os.fstat(current).st_ino != inode:
                raise HostError("a directory was moved while it was being removed", name)
            os.rmdir(name, dir_fd=current)
    finally:
        os.close(current)


def _unlink_files(directory: int) -> list[str]:
    """Unlink everything but directories; returns the names of those."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in found if is_directory]


def copy_tree(source: str, target: str) -> None:
    """Copy a tree with owners, modes, times, extended attributes, hard links, holes and special files.

    source may be a file. target may be an existing directory, which then gets source's content and metadata. Symlinks
    are copied as such. Attributes that target's file system does not know are left out.
    """
    from envkit.host.copying import Copier

    Copier().copy(source, target)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
