"""Calls of libc and the kernel that Python 3.11's os module lacks. Failures are OSError, as in os.

Numbers: linux/include/uapi/asm-generic/unistd.h (the newer calls have one number on all architectures).
"""

from __future__ import annotations

import ctypes
import os

from envkit.host.steps import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_OPENAT2, _MOUNT_SETATTR = 437, 442
_RENAME_EXCHANGE = 2

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x08, 0x10

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
MOVE_MOUNT_F_EMPTY_PATH = 0x4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64), ("attr_clr", ctypes.c_uint64), ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )  # fmt: skip


def _checked(result: int, *paths: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *paths[:1])
    return result


def _syscall(number: int, *arguments: Any, path: str = "") -> int:
    wrapped = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wrapped), path)


def _name(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def mount(source: str | None, target: str, filesystem: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    step("mount")
    arguments = (_name(source), os.fsencode(target), _name(filesystem), ctypes.c_ulong(flags), _name(data))
    _checked(_libc.mount(*arguments), target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    step("umount")
    _checked(_libc.umount2(os.fsencode(target), flags), target)


def unshare(flags: int) -> None:
    """unshare(2)."""
    step("unshare")
    _checked(_libc.unshare(flags))


def setns(descriptor: int, flags: int = 0) -> None:
    """setns(2)."""
    step("setns")
    _checked(_libc.setns(descriptor, flags))


def prctl(option: int, argument: int) -> None:
    """prctl(2)."""
    _checked(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0))


def openat2(root: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """openat2(2); the descriptor is close-on-exec. Retries EAGAIN (a rename raced with the lookup)."""
    if flags & os.O_CREAT:
        step("openat2")
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    while True:
        try:
            return _syscall(_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how), path=path)
        except BlockingIOError:
            continue


def exchange(one: str, other: str) -> None:
    """renameat2(2) with RENAME_EXCHANGE: both names have the other's file afterwards, at no moment none."""
    step("exchange")
    names = (os.fsencode(one), AT_FDCWD, os.fsencode(other))
    _checked(_libc.renameat2(AT_FDCWD, *names, ctypes.c_uint(_RENAME_EXCHANGE)), one)


def syncfs(path: str) -> None:
    """syncfs(2): everything that was written to the file system of path is on its disk. Raises what was lost."""
    step("syncfs")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.syncfs(descriptor), path)
    finally:
        os.close(descriptor)


def open_tree(root: int, path: str, flags: int) -> int:
    """open_tree(2)."""
    step("open_tree")
    return _syscall(_OPEN_TREE, root, os.fsencode(path), flags, path=path)


def move_mount(mounted: int, target: str, target_root: int = AT_FDCWD) -> None:
    """move_mount(2): attach the mount of a descriptor at target. target "" means target_root itself."""
    step("move_mount")
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0x40 if target == "" else 0)
    _syscall(_MOVE_MOUNT, mounted, b"", target_root, os.fsencode(target), flags, path=target)


def fsopen(filesystem: str) -> int:
    """fsopen(2), close-on-exec."""
    return _syscall(_FSOPEN, filesystem.encode(), 1, path=filesystem)


def fsconfig(context: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """fsconfig(2). command: 0 flag, 1 string, 6 create."""
    _syscall(_FSCONFIG, context, command, _name(key), _name(value), 0)


def fsmount(context: int, attributes: int) -> int:
    """fsmount(2), close-on-exec."""
    step("fsmount")
    return _syscall(_FSMOUNT, context, 1, attributes)


def mount_setattr(
    root: int, path: str, flags: int, *, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0
) -> None:
    """mount_setattr(2)."""
    attr = _MountAttr(attr_set, attr_clr, propagation, 0)
    _syscall(_MOUNT_SETATTR, root, os.fsencode(path), flags, ctypes.byref(attr), ctypes.sizeof(attr), path=path)
