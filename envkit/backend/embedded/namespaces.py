"""Which Linux namespaces an instance gets, joins, or shares with the host: network_mode, pid, ipc, uts, cgroup.

Sources: Compose Specification 05-services.md; OCI runtime-spec config-linux.md#namespaces. Decides; touches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envkit.errors import NotFoundError
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What Docker sets in a network namespace of its own: ports below 1024 and ping need no capability there.
NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


@value
class Peer:
    """A running instance whose namespaces are joined. netns: the pinned file, "" for a network namespace that only
    the process holds; host_network: it has none of its own."""

    pid: int
    hostname: str
    directory: str
    netns: str = ""
    host_network: bool = False
    shm: str = ""


@value
class Spaces:
    """namespaces: OCI type -> path or "" for a new one. network_peer: whose hosts and resolv.conf are shared."""

    namespaces: Mapping[str, str]
    sysctls: Mapping[str, str] = field(default_factory=dict)
    shm_source: str = ""
    network_peer: Peer | None = None


FindPeer = Callable[[str, str], Peer | None]


def reference(mode: str) -> tuple[str, str] | None:
    """("service" or "container", NAME) of a mode that joins another instance, None for any other."""
    kind, _, name = mode.partition(":")
    return (kind, name) if kind in ("service", "container") and name else None


def _peer(mode: str, what: str, find: FindPeer) -> Peer | None:
    wanted = reference(mode)
    if wanted is None:
        return None
    peer = find(*wanted)
    if peer is None or not peer.pid:
        raise NotFoundError(
            f"The other side of `{what}` is not running", mode, "it must run first; `envkit ps` shows what does"
        )
    return peer


def decide(spec: Mapping[str, Any], *, netns: str, cgroup_v2: bool, shm_source: str, find: FindPeer) -> Spaces:
    """The namespaces of a service.

    netns: the pinned network namespace of an instance that has networks, "" otherwise. shm_source: the directory that
    is /dev/shm of a shareable ipc namespace, "" when it need not be shared. Raises NotFoundError when a peer is absent.
    """
    spaces: dict[str, str] = {"mount": ""}
    sysctls: dict[str, str] = {}
    network_peer = _network(str(spec.get("network_mode") or ""), netns, spaces, find)
    if spaces.get("network") in ("", netns) and "network" in spaces and network_peer is None:
        sysctls = dict(NETWORK_SYSCTLS)
    _join(str(spec.get("pid") or ""), "pid", spaces, find)
    ipc = str(spec.get("ipc") or "")
    peer = _join(ipc, "ipc", spaces, find)
    if peer is not None:
        shm_source = peer.shm
    elif ipc == "host":
        shm_source = "/dev/shm"
    if spec.get("uts") != "host":
        spaces["uts"] = ""
    mode = spec.get("cgroup") or ("private" if cgroup_v2 else "host")
    if mode == "private":
        spaces["cgroup"] = ""
    return Spaces(spaces, sysctls, shm_source, network_peer)


def _network(mode: str, netns: str, spaces: dict[str, str], find: FindPeer) -> Peer | None:
    peer = _peer(mode, "network_mode", find)
    if peer is not None:
        if not peer.host_network:
            spaces["network"] = peer.netns or f"/proc/{peer.pid}/ns/net"
        return peer
    if mode != "host":
        spaces["network"] = netns
    return None


def _join(mode: str, kind: str, spaces: dict[str, str], find: FindPeer) -> Peer | None:
    peer = _peer(mode, kind, find)
    if peer is not None:
        spaces[kind] = f"/proc/{peer.pid}/ns/{kind}"
    elif mode != "host":
        spaces[kind] = ""
    return peer
