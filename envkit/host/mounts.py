"""Mounts: binds, tmpfs, overlays, and the mount table.

Sources: mount(2), open_tree(2), mount_setattr(2), proc(5) mountinfo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from envkit.errors import HostError
from envkit.host import syscalls
from envkit.host.overlay import overlay
from envkit.host.steps import step

__all__ = ("Mount", "bind", "is_mount", "mount_table", "overlay", "set_propagation", "tmpfs", "unmount")

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC = 0x1000, 0x4000
PROPAGATION = {
    "unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20,
}  # fmt: skip
_MNT_DETACH = 2
CLONE_TREE = 1 | os.O_CLOEXEC  # flags of open_tree: a copy that can be attached elsewhere
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo. root: the part of the file system that is mounted; propagation: the optional fields."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: str
    propagation: tuple[str, ...]
    filesystem: str
    source: str
    super_options: str


def bind(
    src: str, dst: str, *, recursive: bool = True, read_only: bool = False, nosuid: bool = False, nodev: bool = False,
    noexec: bool = False, propagation: str = "private",
) -> None:  # fmt: skip
    """Mount src (file or directory) at the existing dst.

    The flags hold for every mount below src when recursive. propagation: private, slave, shared or unbindable.
    Raises HostError.
    """
    step("mount.bind")
    try:
        flags = syscalls.AT_RECURSIVE if recursive else 0
        tree = syscalls.open_tree(syscalls.AT_FDCWD, src, CLONE_TREE | flags)
        try:
            wanted = MS_RDONLY * read_only | MS_NOSUID * nosuid | MS_NODEV * nodev | MS_NOEXEC * noexec
            syscalls.mount_setattr(
                tree, "", syscalls.AT_EMPTY_PATH | flags, attr_set=wanted, propagation=PROPAGATION[propagation]
            )
            syscalls.move_mount(tree, dst)
        finally:
            os.close(tree)
    except OSError as error:
        raise HostError(f"{src} cannot be bound to {dst}", reason(error)) from error


def tmpfs(dst: str, options: Sequence[str] = ("mode=755",), *, flags: int = MS_NOSUID | MS_NODEV) -> None:
    """Mount a new tmpfs at dst. options as in tmpfs(5): size=…, mode=…. Raises HostError."""
    step("mount.tmpfs")
    try:
        syscalls.mount("tmpfs", dst, "tmpfs", flags, ",".join(options))
    except OSError as error:
        raise HostError(f"a tmpfs cannot be mounted at {dst}", reason(error)) from error


def unmount(dst: str, detach: bool = True) -> None:
    """Take away the topmost mount at dst; fine when nothing is mounted there. detach: even while it is in use."""
    step("unmount")
    try:
        syscalls.umount(dst, (_MNT_DETACH if detach else 0) | 8)  # 8: UMOUNT_NOFOLLOW
    except OSError as error:
        if error.errno in (2, 22):  # ENOENT; EINVAL: not a mount point
            return
        raise HostError(f"{dst} cannot be unmounted", reason(error)) from error


def set_propagation(path: str, propagation: str, *, recursive: bool = False) -> None:
    """Change how mount events below the mount at path travel: private, slave, shared, unbindable."""
    syscalls.mount(None, path, None, PROPAGATION[propagation] | MS_REC * recursive)


def is_mount(path: str) -> bool:
    """Whether something is mounted exactly at path (bind mounts of one file system included)."""
    target = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return any(entry.target == target for entry in mount_table())


def mount_table(pid: int | str = "self") -> list[Mount]:
    """The mounts that process sees, in the order of mounting. Raises HostError when they cannot be read."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise HostError(f"the mounts of process {pid} cannot be read", reason(error)) from error
    return [_parse(line) for line in lines]


def _parse(line: str) -> Mount:
    first, _, last = line.partition(" - ")
    number, parent, device, root, target, options, *propagation = first.split(" ")
    filesystem, source, super_options = [*last.split(" "), "", ""][:3]
    return Mount(
        int(number), int(parent), device, _plain(root), _plain(target), options, tuple(propagation), filesystem,
        _plain(source), super_options,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Undo mountinfo's octal escapes (space, tab, newline, backslash)."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


def reason(error: OSError) -> str:
    """What an OSError says, with its path."""
    return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
