"""The `mounts` of config.json, and the paths that are masked or read-only. Pure.

Sources: OCI runtime-spec config.md#mounts and config-linux.md#default-filesystems, #masked-paths, #readonly-paths;
the masked set is the one that Docker, containerd and Podman share.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi",
    "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
SHM_SIZE = 64 << 20

Mount: TypeAlias = "dict[str, Any]"


def mount(destination: str, kind: str, source: str, *options: str) -> Mount:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def file_bind(source: str, destination: str, *, read_only: bool) -> Mount:
    """A single file of envkit's own (hosts, a secret, the init) over destination."""
    return mount(destination, "bind", source, "bind", "ro" if read_only else "rw", "nosuid", "nodev", "rprivate")


def standard(*, privileged: bool, shm_size: int, shm_source: str, mqueue: bool, cgroup: bool) -> list[Mount]:
    """proc, dev and sys as every container gets them.

    shm_source: a directory to bind at /dev/shm instead of a tmpfs of its own (a shared ipc namespace); cgroup: whether
    this machine has cgroups to show; mqueue: whether the ipc namespace is the container's own.
    """
    writable = "rw" if privileged else "ro"
    rows = [
        mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", writable),
    ]
    if cgroup:
        rows.append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", writable))
    if mqueue:
        rows.append(mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"))
    if shm_source:
        rows.append(mount("/dev/shm", "bind", shm_source, "rbind", "rw", "nosuid", "noexec", "nodev", "rprivate"))
    else:
        size = f"size={shm_size or SHM_SIZE}"
        rows.append(mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", size))
    return rows


def tmpfs(spec: Mapping[str, Any]) -> Mount:
    """A `tmpfs` entry: nosuid, nodev, noexec and mode 1777 unless its own options say otherwise."""
    given = [str(item) for item in spec.get("options") or ()]
    names = {item.partition("=")[0] for item in given}
    options = [word for word, off in (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")) if off not in names]
    options = [word for word in options if word not in names]
    options.append("ro" if spec.get("read_only") else "rw")
    if "mode" not in names:
        options.append(f"mode={spec.get('mode', 0o1777):o}")
    options += [f"{name}={spec[name]}" for name in ("size", "uid", "gid") if name not in names and name in spec]
    options += [item for item in given if item not in ("rw", "ro") or item == "ro"]
    return mount(str(spec["target"]), "tmpfs", "tmpfs", *options)


def bind(spec: Mapping[str, Any], source: str, *, is_file: bool = False) -> Mount:
    """A bind, volume or image entry whose content lies at source.

    A read-only bind is read-only all the way down unless `recursive` says otherwise (Compose: enabled, disabled,
    writable, readonly). A file has nothing below it, and crun 1.8 fails on a recursively read-only bind of one.
    """
    recursive = "disabled" if is_file else spec.get("recursive") or "enabled"
    options = ["bind" if recursive == "disabled" else "rbind"]
    if spec.get("read_only"):
        options.append("ro" if recursive in ("disabled", "writable") else "rro")
    else:
        options.append("rw")
    options += [flag for flag in ("nosuid", "nodev", "noexec") if spec.get(flag)]
    options.append(str(spec.get("propagation") or "rprivate"))
    return mount(str(spec["target"]), "bind", source, *options)


def ordered(rows: Iterable[Mount]) -> list[Mount]:
    """Parents before children, otherwise in the order given; of two at one place the later one wins."""
    last = {_normal(row["destination"]): row for row in rows}
    return sorted(last.values(), key=lambda row: _normal(row["destination"]).count("/"))


def _normal(path: str) -> str:
    import posixpath

    return posixpath.normpath("/" + path)
