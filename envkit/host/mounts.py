"""Mounts: binds, tmpfs, overlays, and the mount table.

Sources: mount(2), open_tree(2), mount_setattr(2), proc(5) mountinfo.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from envkit.errors import HostError
from envkit.host import syscalls
from envkit.host.mountinfo import Mount, is_mount, mount_table, reason
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
