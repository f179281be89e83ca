"""A network namespace with a way out, for a build's commands: a veth, a /30, a small nft table; nothing remains.

Here the host routes and masquerades. The rootless form (a user-mode network) has the same face.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from envkit.errors import ConflictError
from envkit.host import files, links, namespace, neighbours, nft, nft_read, resolv_conf
from envkit.host.home import Home
from envkit.host.lock import Lock, is_locked
from envkit.host.netlink import Batch, Peer
from envkit.host.sysctl import write_sysctl
from envkit.values import replace, value

_PREFIX, _LOCK = "build-", ".lock"
POOL = "10.223.255"  # /24 of 64 pairs


@value
class Way:
    """namespace: path of the pinned network namespace; resolver: content for its users' resolv.conf; mtu: bytes."""

    namespace: str
    resolver: str
    mtu: int


@contextmanager
def uplink(home: Home) -> Iterator[Way]:
    """A new namespace that reaches what the host reaches, by NAT; gone with everything else at the end.

    Processes that still run in it lose their network. To be called inside the engine namespace. Raises HostError.
    """
    identity = os.urandom(3).hex()
    path = os.path.join(home.run, "netns", _PREFIX + identity)
    files.make_directory(os.path.dirname(path), 0o700)
    mtu = next((link.mtu for link in links.links() if link.name == links.default_link()), 1500)
    sweep(home)
    lock = Lock(path + _LOCK, {"purpose": "a build's network"})
    with _quiet(home):
        lock.acquire()
    with lock:
        try:
            namespace.new_netns(path)
            with _quiet(home):
                here, there = _free_pair()
                _connect(_link(home, identity), path, here, there, mtu)
            servers = resolv_conf.read_resolv_conf()
            outside = resolv_conf.upstream()
            loopback = next(iter(servers.nameservers), "") if not outside.nameservers else ""
            led = loopback if "." in loopback else ""
            nft.apply(_rules(_table(home, identity), _link(home, identity), here, there, led))
            neighbours.ensure(home)
            resolver = outside if outside.nameservers else replace(outside, nameservers=(here,) if loopback else ())
            yield Way(path, resolver.text(), mtu)
        finally:
            _remove(home, identity)


def sweep(home: Home) -> list[str]:
    """Remove what builds left that were killed; returns their identities."""
    directory = os.path.join(home.run, "netns")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    found = []
    with _quiet(home):
        for name in names:
            if name.startswith(_PREFIX) and name.endswith(_LOCK) and not is_locked(os.path.join(directory, name)):
                found.append(name.removeprefix(_PREFIX).removesuffix(_LOCK))
                _remove(home, found[-1])
    return found


def _quiet(home: Home) -> Lock:
    """Held while a network's lock is taken and while leftovers are looked for: a lock file that is there but not held
    yet would pass for one."""
    return Lock(os.path.join(home.run, "uplink.lock"))


def _link(home: Home, identity: str) -> str:
    return f"{neighbours.prefix(home)}b{identity}"  # 15 characters, the longest there may be


def _table(home: Home, identity: str) -> str:
    return f"envkit-{home.tag}-build-{identity}"


def _remove(home: Home, identity: str) -> None:
    path = os.path.join(home.run, "netns", _PREFIX + identity)
    if nft_read.has_table("ip", _table(home, identity)):
        nft.delete_table("ip", _table(home, identity))
    batch = Batch()
    batch.delete_link(_link(home, identity))
    batch.send()
    namespace.remove_netns(path)
    files.remove_tree(path + _LOCK)
    neighbours.release(home)


def _free_pair() -> tuple[str, str]:
    """(host's address, the other) of the first /30 of the pool that no route leads to."""
    taken = {route.destination for route in links.routes()}
    for number in range(0, 256, 4):
        if f"{POOL}.{number}/30" not in taken:
            return f"{POOL}.{number + 1}", f"{POOL}.{number + 2}"
    raise ConflictError("no address is left for a build's network", f"{POOL}.0/24 has 64 pairs, all in use")


def _connect(name: str, path: str, here: str, there: str, mtu: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        batch = Batch()
        batch.add_veth(name, Peer(descriptor), mtu=mtu)
        batch.send()
    finally:
        os.close(descriptor)
    batch.add_address(name, f"{here}/30")
    batch.send()
    write_sysctl("net.ipv4.ip_forward", "1")
    write_sysctl(f"net/ipv4/conf/{name}/route_localnet", "1")
    with namespace.in_netns(path):
        batch.set_up("lo")
        batch.set_up("eth0")
        batch.add_address("eth0", f"{there}/30")
        batch.add_route("", gateway=here)
        batch.send()


def _rules(table: str, name: str, here: str, there: str, loopback: str) -> str:
    """loopback: the host's own resolver on 127/8, to which questions put to `here` are led; "" for none."""
    lead = allowed = ""
    if loopback:
        lead = f"iifname {name} ip daddr {here} meta l4proto {{ tcp, udp }} th dport 53 dnat to {loopback}"
        allowed = f"iifname {name} ip daddr {loopback} ct status dnat accept"
    return f"""
table ip {table} {{
  chain pre {{ type nat hook prerouting priority -100; {lead}
  }}
  chain input {{ type filter hook input priority 0; {allowed}
    iifname {name} ip daddr 127.0.0.0/8 drop
  }}
  chain post {{ type nat hook postrouting priority 100; ip saddr {there} oifname != {name} masquerade
  }}
}}
"""
