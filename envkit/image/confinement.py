"""What a build's command may do: the capabilities, masked paths and system calls that containers ordinarily have.

Sources: OCI runtime-spec config-linux.md; capabilities(7); the profile of Debian's golang-github-containers-common
(Docker's seccomp format).
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
]  # fmt: skip
EVERY_CAPABILITY = [
    *CAPABILITIES,
    *(
        f"CAP_{name}"
        for name in (
            "AUDIT_CONTROL", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER",
            "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "PERFMON",
            "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE",
            "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
        )
    ),
]  # fmt: skip
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
_ARCHITECTURES = {
    "x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    "aarch64": ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
}


@cache
def seccomp() -> dict[str, Any] | None:
    """`linux.seccomp` of the machine's profile for CAPABILITIES; None where there is no profile."""
    path = next((path for path in _PROFILES if os.path.isfile(path)), None)
    machine = _ARCHITECTURES.get(os.uname().machine)
    if path is None or machine is None:
        return None
    with open(path, "rb") as file:
        profile = json.load(file)
    name, architectures = machine
    calls = [_rule(rule) for rule in profile.get("syscalls", ()) if _applies(rule, name, frozenset(CAPABILITIES))]
    default = profile["defaultAction"]
    wanted = {"defaultAction": default, "architectures": architectures, "syscalls": [
        call for call in calls if call["action"] != default or call.get("errnoRet") != profile.get("defaultErrnoRet")
    ]}  # fmt: skip
    if "defaultErrnoRet" in profile:
        wanted["defaultErrnoRet"] = profile["defaultErrnoRet"]
    return wanted


def _applies(rule: dict[str, Any], architecture: str, capabilities: frozenset[str]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if not capabilities.issuperset(includes.get("caps") or ()) or capabilities.intersection(excludes.get("caps") or ()):
        return False
    wanted = includes.get("arches") or ()
    return (not wanted or architecture in wanted) and architecture not in (excludes.get("arches") or ())


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept = {key: rule[key] for key in ("names", "action", "args") if rule.get(key)}
    if rule.get("errnoRet") is not None:
        kept["errnoRet"] = rule["errnoRet"]
    return kept
