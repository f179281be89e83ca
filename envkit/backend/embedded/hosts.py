"""Names without a server: every member's hosts file lists whom it can reach, and is rewritten when that changes.

The files are bind-mounted into the containers, so they are written in place (the same inode), never replaced. What is
visible here is also what the resolver answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from envkit.backend.embedded.network_state import Member, Network, State, load, reach
from envkit.host.home import Home
from envkit.host.lock import Lock
from envkit.host.resolv_conf import MAX_SERVERS, ResolvConf

HEAD = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class Directory:
    """Who is called what, by network. Made once for many questions; pure."""

    def __init__(self, members: Iterable[Member], networks: Mapping[str, Network]) -> None:
        self.networks = networks
        self.members = list(members)
        self._present: dict[str, list[Member]] = {}
        for member in self.members:
            for endpoint in member.endpoints.values():
                if member.live:
                    self._present.setdefault(endpoint.network, []).append(member)
        self._names: dict[str, dict[str, list[str]]] = {}
        self._lines: dict[str, tuple[str, list[tuple[Member, str]]]] = {}

    def hosts_text(self, client: Member) -> str:
        """The content of client's hosts file."""
        parts = [HEAD, self._own_lines(client)]
        seen: set[str] = set()
        for endpoint in client.endpoints.values():
            single, scaled = self._network_lines(endpoint.network)
            if seen:  # a neighbour in two common networks is listed with the first one's addresses only
                others = [item for item in self._present.get(endpoint.network, ()) if item.id not in seen]
                parts += [_line(member, endpoint.network) for member in others]
            else:
                parts.append(single)
                parts += [line for _, line in sorted(scaled, key=lambda item: _order(client, item[0]))]
            seen |= {member.id for member in self._present.get(endpoint.network, ())}
        parts += [f"{address}\t{alias}\n" for alias, address in self._links(client)]
        for name, targets in client.extra_hosts.items():
            addresses = [self.host_gateway(client) if target == "host-gateway" else target for target in targets]
            parts += [f"{address}\t{name}\n" for address in addresses if address]
        return "".join(parts)

    def find(self, client: Member, name: str) -> list[str] | None:
        """The addresses that client knows under name (lower case, without a final dot); None when it knows none.

        NAME or NAME.NETWORK, where NETWORK is the network's name or key.
        """
        for key, endpoint in client.endpoints.items():
            network = self.networks.get(endpoint.network)
            index = self._index(endpoint.network)
            for suffix in ("", f".{key}".lower(), f".{network.name}".lower() if network else ""):
                if name.endswith(suffix) and (found := index.get(name[: len(name) - len(suffix)])):
                    return list(found)
        return [address for alias, address in self._links(client) if alias.lower() == name] or None

    def _index(self, network: str) -> dict[str, list[str]]:
        """Addresses by name in one network."""
        if network not in self._names:
            found: dict[str, list[str]] = {}
            for member in self._present.get(network, ()):
                for name in {one.lower() for one in names_of(member, network)}:
                    found.setdefault(name, []).extend(addresses_of(member, network))
            self._names[network] = found
        return self._names[network]

    def name_of(self, client: Member, address: str) -> str:
        """The container name and network of the neighbour with an address; "" when there is none."""
        for endpoint in client.endpoints.values():
            for member in self._present.get(endpoint.network, ()):
                if address in addresses_of(member, endpoint.network):
                    network = self.networks.get(endpoint.network)
                    return f"{member.name}.{network.name}" if network else member.name
        return ""

    def host_gateway(self, client: Member) -> str:
        """The host's address as client sees it: the gateway of its default route's network, else of its first."""
        key = client.gateway or next(iter(client.endpoints), "")
        network = self.networks.get(client.endpoints[key].network) if key else None
        return (network.gateway(4) or network.gateway(6)) if network else "127.0.0.1"

    def _own_lines(self, client: Member) -> str:
        if not client.hostname:
            return ""
        names = f"{client.hostname}.{client.domain} {client.hostname}" if client.domain else client.hostname
        first = next(iter(client.endpoints.values()), None)
        return "".join(f"{address}\t{names}\n" for address in (first.ipv4, first.ipv6) if address) if first else ""

    def _network_lines(self, network: str) -> tuple[str, list[tuple[Member, str]]]:
        """(the lines of services with one instance, (member, line) of the others)."""
        if network not in self._lines:
            members = sorted(self._present.get(network, ()), key=lambda item: (item.service, item.replica))
            count: dict[str, int] = {}
            for member in members:
                count[member.service] = count.get(member.service, 0) + 1
            single = "".join(_line(member, network) for member in members if count[member.service] == 1)
            scaled = [(member, _line(member, network)) for member in members if count[member.service] > 1]
            self._lines[network] = single, scaled
        return self._lines[network]

    def _links(self, client: Member) -> list[tuple[str, str]]:
        """(alias, address) that client alone knows (`links: [SERVICE:ALIAS]`)."""
        found = []
        for link in client.links:
            service, _, alias = link.partition(":")
            for endpoint in client.endpoints.values() if alias else ():
                for member in self._present.get(endpoint.network, ()):
                    if service in (member.service, member.name):
                        found += [(alias, address) for address in addresses_of(member, endpoint.network)]
        return found


def _order(client: Member, member: Member) -> tuple[str, int]:
    """Replicas in an order of each client's own, so that not all clients prefer the same one."""
    return member.service, crc32(f"{client.id}{member.id}".encode())


def _line(member: Member, network: str) -> str:
    names = " ".join(names_of(member, network))
    return "".join(f"{address}\t{names}\n" for address in addresses_of(member, network))


def names_of(member: Member, network: str) -> list[str]:
    """What a member answers to in a network: its service's name, its aliases there, its container name."""
    endpoint = next(item for item in member.endpoints.values() if item.network == network)
    return list(dict.fromkeys([*endpoint.names, member.name]))


def addresses_of(member: Member, network: str) -> list[str]:
    """Its addresses in a network, IPv4 first."""
    endpoint = next(item for item in member.endpoints.values() if item.network == network)
    return [address for address in (endpoint.ipv4, endpoint.ipv6) if address]


def directory_of(states: Iterable[State]) -> Directory:
    """The directory of everybody in the states."""
    rows = list(states)
    networks = {network.id: network for one in rows for network in one.networks.values()}
    return Directory((member for one in rows for member in one.members.values()), networks)


def refresh(home: Home, environment: str) -> None:
    """Bring the hosts file of every member that may have new or lost neighbours up to date."""
    with Lock(os.path.join(home.run, "hosts.lock"), {"purpose": "hosts files"}):
        directory = directory_of(reach(home, load(home, environment)))
        for member in directory.members:
            if os.path.isdir(member.directory):
                write_in_place(os.path.join(member.directory, "hosts"), directory.hosts_text(member))


def write_in_place(path: str, content: str) -> None:
    """Make a file hold content without changing its inode; untouched when it does so already.

    A reader in the middle sees old and new lines mixed, never an empty file. The same is kept beside it, as `.NAME`,
    so that what another hand writes is seen (`sealed`).
    """
    data = content.encode(errors="surrogateescape")
    directory, _, name = path.rpartition("/")
    _hold(f"{directory}/.{name}", data)
    _hold(path, data)


def _hold(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        if os.pread(descriptor, len(data) + 1, 0) == data:
            return
        os.fchmod(descriptor, 0o644)
        view, position = memoryview(data), 0
        while position < len(data):
            position += os.pwrite(descriptor, view[position:], position)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def resolv_conf(
    member: Member, networks: Mapping[str, Network], outside: ResolvConf, *, search: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:  # fmt: skip
    """The content of a member's resolv.conf: the resolver on its gateway, then servers that serve without it. Pure.

    networks: by id; outside: the host's settings. Names in the hosts file need no server. Without a way out only the
    resolver is named. ndots:0 lets a plain name be asked as it is before search domains are tried.
    """
    key = member.gateway or next(iter(member.endpoints))
    network = networks[member.endpoints[key].network]
    further = (member.dns or outside.nameservers) if member.gateway else ()
    own = (network.gateway(4) or network.gateway(6),) if network.is_bridge else ()
    domains = tuple(search) or outside.search
    inherited = [option for option in outside.options if not option.startswith("ndots:")]
    return ResolvConf(
        (*own, *further)[:MAX_SERVERS],
        () if domains == (".",) else domains,
        tuple(options) or (*inherited, "ndots:0"),
    ).text()
