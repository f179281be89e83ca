"""Published ports, masquerading and isolation: one nft table per environment, always loaded as a whole.

What must hold (each tested): a port answers from outside, from the host by any of its addresses and by 127.0.0.1, from
other containers and from the container itself; external clients keep their address; networks do not see one another;
an internal network sees nobody. Chains are at Docker's numeric priorities (-100, 100) and only ever drop, since an
accept of ours cannot overrule another table's drop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from envkit.backend.embedded import hosts
from envkit.backend.embedded.network_observe import ANY, FAMILY, table_name
from envkit.backend.embedded.network_state import Member, Network, State, load, locked, network_of, save
from envkit.backend.embedded.ports import published_rows
from envkit.errors import NotFoundError
from envkit.host import nft, nft_read
from envkit.host.home import Home
from envkit.host.steps import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.backend.embedded.ports import Port


def set_published(home: Home, environment: str, published: Mapping[str, bool]) -> None:
    """Lead the ports of instances to them (or no longer): id -> wanted. Other instances' ports stay as they are.

    An instance that takes over a port of another one has it from then on, in one transaction.
    """
    with locked(home):
        state = load(home, environment)
        for identity, wanted in published.items():
            if member := state.members.get(identity):
                member.published = wanted
                state.members[identity] = state.members.pop(identity)  # the last one has a contested port
        load_table(home, state)
        save(home, state)


def take_over(home: Home, environment: str, successors: Mapping[str, str]) -> None:
    """Let instances take the places of others: id -> the id of the one that steps back. Names and ports change hands at
    once: whoever asks from then on is led to the successor, and connections that are there stay where they are, since
    the kernel tracks them. Harmless to repeat; ids that are in no network are left out."""
    with locked(home):
        state = load(home, environment)
        concerned = [item for pair in successors.items() for one in pair if (item := state.members.get(one))]
        for member in concerned:
            member.live = member.id in successors
            member.published = member.live and bool(member.ports)
        if any(member.ports for member in concerned):
            load_table(home, state)
            _lead_anew([member for member in concerned if not member.live])
        save(home, state)
    hosts.refresh(home, environment)


def _lead_anew(former: Sequence[Member]) -> None:
    """Datagrams to the published ports of these instances go where the rules say now: they have no connection that
    ends some day."""
    wanted = {
        address
        for member in former if any(port["protocol"] == "udp" for port in member.ports)
        for item in member.endpoints.values() for address in (item.ipv4, item.ipv6) if address
    }  # fmt: skip
    if wanted:
        from envkit.host.conntrack import forget_flows

        forget_flows(wanted)


def rebuild(home: Home, environment: str) -> None:
    """Load the environment's table anew, whatever became of it."""
    with locked(home):
        state = load(home, environment)
        load_table(home, state)
        save(home, state)


def load_table(home: Home, state: State) -> None:
    """Make the kernel's table what the state wants, and note its digest in state. Under the network lock only."""
    networks = networks_of(home, state)
    name = table_name(home, state.environment)
    if not networks:
        if state.table or nft_read.has_table(FAMILY, name):
            nft.delete_table(FAMILY, name)
        state.table = ""
        return
    step("publish.table")
    nft.apply(script(name, networks, published_rows(state)))
    state.table = nft_read.digest(FAMILY, name)


def bridges_in_force(home: Home, state: State) -> set[str]:
    """The bridges that the kernel's table knows."""
    keys = nft_read.keys(FAMILY, table_name(home, state.environment), "bridges")
    return {key.rstrip(b"\0").decode() for key in keys}


def networks_of(home: Home, state: State) -> list[Network]:
    """The environment's own bridges, and the external ones that still exist."""
    found = list(state.networks.values())
    for key in state.external:
        try:
            found.append(network_of(home, state, key))
        except NotFoundError:
            continue
    return sorted((network for network in found if network.is_bridge), key=lambda network: network.bridge)


def script(name: str, networks: Sequence[Network], rows: Iterable[tuple[Port, str, str]]) -> str:
    """The nft script that replaces the table. Pure.

    rows: see ports.published_rows. Bridges of other environments and installations are known by their `ek`.
    """
    elements: dict[str, list[str]] = {"published4": [], "published_at4": [], "published6": [], "published_at6": []}
    for port, ipv4, ipv6 in rows:
        address = str(port["host_ip"])
        key = f"{port['protocol']} . {port['published']}"
        if ipv4 and ":" not in address:
            target = f"{ipv4} . {port['target']}"
            if address in ANY:
                elements["published4"].append(f"{key} : {target}")
            else:
                elements["published_at4"].append(f"{address} . {key} : {target}")
        if ipv6 and (address in ANY[::2] or ":" in address):
            target = f"{ipv6} . {port['target']}"
            if address in ANY:
                elements["published6"].append(f"{key} : {target}")
            else:
                elements["published_at6"].append(f"{address} . {key} : {target}")
    links = [network.bridge for network in networks]
    routed = [network for network in networks if not network.internal and network.masquerade]
    return f"""
add table {FAMILY} {name}
delete table {FAMILY} {name}
table {FAMILY} {name} {{
  map published4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; {_elements(elements["published4"])} }}
  map published_at4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;
    {_elements(elements["published_at4"])} }}
  map published6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {_elements(elements["published6"])} }}
  map published_at6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service;
    {_elements(elements["published_at6"])} }}
  set bridges {{ type ifname; {_elements(_quoted(links))} }}
  set internal {{ type ifname; {_elements(_quoted([item.bridge for item in networks if item.internal]))} }}
  set own4 {{ type ipv4_addr; flags interval; {_elements(_subnets(networks, 4))} }}
  set own6 {{ type ipv6_addr; flags interval; {_elements(_subnets(networks, 6))} }}
  set masked4 {{ type ipv4_addr; flags interval; {_elements(_subnets(routed, 4))} }}
  set masked6 {{ type ipv6_addr; flags interval; {_elements(_subnets(routed, 6))} }}
  chain guard {{ type filter hook prerouting priority -300;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }}
  chain lead {{
    dnat ip to ip daddr . meta l4proto . th dport map @published_at4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @published_at6
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @published4
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @published6
  }}
  chain pre {{ type nat hook prerouting priority -100; fib daddr type local jump lead; }}
  chain out {{ type nat hook output priority -100; fib daddr type local jump lead; }}
  chain post {{ type nat hook postrouting priority 100;
    oifname "lo" accept
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    oifname @bridges ct status dnat ip saddr @own4 masquerade
    oifname @bridges ct status dnat ip6 saddr @own6 masquerade
    ip saddr @masked4 oifname != @bridges masquerade
    ip6 saddr @masked6 oifname != @bridges masquerade
  }}
  chain ek_forward {{ type filter hook forward priority 0;
    ct state established,related accept
    ct status dnat accept
    iifname . oifname {{ {", ".join(f'"{link}" . "{link}"' for link in links)} }} accept
    iifname @internal drop
    oifname @internal drop
    iifname @bridges oifname @bridges drop
    iifname @bridges oifname "ek*" drop
  }}
}}
"""


def _elements(items: Sequence[str]) -> str:
    return f"elements = {{ {', '.join(items)} }}" if items else ""


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _subnets(networks: Iterable[Network], version: int) -> list[str]:
    rows = (item["subnet"] for network in networks for item in network.subnets)
    return [subnet for subnet in rows if (":" in subnet) == (version == 6)]
