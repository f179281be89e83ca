"""Linux capability sets of a container. Pure, but for the kernel's last capability, which is passed in.

Names: capabilities(7). The default set is the one that Docker and containerd give; a `compose.yaml` expects it.
"""

from __future__ import annotations

from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the kernel's numbering: include/uapi/linux/capability.h.
ALL = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
DEFAULT = frozenset({
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
})  # fmt: skip


def _name(text: str) -> str:
    name = text.upper().removeprefix("CAP_")
    if name != "ALL" and name not in ALL:
        raise EnvkitError("A capability does not exist", f"{text!r}", "see capabilities(7) for the names")
    return name


def capability_set(
    add: Iterable[str] = (), drop: Iterable[str] = (), *, privileged: bool = False, available: int = (1 << len(ALL)) - 1
) -> tuple[str, ...]:
    """The container's capabilities as `CAP_…`, in the kernel's order.

    add and drop are Compose's `cap_add` and `cap_drop` (`ALL` allowed; what is both dropped by ALL and added by name
    stays). available: bit mask of what this machine can give (CapBnd of /proc/self/status).
    """
    added, dropped = {_name(item) for item in add}, {_name(item) for item in drop}
    everything = frozenset(ALL)
    if privileged or "ALL" in added:
        chosen = everything - dropped
    elif "ALL" in dropped:
        chosen = frozenset(added)
    else:
        chosen = (DEFAULT - dropped) | added
    return tuple("CAP_" + name for bit, name in enumerate(ALL) if name in chosen and available >> bit & 1)


def process_capabilities(capabilities: tuple[str, ...], uid: int) -> dict[str, list[str]]:
    """`process.capabilities` (OCI runtime-spec config.md#linux-process).

    A process that is not root gets the bounding set alone, as execve(2) would leave it.
    """
    names = list(capabilities)
    if uid:
        return {"bounding": names, "effective": [], "permitted": [], "inheritable": [], "ambient": []}
    return {"bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": []}
