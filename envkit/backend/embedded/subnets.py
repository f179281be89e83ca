"""Which subnet a network gets: the user's, or one of a private pool that nothing on this machine uses. Mostly pure.

The first candidate follows from the network's name, so that a network has the same subnet after `down` and `apply`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from envkit.errors import ConflictError, HostError
from envkit.host import links, resolv_conf
from envkit.host.home import Home
from envkit.host.neighbours import prefix
from envkit.lean import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POOL = ipaddress.IPv4Network("10.192.0.0/12")  # 10.223.255.0/24, the builds' pairs, lies outside
SIZE = 22  # 1021 instances: a bridge has 1024 ports
Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse(text: str, what: str) -> Net:
    """A subnet as written. Raises HostError naming what."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise HostError(f"{what} is not a subnet", str(error)) from error


def overlap(one: Net, others: Iterable[tuple[Net, str]]) -> str:
    """Who of (network, owner) overlaps one; "" when nobody does."""
    for other, owner in others:
        if one.version == other.version and one.overlaps(other):
            return f"{other} ({owner})"
    return ""


def used(
    own: Sequence[str], present: Iterable[links.Link], routes: Iterable[links.Route]
) -> list[tuple[Net, str]]:
    """(network, owner) of everything the host routes or asks names of; own: names of bridges that do not count."""
    names = {link.ifindex: link.name for link in present}
    found: list[tuple[Net, str]] = []
    for route in routes:
        device = names.get(route.device, "?")
        if route.destination and device not in own:
            owner = "another envkit network" if device.startswith("ek") else f"the host's route by {device}"
            found.append((ipaddress.ip_network(route.destination), owner))
    for server in resolv_conf.read_resolv_conf().nameservers:
        if "%" not in server:
            found.append((ipaddress.ip_network(server), "the host's nameserver"))
    return found


def choose(identity: str, taken: Sequence[tuple[Net, str]]) -> ipaddress.IPv4Network:
    """The first free subnet of the pool, starting where identity's hash points. Raises ConflictError."""
    count = 1 << (SIZE - POOL.prefixlen)
    start = int.from_bytes(sha256(identity.encode()).digest()[:4], "big")
    base = int(POOL.network_address)
    for step in range(count):
        candidate = ipaddress.IPv4Network((base + ((start + step) % count << (32 - SIZE)), SIZE))
        if not overlap(candidate, taken):
            return candidate
    detail = f"all of {POOL} is in use"
    raise ConflictError("no private subnet is free for a network", detail, "write one below `ipam:`")


def choose6(identity: str, taken: Sequence[tuple[Net, str]]) -> ipaddress.IPv6Network:
    """A unique local /64 (RFC 4193) from identity's hash."""
    for attempt in range(100):
        digest = sha256(f"{identity}/{attempt}".encode()).digest()
        candidate = ipaddress.IPv6Network((int.from_bytes(b"\xfd" + digest[:7] + bytes(8), "big"), 64))
        if not overlap(candidate, taken):
            return candidate
    raise ConflictError("no unique local subnet is free for a network", identity)


def decide(identity: str, spec: Mapping[str, Any], taken: Sequence[tuple[Net, str]]) -> list[dict[str, Any]]:
    """The subnets of a network: [{"subnet", "gateway", "range", "reserved"}], IPv4 before IPv6.

    Raises ConflictError when a subnet that was asked for is in use, HostError when it makes no sense.
    """
    found: list[dict[str, Any]] = []
    for item in spec.get("subnets") or ():
        if item.get("subnet"):
            found.append(_given(item, taken))
    versions = {4 if "." in item["subnet"] else 6 for item in found}
    if 4 not in versions and spec.get("enable_ipv4", True):
        found.append(_entry(choose(identity, taken)))
    if 6 not in versions and spec.get("enable_ipv6"):
        found.append(_entry(choose6(identity, taken)))
    return sorted(found, key=lambda item: ":" in item["subnet"])


def _given(item: Mapping[str, Any], taken: Sequence[tuple[Net, str]]) -> dict[str, Any]:
    subnet = parse(item["subnet"], "ipam.config.subnet")
    if who := overlap(subnet, taken):
        raise ConflictError("a network's subnet is in use", f"{subnet} overlaps {who}", "choose another below `ipam:`")
    entry = _entry(subnet)
    if gateway := item.get("gateway"):
        entry["gateway"] = gateway
    reserved = dict(item.get("aux_addresses") or {})
    for name, address in {"gateway": entry["gateway"], **reserved}.items():
        if ipaddress.ip_address(address) not in subnet:
            raise HostError("an address is outside its network", f"{name} {address} is not in {subnet}")
    entry["reserved"] = sorted(reserved.values())
    if item.get("ip_range"):
        part = parse(item["ip_range"], "ipam.config.ip_range")
        if part.version != subnet.version or not part.subnet_of(subnet):  # type: ignore[arg-type]
            raise HostError("ip_range is outside its network", f"{part} is not in {subnet}")
        entry["range"] = str(part)
    return entry


def _entry(subnet: Net) -> dict[str, Any]:
    return {"subnet": str(subnet), "gateway": str(subnet.network_address + 1), "range": str(subnet), "reserved": []}


def bridge_name(home: Home, environment: str, key: str, existing: Iterable[str]) -> str:
    """`ek`, the installation's tag, and 7 digits of the network's identity: 15 characters; none of existing."""
    for attempt in range(1000):
        digest = sha256(f"{environment}/{key}/{attempt}".encode()).hexdigest()
        name = prefix(home) + digest[:7]
        if name not in existing:
            return name
    raise ConflictError("no name is free for a bridge", f"{environment}/{key}")
