"""Networks of an environment: one bridge each, made, mended and removed.

Calls are about the state afterwards; they run inside the engine namespace, in the host's network namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from envkit.backend.embedded.network_observe import FAMILY, rules_state, table_name
from envkit.backend.embedded.network_state import (
    External,
    Network,
    State,
    environments,
    load,
    load_others,
    locked,
    netns_path,
    reach,
    save,
)
from envkit.errors import NotFoundError, UnsupportedError
from envkit.host import links, namespace, neighbours, nft, nft_read, sysctl
from envkit.host.home import Home
from envkit.host.netlink import Batch, has_kind
from envkit.host.steps import step
from envkit.lean import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OPTION = "com.docker.network."
OPTIONS = {  # driver_opts that are honoured
    "bridge.name": f"{_OPTION}bridge.name",
    "mtu": f"{_OPTION}driver.mtu",
    "masquerade": f"{_OPTION}bridge.enable_ip_masquerade",
    "icc": f"{_OPTION}bridge.enable_icc",
}


CHILDREN = {"macvlan": ("macvlan_mode", "bridge"), "ipvlan": ("ipvlan_mode", "l2")}
"""Drivers whose instances have links of their own on a link of the host: (the option of its mode, the one there is)."""


def problems(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(path in the spec, why) of what cannot be had. Asks the kernel for the driver's kind of links."""
    found = []
    driver, options = spec.get("driver") or "bridge", spec.get("driver_opts") or {}
    known = set(OPTIONS.values())
    if driver in CHILDREN:
        option, mode = CHILDREN[driver]
        known = {"parent", option, OPTIONS["mtu"]}
        if not has_kind(driver):
            found.append(("driver", f"this machine's kernel has no {driver}"))
        if str(options.get(option) or mode) != mode:
            found.append((f"driver_opts.{option}", f"the embedded backend has the mode {mode!r} only"))
    elif driver not in ("bridge", "default"):
        found.append(("driver", f"the embedded backend has bridge, macvlan and ipvlan, and no driver {driver!r}"))
    for option in sorted(set(options) - known):
        found.append((f"driver_opts.{option}", "the embedded backend does not know this option"))
    if (driver := spec.get("ipam_driver", "default")) not in ("default", ""):
        found.append(("ipam.driver", f"the embedded backend assigns addresses itself; it has no driver {driver!r}"))
    return found


def create(
    home: Home, environment: str, key: str, spec: Mapping[str, Any], fingerprint: str, *, enforced: bool = True
) -> Network:
    """Have the network as spec says it; a bridge that vanished is made again and its instances are plugged in.

    enforced: with its rules; otherwise the caller sees to them (enforce()) before anything runs in the network.

    A network whose subnet changed must be removed first. Raises ConflictError (subnet in use), NotFoundError
    (external), UnsupportedError, HostError.
    """
    if found := problems(spec):
        raise UnsupportedError("a network cannot be made", f"{key}: {found[0][1]}")
    with locked(home):
        state = load(home, environment)
        if spec.get("external"):
            return _use_external(home, state, key, spec, fingerprint)
        network = state.networks.get(key)
        if network is None or network.fingerprint != fingerprint:
            network = _decide(home, state, key, spec, fingerprint)
            state.networks[key] = network
            save(home, state)
        _realise(network)
        plug(network, (member for one in reach(home, state) for member in one.members.values()))
        if enforced:
            _enforce(home, state)
    if enforced:
        neighbours.ensure(home)
    return network


def enforce(home: Home, environment: str) -> None:
    """Have the rules of the environment's networks in force. Raises HostError, UnsupportedError."""
    with locked(home):
        _enforce(home, load(home, environment))
    neighbours.ensure(home)


def _decide(home: Home, state: State, key: str, spec: Mapping[str, Any], fingerprint: str) -> Network:
    from envkit.backend.embedded import subnets

    identity = f"{state.environment}/{key}"
    before = state.networks.get(key)
    options = {name: str(value) for name, value in (spec.get("driver_opts") or {}).items()}
    others = [network for one in load_others(home, state) for network in one.networks.values()]
    others += [network for other, network in state.networks.items() if other != key]
    bridge = options.get(OPTIONS["bridge.name"], "") or (before.bridge if before else "")
    present, routes = links.links(), links.routes()
    kind = driver if (driver := str(spec.get("driver") or "")) in CHILDREN else "bridge"
    parent = options.get("parent", "") if kind != "bridge" else ""
    if parent and parent not in {link.name for link in present}:
        raise NotFoundError(
            "a network's parent interface does not exist", f"{key}: {parent!r}",
            f"this machine has {', '.join(sorted(link.name for link in present if not link.name.startswith('e')))}",
        )  # fmt: skip
    if parent:
        bridge = ""
    elif not bridge:
        taken = {link.name for link in present} | {network.bridge for network in others}
        bridge = subnets.bridge_name(home, state.environment, key, taken)
    used = [
        (subnets.parse(item["subnet"], "subnet"), f"network {network.id}")
        for network in others
        for item in network.subnets
    ]
    used += subnets.used((bridge, parent, *(network.bridge for network in others)), present, routes)
    return Network(
        id=identity,
        name=str(spec["name"]),
        bridge=bridge,
        mtu=int(options.get(OPTIONS["mtu"]) or 0)
        or next((link.mtu for link in present if link.name == parent), 0) or _uplink_mtu(present, routes),
        subnets=subnets.decide(f"{home.tag}/{identity}", spec, used),
        spec=dict(spec),
        fingerprint=fingerprint,
        internal=bool(spec.get("internal")) or (kind != "bridge" and not parent),
        masquerade=options.get(OPTIONS["masquerade"], "true").lower() != "false",
        isolated=options.get(OPTIONS["icc"], "true").lower() == "false",
        shared=before.shared if before else False,
        kind=kind,
        parent=parent,
    )


def _uplink_mtu(present: Iterable[links.Link], routes: Iterable[links.Route]) -> int:
    default = links.default_route(routes)
    return next((link.mtu for link in present if default and link.ifindex == default.device), 1500)


def _use_external(home: Home, state: State, key: str, spec: Mapping[str, Any], fingerprint: str) -> Network:
    """Raises NotFoundError when no environment of this installation has a network of that name."""
    name = str(spec["name"])
    for other in [state, *load_others(home, state)]:
        for network in other.networks.values():
            if network.name != name:
                continue
            if other is not state and not network.shared:
                network.shared = True
                save(home, other)
            state.external[key] = External(network.id, dict(spec), fingerprint)
            save(home, state)
            _enforce(home, state)
            return network
    raise NotFoundError(
        "an external network does not exist",
        f"{key} wants {name!r}, and no environment here has a network of that name",
        "apply the environment that owns it first, or take `external` away",
    )  # fmt: skip


def _enforce(home: Home, state: State) -> None:
    """Load the environment's nft table where it is not in force as it should be."""
    from envkit.backend.embedded import publish

    bridges = {network.bridge for network in publish.networks_of(home, state)}
    if rules_state(home, state) != "in force" or bridges != publish.bridges_in_force(home, state):
        publish.load_table(home, state)
        save(home, state)


def _realise(network: Network) -> None:
    """The bridge with its addresses, and the kernel's settings that routing through it needs."""
    step("network.bridge")
    if network.parent:
        return
    batch = Batch()
    batch.add_bridge(network.bridge, mtu=network.mtu, mac=_mac(network))
    batch.send()
    batch.set_up(network.bridge)
    for address in network.gateways:
        batch.add_address(network.bridge, address)
    batch.send()
    if not network.is_bridge:
        return
    sysctl.write_sysctl("net.ipv4.ip_forward", "1")
    sysctl.write_sysctl(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")
    if network.subnet(6) and sysctl.read_sysctl("net.ipv6.conf.all.forwarding") == "0":
        # A router ignores router advertisements unless told otherwise (2): the host would lose its own default route.
        uplink = links.default_link()
        if uplink and sysctl.read_sysctl(f"net/ipv6/conf/{uplink}/accept_ra") == "1":
            sysctl.write_sysctl(f"net/ipv6/conf/{uplink}/accept_ra", "2")
        sysctl.write_sysctl("net.ipv6.conf.all.forwarding", "1")


def _mac(network: Network) -> str:
    """A fixed address: the kernel's choice follows the ports, and neighbours' caches would go stale."""
    return "02:45:" + sha256(network.bridge.encode()).digest()[:4].hex(":")


def plug(network: Network, members: Iterable[Any]) -> None:
    """Make the members' links ports of the network's bridge, where they are not."""
    members = list(members)
    if not members or network.parent:
        return
    present = {link.name: link for link in links.links()}
    bridge = present[network.bridge].ifindex
    batch = Batch()
    for member in members:
        for endpoint in member.endpoints.values():
            link = present.get(endpoint.veth) if endpoint.network == network.id else None
            if link is not None and link.master != bridge:
                batch.set_master(link.ifindex, bridge)
                batch.set_up(link.ifindex)
    batch.send()


def remove(home: Home, environment: str, keys: Iterable[str]) -> None:
    """Remove networks and their bridges; absent is fine. Instances in them must be detached before."""
    from envkit.backend.embedded import publish

    with locked(home):
        state = load(home, environment)
        gone = [state.networks.pop(key) for key in list(keys) if key in state.networks]
        for key in keys:
            state.external.pop(key, None)
        step("network.remove")
        delete_links([network.bridge for network in gone if network.bridge])
        publish.load_table(home, state)
        save(home, state)
    neighbours.release(home)


def delete_links(names: Iterable[str]) -> None:
    """Delete links at the cost of one: they become a group of their own first."""
    batch = Batch()
    group = int.from_bytes(os.urandom(3), "big") | 1 << 28
    for name in names:
        batch.set_group(name, group)
    if len(batch):
        batch.delete_group(group)
        batch.send()


def sweep(home: Home) -> list[str]:
    """Remove what no environment of the installation knows of any more: bridges, nft tables, network namespaces.

    For `gc`, and harmless at any time. Returns what was removed, for people.
    """
    from envkit.host import uplink

    with locked(home):
        states = [load(home, name) for name in environments(home)]
        bridges = {item.bridge for state in states for item in state.networks.values()}
        tables = {table_name(home, state.environment) for state in states}
        members = {identity for state in states for identity in state.members}
        mine = neighbours.prefix(home)
        links_left = [link.name for link in links.links() if _is_stray(link, mine, bridges)]
        delete_links(links_left)
        tables_left = [
            name
            for name in nft_read.tables(FAMILY)
            if name.startswith(f"envkit-{home.tag}-") and name not in tables
        ]
        for name in tables_left:
            nft.delete_table(FAMILY, name)
        directory = os.path.dirname(netns_path(home, "x"))
        pins = os.listdir(directory) if os.path.isdir(directory) else []
        pins_left = [name for name in pins if not name.startswith("build-") and name not in members]
        for name in pins_left:
            namespace.remove_netns(netns_path(home, name))
    builds = uplink.sweep(home)
    neighbours.release(home)
    return [
        *(f"link {name}" for name in links_left),
        *(f"nft table {name}" for name in tables_left),
        *(f"network namespace {name}" for name in pins_left),
        *(f"build network {name}" for name in builds),
    ]


def _is_stray(link: links.Link, mine: str, bridges: set[str]) -> bool:
    return link.kind == "bridge" and link.name.startswith(mine) and link.name not in bridges
