"""Overlay mounts, by whichever interface the kernel has.

From Linux 6.7 on layers are handed over one by one (`lowerdir+`), with any path and real error texts; before, all of
them share one option string of 4095 bytes, which mount(2) would cut silently: relative names keep it short.
Sources: fsopen(2), kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from envkit.errors import HostError
from envkit.host import syscalls
from envkit.host.steps import step

MAX_LOWERS = 500
_MS_RDONLY = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_MAX_OPTIONS = 4095
_CAPTURE = ("redirect_dir=off", "metacopy=off", "index=off")


def _can_append() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor.split("-")[0])))) >= (6, 7)


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
    further = [*(_CAPTURE if for_capture else ()), *options]
    writable = [("upperdir", upper), ("workdir", work or "")] if upper is not None else []
    step("mount.overlay")
    mount = append if _can_append() else classic
    mount(list(lowers_top_first), writable, further, dst, flags | _MS_RDONLY * read_only)


def append(
    lowers: Sequence[str], writable: Sequence[tuple[str, str]], options: Sequence[str], dst: str, flags: int
) -> None:
    """Mount by the new interface."""
    context = -1
    try:
        context = syscalls.fsopen("overlay")
        for path in lowers:
            syscalls.fsconfig(context, _SET_STRING, "lowerdir+", path)
        for key, path in writable:  # these alone are unescaped by the kernel (ovl_mount_dir)
            syscalls.fsconfig(context, _SET_STRING, key, path.replace("\\", "\\\\"))
        for name in options:
            key, _, value = name.partition("=")
            syscalls.fsconfig(context, _SET_STRING if value else _SET_FLAG, key, value or None)
        syscalls.fsconfig(context, _CREATE)
        mounted = syscalls.fsmount(context, flags)
        try:
            syscalls.move_mount(mounted, dst)
        finally:
            os.close(mounted)
    except OSError as error:
        said = _kernel_messages(context) if context >= 0 else ""
        raise _failure(dst, "; ".join(filter(None, (str(error.strerror), said)))) from error
    finally:
        if context >= 0:
            os.close(context)


def classic(
    lowers: Sequence[str], writable: Sequence[tuple[str, str]], options: Sequence[str], dst: str, flags: int
) -> None:
    """Mount by mount(2); from a child in the layers' common directory when the options would be too long."""
    text = _option_string(lowers, writable, options)
    base = ""
    if len(os.fsencode(text)) > _MAX_OPTIONS:
        base = os.path.commonpath([*lowers, *(path for _, path in writable)])
        relative = [os.path.relpath(path, base) for path in lowers]
        text = _option_string(relative, [(key, os.path.relpath(path, base)) for key, path in writable], options)
    if len(os.fsencode(text)) > _MAX_OPTIONS:
        detail = f"the names of {len(lowers)} layers are longer than this kernel takes (Linux 6.7 takes any)"
        raise _failure(dst, detail)
    if base:
        _mount_from(base, os.path.abspath(dst), flags, text)
        return
    try:
        syscalls.mount("overlay", dst, "overlay", flags, text)
    except OSError as error:
        raise _failure(dst, str(error.strerror)) from error


def _option_string(lowers: Sequence[str], writable: Sequence[tuple[str, str]], options: Sequence[str]) -> str:
    joined = ":".join(_escaped(path).replace(":", "\\:") for path in lowers)
    return ",".join([f"lowerdir={joined}", *(f"{key}={_escaped(path)}" for key, path in writable), *options])


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,")


def _mount_from(base: str, dst: str, flags: int, text: str) -> None:
    """Relative names belong to a working directory, which threads share: so a child has it."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.chdir(base)
            syscalls.mount("overlay", dst, "overlay", flags, text)
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number:
        raise _failure(dst, os.strerror(number))


def _failure(dst: str, detail: str) -> HostError:
    return HostError(f"an overlay cannot be mounted at {dst}", detail)


def _kernel_messages(context: int) -> str:
    """What the kernel wrote into the mount context: lines like `e overlay: …` (fsopen(2))."""
    said = []
    with suppress(OSError):
        while message := os.read(context, 8192):
            said.append(message.decode(errors="replace").strip().partition(" ")[2])
    return "; ".join(said)
