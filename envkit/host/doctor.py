"""What this machine can do and lacks, found by trying. Nothing remains of a trial.

Each trial that needs a namespace runs in a forked child, so that this process and the host stay what they are.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator

from envkit.errors import EnvkitError
from envkit.host import files, mounts, namespace, neighbours, nft, process, syscalls
from envkit.host.cgroups import Cgroups
from envkit.host.child import run_in_child
from envkit.host.home import Home
from envkit.host.netlink import Batch, Peer
from envkit.host.sysctl import read_sysctl
from envkit.values import value

_NEEDED_SPACE = 1 << 30
_PROFILES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")


@value
class Finding:
    """One line of `envkit doctor`.

    ok: it is there. detail: what was found. package: the Debian package that brings it. consequence: what does not work
    without it. required: nothing can be applied without it.
    """

    name: str
    ok: bool
    detail: str
    package: str = ""
    consequence: str = ""
    required: bool = False


def probe(home: Home) -> list[Finding]:
    """Everything, the required things first. On another system than Linux that is the one thing there is to say."""
    if sys.platform != "linux":
        way = "the embedded backend cannot work: give --backend docker, or name a place of `targets:` with --target"
        return [Finding("Linux", False, f"this is {sys.platform}", consequence=way, required=True)]
    found = [*_tools(), *_libraries(), *_kernel(home), *_limits(home), *_network(), *_storage(home)]
    return sorted(found, key=lambda item: not item.required)


def _tools() -> Iterator[Finding]:
    crun, runc = process.find("crun"), process.find("runc")
    detail = crun or (f"missing; {runc} is used instead" if runc else "missing")
    slower = "starts are slower without it" if runc else "no container can be started"
    yield Finding("crun", bool(crun), detail, "crun", slower, required=not runc)
    for tool, consequence in (("conmon", "no container can be started"), ("nft", "no networks, no published ports")):
        yield _tool(tool, consequence, required=True)
    for tool, consequence in (
        ("skopeo", "images cannot be pulled from or pushed to registries"),
        ("mmdebstrap", "images `from: {debian: …}` cannot be built"),
        ("iptables", "beside Docker, published ports and networks may be blocked by its FORWARD policy"),
    ):
        yield _tool(tool, consequence)
    names = ("catatonit", "tini-static", "docker-init", "tini")
    path = next(filter(None, map(process.find, names)), None)
    yield Finding("init", bool(path), path or "missing", "catatonit", "services with `init: true` cannot start")


def _tool(name: str, consequence: str, *, required: bool = False) -> Finding:
    from envkit.host.tools import package_of

    path = process.find(name)
    return Finding(name, bool(path), path or "missing", package_of(name), consequence, required)


def _libraries() -> Iterator[Finding]:
    import ctypes

    try:
        ctypes.CDLL("libseccomp.so.2")
        yield Finding("libseccomp", True, "libseccomp.so.2")
    except OSError as error:
        yield Finding("libseccomp", False, str(error), "libseccomp2", "no seccomp filter can be made")
    path = next(filter(os.path.exists, _PROFILES), "")
    yield Finding(
        "seccomp profile", bool(path), path or "missing", "golang-github-containers-common",
        "services have no default seccomp filter",
    )  # fmt: skip


def _kernel(home: Home) -> Iterator[Finding]:
    root = os.geteuid() == 0
    yield Finding(
        "root", root, "this process is root" if root else f"this process is uid {os.geteuid()}",
        consequence="the embedded backend's rootless form is not available yet: run envkit with sudo", required=True,
    )  # fmt: skip
    if not root:
        return
    for name, trial, consequence in (
        ("mount namespaces", _try_mounts, "no engine namespace"),
        ("overlayfs", lambda: _try_overlay(home), "no container root can be mounted"),
        ("network namespaces", _try_network, "no networks"),
        ("nftables", _try_nft, "no published ports, no way out of networks"),
    ):
        error = run_in_child(trial)
        yield Finding(name, not error, error or "works", consequence=consequence, required=True)
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        seccomp = any(line.startswith("Seccomp:") for line in file)
    detail = "the kernel filters system calls" if seccomp else "the kernel was built without it"
    yield Finding("seccomp", seccomp, detail, consequence="system calls of containers are not filtered")


def _try_mounts() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.set_propagation("/", "private", recursive=True)
    mounts.tmpfs("/mnt")


def _try_overlay(home: Home) -> None:
    """With an upper directory where the state is: some file systems (NFS, overlayfs itself) cannot be one."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    mounts.set_propagation("/", "private", recursive=True)
    base = os.path.join(_existing(home.root), f".envkit-doctor-{os.getpid()}")
    names = [os.path.join(base, name) for name in ("lower", "upper", "work", "root")]
    try:
        for name in names:
            files.make_directory(name)
        mounts.overlay(names[:1], names[3], names[1], names[2])
        files.write_atomic(os.path.join(names[3], "file"), b"")
        mounts.unmount(names[3])
    finally:
        files.remove_tree(base)


def _try_network() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    batch = Batch()
    batch.add_bridge("ekprobe")
    batch.add_veth("evprobe", Peer(-1, "evpeer"))
    batch.send()


def _try_nft() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    nft.apply("""
table inet probe {
  map led { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 80 : 10.0.0.1 . 80 } }
  chain pre { type nat hook prerouting priority -100;
    fib daddr type local dnat ip to meta l4proto . th dport map @led
  }
  chain post { type nat hook postrouting priority 100; oifname "x" masquerade
  }
}
""")


def _limits(home: Home) -> Iterator[Finding]:
    groups = Cgroups.probe(home)
    wanted = {"memory": "memory limits", "cpus": "cpu limits", "pids": "pids limits", "cpuset": "cpu sets"}
    missing = [text for key, text in wanted.items() if key not in groups.supported]
    detail = f"version {groups.version[1:]}, by {groups.manager}" if groups.version != "none" else "none is writable"
    yield Finding(
        "control groups", not missing, detail + (f"; without {', '.join(missing)}" if missing else ""),
        consequence=f"{', '.join(missing)} cannot be kept, and are refused" if missing else "",
    )  # fmt: skip
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= 4096
    consequence = "`ulimits: nofile` is clamped to the hard limit"
    yield Finding("open files", enough, f"{soft} of {hard}", consequence=consequence)


def _network() -> Iterator[Finding]:
    writable = os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK)
    now = "on" if read_sysctl("net.ipv4.ip_forward") == "1" else "off until a network is made"
    yield Finding(
        "ip_forward", writable, now if writable else "not writable", consequence="networks reach nothing outside"
    )
    if os.geteuid() != 0:
        return
    try:
        policy, filtered = neighbours.forward_policy(), neighbours.bridges_are_filtered()
        docker = neighbours.has_docker_chain()
    except EnvkitError as error:
        yield Finding("FORWARD policy", False, str(error), consequence="it cannot be seen whether traffic is forwarded")
        return
    blocked = policy == "DROP" and not docker
    detail = f"{policy or 'ACCEPT (no iptables)'}{'; Docker runs here' if docker else ''}"
    yield Finding(
        "FORWARD policy", not blocked, detail + ("; bridged frames pass it" if filtered else ""),
        consequence="published ports and networks' way out are blocked; accept forwarding for interfaces `ek+`",
    )  # fmt: skip


def _storage(home: Home) -> Iterator[Finding]:
    root = _existing(home.root)
    writable = os.access(root, os.W_OK | os.X_OK)
    detail = home.root if root == home.root else f"{home.root}, to be made in {root}"
    yield Finding(
        "ENVKIT_HOME", writable, detail if writable else f"{detail}, is not writable",
        consequence="set ENVKIT_HOME to a writable directory", required=True,
    )  # fmt: skip
    space = os.statvfs(root)
    free = space.f_bavail * space.f_frsize
    yield Finding(
        "disk space", free >= _NEEDED_SPACE, f"{free / (1 << 30):.1f} GiB free in {root}",
        consequence="images and volumes may not fit",
    )  # fmt: skip
    top = [entry for entry in mounts.mount_table() if entry.target == "/"]
    shared = bool(top) and any(word.startswith("shared:") for word in top[-1].propagation)
    live = namespace.Engine(home).is_live()
    yield Finding(
        "mount propagation", shared, "/ is shared" if shared else "/ is not shared",
        consequence="a disk that is mounted on the host later is not seen by bind mounts of services"
        + (" until the running environments are down" if live else " while any environment runs"),
    )  # fmt: skip


def _existing(path: str) -> str:
    """The nearest directory at or above path that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path
