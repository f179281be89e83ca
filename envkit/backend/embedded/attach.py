"""Instances' way into their networks: a namespace, links, addresses, routes and name files for a whole batch at once.

100 instances take some 120 ms: one netlink message for all links, one per namespace for what is inside.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from envkit.backend.embedded import addresses, hosts
from envkit.backend.embedded.network import delete_links
from envkit.backend.embedded.network_state import (
    Endpoint,
    Member,
    Network,
    State,
    load,
    locked,
    netns_path,
    network_of,
    reach,
    save,
)
from envkit.errors import ConflictError, NotFoundError, UnsupportedError
from envkit.host import files, links, namespace, resolv_conf, sysctl
from envkit.host.home import Home
from envkit.host.netlink import Batch, Peer
from envkit.host.steps import step
from envkit.lean import pattern
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSCTLS = "com.docker.network.endpoint.sysctls"
"""The one endpoint option of `networks.*.driver_opts` that is honoured."""
_OWN_SYSCTL = pattern(r"net\.(ipv4|ipv6|mpls)\.[a-z]+\.IFNAME\.[a-z0-9_]+")


@value
class Request:
    """An instance that wants into its networks.

    id: 12 hex digits, fresh per creation. name: the container's name. directory: its record directory, which gets
    `hosts` and `resolv.conf`. networks: ServiceSpec.networks, at least one. ports: as ports.resolve returned them.
    use_aliases: answer to the service's name and aliases, too (a one-off does not). live: be found by its names from
    the beginning. The rest is as in ServiceSpec.
    """

    id: str
    service: str
    replica: int
    name: str
    directory: str
    networks: Mapping[str, Mapping[str, Any]]
    hostname: str = ""
    domain: str = ""
    mac_address: str = ""
    ports: Sequence[Mapping[str, Any]] = ()
    extra_hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    links: Sequence[str] = ()
    dns: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    dns_opt: Sequence[str] = ()
    use_aliases: bool = True
    live: bool = True


def attach_many(home: Home, environment: str, requests: Sequence[Request]) -> dict[str, Member]:
    """Have every instance in its networks; of one that is attached already, what is missing is made again, and what is
    to be otherwise (networks, names, ports) is changed.

    Returns the members by id: their `netns` is pinned and set up, the files `hosts` and `resolv.conf` are written,
    everybody else's hosts file knows them. Raises ConflictError (an address is taken), HostError; then nothing of the
    new ones is left.
    """
    with locked(home):
        state = load(home, environment)
        new = [request.id for request in requests if request.id not in state.members]
        led = {identity: member.ports for identity, member in state.members.items() if member.published}
        networks, members, lost, rerouted = _decide(home, state, requests)
        delete_links([item.veth for _, item in lost if item.veth])
        if any(member.ports != led.get(member.id, member.ports) for member in members.values()):
            from envkit.backend.embedded import publish

            publish.load_table(home, state)
        save(home, state)
    try:
        _leave(lost)
        _connect(networks, list(members.values()), rerouted)
    except BaseException:
        detach_many(home, environment, new)
        raise
    outside = resolv_conf.upstream()
    for request in requests:
        member = members[request.id]
        files.make_directory(request.directory, 0o700)
        conf = hosts.resolv_conf(member, networks, outside, search=request.dns_search, options=request.dns_opt)
        hosts.write_in_place(os.path.join(request.directory, "resolv.conf"), conf)
    hosts.refresh(home, environment)
    return members


def _decide(
    home: Home, state: State, requests: Sequence[Request]
) -> tuple[dict[str, Network], dict[str, Member], list[tuple[Member, Endpoint]], set[str]]:
    """(networks by id, members by id, endpoints that have to go, ids of those whose default route is another one now):
    addresses are given out, and noted in the state."""
    networks: dict[str, Network] = {}
    for key in {key for request in requests for key in request.networks}:
        network = network_of(home, state, key)
        networks[network.id] = network
    taken: dict[str, dict[str, str]] = {identity: {} for identity in networks}
    for other in reach(home, state):
        for member in other.members.values():
            for endpoint in member.endpoints.values():
                if endpoint.network in taken:
                    taken[endpoint.network] |= dict.fromkeys(filter(None, (endpoint.ipv4, endpoint.ipv6)), member.name)
    members: dict[str, Member] = {}
    gone: list[tuple[Member, Endpoint]] = []
    rerouted: set[str] = set()
    # Static addresses first: a chosen one must not take what another request is going to ask for.
    for request in sorted(requests, key=lambda item: not _is_static(item)):
        by_key = {key: network_of(home, state, key) for key in request.networks}
        kept: dict[str, Endpoint] = {}
        if known := state.members.get(request.id):
            kept = {key: item for key, item in known.endpoints.items() if _fits(item, request, key, by_key)}
            for key in known.endpoints.keys() - kept.keys():
                lost = known.endpoints[key]
                gone.append((known, lost))
                for address in (lost.ipv4, lost.ipv6):
                    taken.get(lost.network, {}).pop(address, None)
        made = _member(home, request, by_key, taken, kept)
        if known is not None:
            made.live, made.published = known.live, known.published
            if known.gateway != made.gateway:
                rerouted.add(made.id)
        members[request.id] = state.members[request.id] = made
    return networks, members, gone, rerouted


def _fits(item: Endpoint, request: Request, key: str, networks: Mapping[str, Network]) -> bool:
    """Whether an endpoint that is there is as it is wanted."""
    if key not in networks or item.network != networks[key].id:
        return False
    wanted = request.networks[key] or {}
    for version, address in ((4, item.ipv4), (6, item.ipv6)):
        subnet = networks[key].subnet(version)
        if wanted.get(f"ipv{version}_address") not in (None, "", address) or bool(subnet) != bool(address):
            return False
        if subnet is not None and not addresses.is_within(address, subnet):
            return False
    first = addresses.order(request.networks)[0] == key
    mac = str(wanted.get("mac_address") or (request.mac_address if first else "")).lower().replace("-", ":")
    return (
        mac in ("", item.mac)
        and wanted.get("interface_name") in (None, "", item.interface)
        and list(wanted.get("link_local_ips") or ()) == item.link_local
        and _sysctls(wanted.get("driver_opts") or {}, item.interface) == item.sysctls
    )


def _is_static(request: Request) -> bool:
    wanted = [item or {} for item in request.networks.values()]
    return any(item.get("ipv4_address") or item.get("ipv6_address") for item in wanted)


def _member(
    home: Home, request: Request, networks: Mapping[str, Network], taken: Mapping[str, dict[str, str]],
    kept: Mapping[str, Endpoint],
) -> Member:  # fmt: skip
    """kept: its endpoints that stay as they are, but for their names."""
    endpoints: dict[str, Endpoint] = {}
    names = {str((item or {}).get("interface_name")) for item in request.networks.values()} - {"None"}
    names |= {item.interface for item in kept.values()}
    veths = {item.veth for item in kept.values()}
    free = (f"eth{number}" for number in range(len(request.networks) + len(names)) if f"eth{number}" not in names)
    ends = (end for number in range(16) if (end := f"ev{request.id}{number:x}") not in veths)
    for position, key in enumerate(addresses.order(request.networks)):
        wanted, network = request.networks[key] or {}, networks[key]
        called = [request.service, *wanted.get("aliases", ())] if request.use_aliases else []
        if key in kept:
            endpoints[key] = kept[key]
            endpoints[key].names = called
            continue
        found: dict[int, str] = {4: "", 6: ""}
        for version in (4, 6):
            subnet = network.subnet(version)
            asked = str(wanted.get(f"ipv{version}_address") or "")
            if subnet is None and asked:
                raise ConflictError(
                    "an address has no network", f"{request.name} wants {asked} in {key}, which has no IPv{version}",
                    f"give the network a subnet of IPv{version} below `ipam:`",
                )  # fmt: skip
            if subnet is not None:
                identity = f"{request.service}.{request.replica}"
                found[version] = addresses.allocate(subnet, identity, taken[network.id], wanted=asked)
                taken[network.id][found[version]] = request.name
        mac = str(wanted.get("mac_address") or (request.mac_address if position == 0 else ""))
        interface = str(wanted.get("interface_name") or "") or next(free)
        endpoints[key] = Endpoint(
            network=network.id,
            veth="" if network.parent else next(ends),
            interface=interface,
            mac=mac.lower().replace("-", ":") or addresses.mac_for(found[4] or found[6], request.id + key),
            ipv4=found[4],
            ipv6=found[6],
            names=called,
            link_local=list(wanted.get("link_local_ips") or ()),
            sysctls=_sysctls(wanted.get("driver_opts") or {}, interface),
        )
    routed = [key for key, network in networks.items() if not network.internal]
    return Member(
        id=request.id, service=request.service, replica=request.replica, name=request.name,
        directory=request.directory, netns=netns_path(home, request.id), endpoints=endpoints,
        gateway=addresses.gateway_key(request.networks, routed), hostname=request.hostname, domain=request.domain,
        extra_hosts={name: list(items) for name, items in request.extra_hosts.items()}, links=list(request.links),
        dns=list(request.dns), ports=[dict(port) for port in request.ports], live=request.live,
    )  # fmt: skip


def _sysctls(options: Mapping[str, str], interface: str) -> list[str]:
    """PATH=VALUE of an interface's own settings; IFNAME stands for its name. Raises UnsupportedError for any other
    setting: it would be the host's."""
    made = []
    for word in filter(None, str(options.get(SYSCTLS) or "").split(",")):
        name, separator, setting = word.strip().partition("=")
        if not separator or not _OWN_SYSCTL.fullmatch(name):
            raise UnsupportedError(
                "a setting is not an interface's own", f"{SYSCTLS}: {word!r}",
                "write net.ipv4.conf.IFNAME.NAME=VALUE; others belong below the service's `sysctls:`",
            )  # fmt: skip
        made.append(f"{name.replace('.', '/').replace('IFNAME', interface)}={setting}")
    return made


def _connect(networks: Mapping[str, Network], members: Sequence[Member], rerouted: Collection[str]) -> None:
    """Namespaces, links, and what is inside."""
    if not members:
        return
    files.make_directory(os.path.dirname(members[0].netns), 0o700)
    namespace.new_netns_many([member.netns for member in members])
    present = {link.name: link for link in links.links()}
    step("network.attach")
    batch = Batch()
    descriptors: list[int] = []
    try:
        for member in members:
            inner = _inner(member)
            missing = [item for item in member.endpoints.values() if item.veth not in present]
            missing = [item for item in missing if item.veth or item.interface not in inner]
            for item in member.endpoints.values():
                if not item.veth:
                    continue
                link, bridge = present.get(item.veth), _bridge(networks[item.network], present)
                if link is not None and link.master != bridge:
                    batch.set_master(link.ifindex, bridge)
                    batch.set_up(link.ifindex)
            if missing:
                descriptors.append(os.open(member.netns, os.O_RDONLY | os.O_CLOEXEC))
            for item in missing:
                network = networks[item.network]
                peer = Peer(descriptors[-1], item.interface, item.mac)
                if network.parent:
                    batch.add_child(network.kind, _parent(network, present), peer, mtu=network.mtu)
                    continue
                batch.add_veth(item.veth, peer, bridge=_bridge(network, present), mtu=network.mtu)
        batch.send()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    with namespace.visit_netns() as go:
        for member in members:
            go(member.netns)
            _inside(networks, member, rerouted=member.id in rerouted)
    _port_flags(networks, members)


def _inner(member: Member) -> set[str]:
    """The interfaces of a member that has some without an end here."""
    if all(item.veth for item in member.endpoints.values()):
        return set()
    with namespace.in_netns(member.netns):
        return {link.name for link in links.links()}


def _leave(lost: Iterable[tuple[Member, Endpoint]]) -> None:
    """Delete the interfaces of endpoints that have no end here."""
    for member, item in lost:
        if not item.veth and os.path.exists(member.netns):
            with namespace.in_netns(member.netns):
                batch = Batch()
                batch.delete_link(item.interface)
                batch.send()


def _parent(network: Network, present: Mapping[str, links.Link]) -> int:
    if link := present.get(network.link):
        return link.ifindex
    hint = "bring it back, or name another one in `driver_opts.parent`"
    raise NotFoundError("a network's parent interface is missing", f"{network.link} of {network.id}", hint)


def _bridge(network: Network, present: Mapping[str, links.Link]) -> int:
    if link := present.get(network.bridge):
        return link.ifindex
    raise NotFoundError("a network's bridge is missing", f"{network.bridge} of {network.id}", "apply mends it")


def _inside(networks: Mapping[str, Network], member: Member, *, rerouted: bool) -> None:
    """Addresses and routes, in the member's own namespace. rerouted: the default route that is there is not it."""
    batch = Batch()
    for route in links.routes() if rerouted else ():
        if not route.destination:
            batch.delete_route("", gateway=route.gateway, link=route.device, metric=route.metric)
    batch.set_up("lo")
    for item in member.endpoints.values():
        network = networks[item.network]
        index = links.index_of(item.interface)
        batch.set_up(index)
        for address, subnet in ((item.ipv4, network.subnet(4)), (item.ipv6, network.subnet(6))):
            if address and subnet:
                batch.add_address(index, f"{address}/{subnet['subnet'].partition('/')[2]}")
        for address in item.link_local:
            batch.add_address(index, f"{address}/{64 if ':' in address else 16}")
    if member.gateway:
        network = networks[member.endpoints[member.gateway].network]
        for gateway in filter(None, (network.gateway(4), network.gateway(6))):
            batch.add_route("", gateway=gateway)
    batch.send()
    for item in member.endpoints.values():
        for text in item.sysctls:
            name, _, setting = text.partition("=")
            sysctl.write_sysctl(name, setting)


def _port_flags(networks: Mapping[str, Network], members: Sequence[Member]) -> None:
    """Hairpin for those that publish ports (they may call them), isolation where the network wants it."""
    wanted = {
        item.veth: networks[item.network].isolated
        for member in members
        for item in member.endpoints.values()
        if member.ports or networks[item.network].isolated
    }
    if not wanted:
        return
    batch = Batch()
    for link in links.links():
        if link.name in wanted:
            batch.set_port(link.ifindex, hairpin=True, isolated=wanted[link.name])
    batch.send()


def detach_many(home: Home, environment: str, ids: Iterable[str]) -> None:
    """Take instances out of their networks: links, namespaces, names, published ports. Absent ones are fine.

    Their processes should have ended; those that live on lose the network.
    """
    from envkit.backend.embedded import publish

    wanted = list(ids)
    with locked(home):
        state = load(home, environment)
        gone = [member for identity in wanted if (member := state.members.pop(identity, None))]
        step("network.detach")
        delete_links(item.veth for member in gone for item in member.endpoints.values() if item.veth)
        if any(member.published for member in gone):
            publish.load_table(home, state)
        if gone:
            save(home, state)
    for identity in wanted:
        namespace.remove_netns(netns_path(home, identity))
    if gone:
        hosts.refresh(home, environment)


def set_live(home: Home, environment: str, live: Mapping[str, bool]) -> None:
    """Say which instances are to be found by their names (a stopped one is not)."""
    with locked(home):
        state = load(home, environment)
        for identity, value in live.items():
            if identity in state.members:
                state.members[identity].live = value
        save(home, state)
    hosts.refresh(home, environment)
