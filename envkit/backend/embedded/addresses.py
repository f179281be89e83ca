"""Which address an instance gets in a network. Pure.

The first candidate follows from the instance's address (`web.1`), so that it keeps it over `down` and `apply`; a taken
one moves to the next free. Static addresses are checked, not chosen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence

from envkit.errors import ConflictError
from envkit.lean import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def allocate(
    subnet: Mapping[str, Any], identity: str, taken: Mapping[str, str], *, wanted: str = "", preferred: str = ""
) -> str:
    """An address of one of a network's subnets (as subnets.decide made it).

    identity: whose. taken: address -> its holder. wanted: the static address of the YAML. preferred: the one it had
    before. Raises ConflictError when wanted is impossible, or no address is left.
    """
    network = ipaddress.ip_network(subnet["subnet"])
    if wanted:
        return _static(network, subnet, wanted, taken)
    pool = ipaddress.ip_network(subnet["range"])
    blocked = {*taken, subnet["gateway"], *subnet["reserved"], str(network.network_address)}
    if network.version == 4 and network.prefixlen < 31:
        blocked.add(str(network.broadcast_address))
    if preferred and preferred not in blocked and ipaddress.ip_address(preferred) in pool:
        return preferred
    count = min(pool.num_addresses, 1 << 32)
    start = int.from_bytes(sha256(identity.encode()).digest()[:8], "big")
    base = int(pool.network_address)
    kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    for step in range(min(count, len(blocked) + 1)):
        candidate = str(kind(base + (start + step) % count))
        if candidate not in blocked:
            return candidate
    raise ConflictError(
        "a network has no address left", f"{subnet['range']} has {len(taken)} instances",
        "give the network a larger subnet below `ipam:`",
    )  # fmt: skip


def _static(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, subnet: Mapping[str, Any], wanted: str,
    taken: Mapping[str, str],
) -> str:  # fmt: skip
    address = ipaddress.ip_address(wanted)
    if address not in network:
        raise ConflictError("an address is outside its network", f"{wanted} is not in {network}")
    text = str(address)
    if text == subnet["gateway"]:
        raise ConflictError("an address is the network's gateway", text)
    if text in taken:
        raise ConflictError("an address is taken", f"{text} belongs to {taken[text]}")
    return text


def is_within(address: str, subnet: Mapping[str, Any]) -> bool:
    """Whether an address is one of a network's subnet (as subnets.decide made it)."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet["subnet"])


def mac_for(address: str, identity: str) -> str:
    """A locally administered MAC that follows from the IPv4 address, so that no stale neighbour entry ever hurts."""
    if "." in address:
        return "02:42:" + ipaddress.IPv4Address(address).packed.hex(":")
    return "02:43:" + sha256(identity.encode()).digest()[:4].hex(":")


def order(attachments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Network keys in the order of interfaces: higher `priority` first, then by name (Compose 05-services.md)."""
    return sorted(attachments, key=lambda key: (-int((attachments[key] or {}).get("priority") or 0), key))


def gateway_key(attachments: Mapping[str, Mapping[str, Any]], routed: Collection[str]) -> str:
    """The network with the default route: the highest `gw_priority` among routed ones, then the order above."""
    candidates: Sequence[str] = [key for key in order(attachments) if key in routed]
    return min(candidates, key=lambda key: -int((attachments[key] or {}).get("gw_priority") or 0), default="")
