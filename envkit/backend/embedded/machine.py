"""Facts of this machine that a bundle depends on: rlimits, capabilities, AppArmor, an init program. Read once."""

from __future__ import annotations

import os
import struct
from functools import cache

from envkit.backend.embedded.process import UNLIMITED
from envkit.errors import UnsupportedError
from envkit.host.process import find

_CAP_SYS_RESOURCE = 24
_INITS = ("catatonit", "tini-static", "docker-init", "tini")
_LIMITS = (
    "as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime",
    "sigpending", "stack", "locks",
)  # fmt: skip
_APPARMOR_DEFAULTS = ("envkit-default", "docker-default")


@cache
def _masks() -> dict[str, int]:
    """Capability masks of this process by name (CapBnd, CapEff …), proc(5)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        rows = (line.partition(":") for line in file)
        return {name: int(value, 16) for name, _, value in rows if name.startswith("Cap")}


def bounding_mask() -> int:
    """The capabilities that a container can have at all."""
    return _masks()["CapBnd"]


@cache
def hard_limits() -> dict[str, int]:
    """ulimit name -> the most a container may be given; UNLIMITED with CAP_SYS_RESOURCE.

    Even then `nofile` is bounded by fs.nr_open (getrlimit(2)).
    """
    import resource

    free = bool(_masks()["CapEff"] >> _CAP_SYS_RESOURCE & 1)
    result = {}
    for name in _LIMITS:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None or free:
            result[name] = UNLIMITED
            continue
        hard = resource.getrlimit(number)[1]
        result[name] = UNLIMITED if hard == resource.RLIM_INFINITY else hard
    with open("/proc/sys/fs/nr_open", encoding="ascii") as file:
        result["nofile"] = min(result["nofile"], int(file.read()))
    return result


def default_ulimits() -> dict[str, dict[str, int]]:
    """What a container gets that asks for nothing: systemd's own default, whatever the caller's shell has."""
    return {"nofile": {"soft": 1024, "hard": min(524288, hard_limits()["nofile"])}}


def raise_open_files() -> None:
    """Let this process open as many files as it may: a batch holds a few descriptors per instance."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def apparmor_profile(options: tuple[str, ...]) -> str:
    """The profile for a container: what `security_opt: [apparmor=NAME]` says, else a loaded default, else ""."""
    for option in options:
        if option.startswith("apparmor"):
            name = option.replace(":", "=", 1).partition("=")[2]
            return name if _apparmor_profiles() or name != "unconfined" else ""
    return next((name for name in _APPARMOR_DEFAULTS if name in _apparmor_profiles()), "")


@cache
def _apparmor_profiles() -> frozenset[str]:
    try:
        with open("/sys/kernel/security/apparmor/profiles", encoding="utf-8", errors="replace") as file:
            return frozenset(line.rpartition(" (")[0] for line in file)
    except OSError:
        return frozenset()


@cache
def init_program() -> str:
    """A statically linked init for `init: true` (it runs in roots that have no libc).

    Raises UnsupportedError naming the package when there is none.
    """
    for name in _INITS:
        path = find(name)
        if path and _is_static(path):
            return os.path.realpath(path)
    raise UnsupportedError(
        "`init: true` needs an init program", f"none of {', '.join(_INITS)} is installed as a static program",
        "install catatonit or tini",
    )  # fmt: skip


def _is_static(path: str) -> bool:
    """Whether an ELF program asks for no interpreter (PT_INTERP = 3; elf(5))."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or head[4] != 2:
            return False
        offset = struct.unpack_from("<Q", head, 32)[0]
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(offset)
        table = file.read(size * count)
    return all(struct.unpack_from("<I", table, number * size)[0] != 3 for number in range(count))
