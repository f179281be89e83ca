"""What an instance's own network namespace has: addresses, links, the default route. Writes nothing.

Two files of /proc tell whether all is as it was made; only where they say otherwise is the namespace visited.
"""

from __future__ import annotations

from envkit.backend.embedded.record import slurp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any, TypeAlias

    from envkit.backend.embedded.network_state import Endpoint, Member, Network
    from envkit.host.links import Link, Route

    Facts: TypeAlias = tuple[dict[str, Any], dict[str, Any]]

MISSING = "missing"


def inside(member: Member, networks: Mapping[str, Network], pid: int, unplugged: Collection[str] = ()) -> Facts:
    """(expected, actual) of what is not as it was made: `interfaces.KEY.state`, `interfaces.KEY.address`,
    `interfaces.foreign[ADDRESS]`, `routes.default`. networks: the member's, by id. unplugged: keys of
    those whose link is known to be gone."""
    if _is_intact(member, networks, pid):
        return {}, {}
    from envkit.host.links import addresses, links, routes
    from envkit.host.netns import in_netns

    try:
        with in_netns(f"/proc/{pid}/ns/net"):
            return _compared(member, networks, links(), addresses(), routes(), unplugged)
    except (FileNotFoundError, ProcessLookupError):
        return {}, {}  # it has just ended


def _is_intact(member: Member, networks: Mapping[str, Network], pid: int) -> bool:
    """Whether the IPv4 side is exactly as made; what has IPv6 or further addresses is always looked at closely."""
    if any(item.ipv6 or item.link_local or not item.ipv4 for item in member.endpoints.values()):
        return False
    trie, table = slurp(f"/proc/{pid}/net/fib_trie") or b"", slurp(f"/proc/{pid}/net/route") or b""
    if _local(trie) != {item.ipv4.encode() for item in member.endpoints.values()} | {b"127.0.0.1"}:
        return False
    gateways = [row.split(b"\t")[2] for row in table.splitlines() if row.split(b"\t")[1] == b"00000000"]
    if not member.gateway:
        return not gateways
    gateway = networks[member.endpoints[member.gateway].network].gateway(4)
    return gateways == [bytes(reversed([int(part) for part in gateway.split(".")])).hex().upper().encode()]


def _local(trie: bytes) -> set[bytes]:
    """The local addresses of /proc/net/fib_trie."""
    found, address = set(), b""
    for line in trie.splitlines():
        words = line.split()
        if words[0] == b"|--":
            address = words[1]
        elif words[:3] == [b"/32", b"host", b"LOCAL"]:
            found.add(address)
    return found


def _compared(
    member: Member, networks: Mapping[str, Network], links: Sequence[Link], addresses: Sequence[tuple[int, str]],
    routes: Sequence[Route], unplugged: Collection[str],
) -> Facts:  # fmt: skip
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    by_name = {link.name: link for link in links}
    own: set[tuple[int, str]] = set()
    intact = True
    for key, endpoint in member.endpoints.items():
        if key in unplugged:
            intact = intact and key != member.gateway
            continue
        link = by_name.get(endpoint.interface)
        state = MISSING if link is None else "up" if link.up else "down"
        expected[f"interfaces.{key}.state"], actual[f"interfaces.{key}.state"] = "up", state
        if link is None:
            intact = intact and key != member.gateway
            continue
        wanted = _addresses(endpoint, networks[endpoint.network])
        own |= {(link.ifindex, address) for address in wanted}
        lost = [address for address in wanted if (link.ifindex, address) not in addresses]
        for address in wanted:
            path = f"interfaces.{key}.address" if len(wanted) == 1 else f"interfaces.{key}.address[{address}]"
            expected[path], actual[path] = address, MISSING if address in lost else address
        if key == member.gateway and (lost or not link.up):
            intact = False  # the route went with it, and comes back with it
    made = {item.interface for item in member.endpoints.values()}
    for index, address in addresses:
        name = next((link.name for link in links if link.ifindex == index), "")
        if name in made and (index, address) not in own and not address.startswith("fe80:"):
            actual[f"interfaces.foreign[{address}]"] = "present"
    if intact:
        now = [route.gateway for route in routes if not route.destination and ":" not in route.gateway]
        gateway = networks[member.endpoints[member.gateway].network].gateway(4) if member.gateway else ""
        expected["routes.default"], actual["routes.default"] = gateway or "none", now[0] if now else "none"
    return expected, actual


def _addresses(endpoint: Endpoint, network: Network) -> list[str]:
    """The endpoint's addresses with their prefixes."""
    found = []
    for version, address in ((4, endpoint.ipv4), (6, endpoint.ipv6)):
        subnet = network.subnet(version)
        if address and subnet:
            found.append(f"{address}/{subnet['subnet'].partition('/')[2]}")
    return found + [f"{item}/{64 if ':' in item else 16}" for item in endpoint.link_local]


def take_away_foreign(member: Member, paths: list[str]) -> None:
    """Remove what inside() called foreign, and wrong default routes. Enters the namespace, which is pinned."""
    from envkit.host.links import addresses, routes
    from envkit.host.netlink import Batch
    from envkit.host.netns import in_netns

    foreign = {path[len("interfaces.foreign[") : -1] for path in paths if path.startswith("interfaces.foreign[")}
    with in_netns(member.netns):
        batch = Batch()
        for index, address in addresses():
            if address in foreign:
                batch.delete_address(index, address)
        if "routes.default" in paths:
            for route in routes():
                if not route.destination:
                    batch.delete_route("", gateway=route.gateway, link=route.device, metric=route.metric)
        batch.send()
