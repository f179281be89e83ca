"""Mounts: binds, tmpfs, overlays by the new mount API, and the mount table.

Sources: mount(2), fsopen(2), mount_setattr(2), proc(5) mountinfo, kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from envkit.errors import HostError
from envkit.host import syscalls
from envkit.host.steps import step

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC = 0x1000, 0x4000
PROPAGATION = {
    "unbindable": 1 << 17, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20,
}  # fmt: skip
_MNT_DETACH = 2
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_SET_STRING, _SET_FLAG, _CREATE = 1, 0, 6
MAX_LOWERS = 500
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
        tree = syscalls.open_tree(syscalls.AT_FDCWD, src, _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | flags)
        try:
            wanted = MS_RDONLY * read_only | MS_NOSUID * nosuid | MS_NODEV * nodev | MS_NOEXEC * noexec
            syscalls.mount_setattr(
                tree, "", syscalls.AT_EMPTY_PATH | flags, attr_set=wanted, propagation=PROPAGATION[propagation]
            )
            syscalls.move_mount(tree, dst)
        finally:
            os.close(tree)
    except OSError as error:
        raise HostError(f"{src} cannot be bound to {dst}", _reason(error)) from error


def tmpfs(dst: str, options: Sequence[str] = ("mode=755",), *, flags: int = MS_NOSUID | MS_NODEV) -> None:
    """Mount a new tmpfs at dst. options as in tmpfs(5): size=…, mode=…. Raises HostError."""
    step("mount.tmpfs")
    try:
        syscalls.mount("tmpfs", dst, "tmpfs", flags, ",".join(options))
    except OSError as error:
        raise HostError(f"a tmpfs cannot be mounted at {dst}", _reason(error)) from error


def overlay(
    lowers_top_first: Sequence[str], dst: str, upper: str | None = None, work: str | None = None, *,
    read_only: bool = False, for_capture: bool = False, options: Sequence[str] = (), flags: int = 0,
) -> None:  # fmt: skip
    """Mount an overlay at dst. Paths may contain anything; at most 500 lowers.

    Without upper it is read-only and needs two lowers at least (EINVAL otherwise: give a stub layer as the last).
    for_capture: the upper will be turned into a layer, so that renames and chmods must show as whole files
    (redirect_dir, metacopy and index off). options: further names or name=value, from IdMap.overlay_options; flags:
    MS_NOSUID, MS_NODEV. Raises HostError with the kernel's own words.
    """
    if len(lowers_top_first) > MAX_LOWERS:
        detail = f"{len(lowers_top_first)}; the kernel's limit is {MAX_LOWERS}"
        raise HostError("an overlay has too many layers", detail)
    settings = [*(("lowerdir+", path) for path in lowers_top_first)]
    if upper is not None:
        settings += [("upperdir", upper), ("workdir", work or "")]
    for name in (*(("redirect_dir=off", "metacopy=off", "index=off") if for_capture else ()), *options):
        key, _, value = name.partition("=")
        settings.append((key, value))
    step("mount.overlay")
    context = -1
    try:
        context = syscalls.fsopen("overlay")
        for key, value in settings:
            if value:
                syscalls.fsconfig(context, _SET_STRING, key, value)
            else:
                syscalls.fsconfig(context, _SET_FLAG, key)
        syscalls.fsconfig(context, _CREATE)
        mounted = syscalls.fsmount(context, flags | MS_RDONLY * read_only)
        try:
            syscalls.move_mount(mounted, dst)
        finally:
            os.close(mounted)
    except OSError as error:
        said = _kernel_messages(context) if context >= 0 else ""
        detail = "; ".join(filter(None, (_reason(error), said)))
        raise HostError(f"an overlay cannot be mounted at {dst}", detail) from error
    finally:
        if context >= 0:
            os.close(context)


def unmount(dst: str, detach: bool = True) -> None:
    """Take away the topmost mount at dst; fine when nothing is mounted there. detach: even while it is in use."""
    step("unmount")
    try:
        syscalls.umount(dst, (_MNT_DETACH if detach else 0) | 8)  # 8: UMOUNT_NOFOLLOW
    except OSError as error:
        if error.errno in (2, 22):  # ENOENT; EINVAL: not a mount point
            return
        raise HostError(f"{dst} cannot be unmounted", _reason(error)) from error


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
        raise HostError(f"the mounts of process {pid} cannot be read", _reason(error)) from error
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


def _reason(error: OSError) -> str:
    return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)


def _kernel_messages(context: int) -> str:
    """What the kernel wrote into the mount context: lines like `e overlay: …` (fsopen(2))."""
    said = []
    with suppress(OSError):
        while message := os.read(context, 8192):
            said.append(message.decode(errors="replace").strip().partition(" ")[2])
    return "; ".join(said)
