"""Where instances meet the network: attaching, name files, published ports, and what is observed of them.

The one place of the instance side that knows the network's modules. Heavy ones are imported when there is a network.
"""

from __future__ import annotations

import os

from envkit.address import Address
from envkit.backend.embedded import network_state
from envkit.backend.embedded.mounts import file_bind
from envkit.backend.embedded.record import place_of
from envkit.errors import ConflictError
from envkit.observed.state import ObservedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from envkit.backend.embedded.attach import Request
    from envkit.backend.embedded.mounts import Mount
    from envkit.backend.embedded.namespaces import Peer
    from envkit.backend.embedded.record import Record
    from envkit.host.home import Home
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment

BRIDGE = "~bridge"
"""The key of the network that `network_mode: bridge` means: one per environment, made with its first instance, without
names but those of `links:`. It is no resource, and goes with the environment."""
NAME_FILES = ("hosts", "hostname", "resolv.conf")
_LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def networks_of(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """ServiceSpec.networks, or the one that `network_mode: bridge` stands for."""
    if spec.get("network_mode") in ("bridge", "default"):
        return {BRIDGE: {}}
    return spec.get("networks") or {}


class Wires:
    """The network side of one session."""

    def __init__(self, home: Home, environment: Environment) -> None:
        self.home = home
        self.environment = environment
        self._external: set[str] = set()
        self._owed = False
        self._enforcing: threading.Thread | None = None
        self._failure: BaseException | None = None

    # -- networks

    def apply_networks(self, changes: Sequence[Change]) -> dict[int, Exception]:
        """Carry out changes of networks; id(change) -> its error. A new one's rules come with enforce()."""
        from envkit.backend.embedded import network
        from envkit.errors import EnvkitError
        from envkit.plan.model import Action

        failed: dict[int, Exception] = {}
        name = self.environment.name
        for change in changes:
            key = change.address.name
            try:
                if change.action is Action.DELETE or change.action.replaces:
                    network.remove(self.home, name, [key])
                if change.resource is not None:
                    later = change.action is Action.CREATE and not change.resource.spec.get("external")
                    network.create(
                        self.home, name, key, change.resource.spec, change.resource.fingerprint, enforced=not later
                    )
                    self._owed = self._owed or later
            except (EnvkitError, OSError) as error:
                failed[id(change)] = error
        return failed

    def _use_external(self, keys: Collection[str]) -> None:
        """External networks have no change of their own: they are looked up when the first instance wants one."""
        from envkit.backend.embedded import network

        for key in sorted(set(keys) - self._external):
            if key == BRIDGE:
                spec = {"name": f"{self.environment.name}_bridge"}
                network.create(self.home, self.environment.name, BRIDGE, spec, BRIDGE)
            resource = self.environment.get("network", key)
            if resource is not None and resource.spec.get("external"):
                network.create(self.home, self.environment.name, key, resource.spec, resource.fingerprint)
            self._external.add(key)

    # -- instances

    def choose_ports(self, rows: Sequence[Record], going: Sequence[Record]) -> dict[str, ConflictError]:
        """Give every published port of the rows its host port (record.ports); id -> the conflict where one is taken.

        going: instances that are removed before, whose ports are free then and preferred by their successors.
        """
        wanted = [record for record in rows if record.spec.get("ports")]
        for record in rows:
            record.ports = record.ports if record.spec.get("ports") else []
        if not wanted:
            return {}
        from envkit.backend.embedded import ports

        holder = ports.holders(self.home, [record.id for record in (*going, *wanted)])
        before = {record.address: record.ports for record in going}
        given: list[tuple[ports.Port, str]] = []
        failed: dict[str, ConflictError] = {}

        def taken(port: ports.Port) -> str:
            return next((name for other, name in given if ports.clash(port, other)), "") or holder(port)

        for record in wanted:
            identity = f"{record.environment}/{place_of(record.key)}"
            previous = before.get(record.address) or record.ports
            try:
                record.ports = ports.resolve(record.spec["ports"], identity, taken, previous)
            except ConflictError as error:
                failed[record.id] = error
                continue
            given += [(port, str(record.address)) for port in record.ports]
        return failed

    def attach(self, rows: Sequence[Record]) -> None:
        """Have every instance that has networks in them; what is missing of one that was there is made again.

        Writes `hosts` and `resolv.conf` into the record directories. Raises ConflictError, NotFoundError, HostError.
        """
        wired = [record for record in rows if networks_of(record.spec)]
        if not wired:
            return
        from envkit.backend.embedded import attach

        self._use_external({key for record in wired for key in networks_of(record.spec)})
        members = attach.attach_many(self.home, self.environment.name, [self._request(record) for record in wired])
        for record in wired:
            member = members[record.id]
            record.netns = member.netns
            record.networks = {
                key: {"ipv4": item.ipv4, "ipv6": item.ipv6, "mac": item.mac, "interface": item.interface}
                for key, item in member.endpoints.items()
            }
        asleep = {record.id: True for record in wired if not members[record.id].live and not record.is_waiting}
        if asleep:
            attach.set_live(self.home, self.environment.name, asleep)

    def _request(self, record: Record) -> Request:
        from envkit.backend.embedded.attach import Request

        spec = record.spec
        networks = networks_of(spec)
        links = list(spec.get("links") or ())
        if BRIDGE in networks:  # nobody is known there by the service's name
            links = [_with_alias(link) for link in links]
        links += [_with_alias(link) for link in spec.get("external_links") or ()]
        return Request(
            id=record.id, service=record.service, replica=record.replica, name=record.name, directory=record.directory,
            networks=networks, hostname=record.hostname, domain=str(spec.get("domainname") or ""),
            mac_address=str(spec.get("mac_address") or ""), ports=record.ports,
            extra_hosts=spec.get("extra_hosts") or {}, links=links, dns=spec.get("dns") or (),
            dns_search=spec.get("dns_search") or (), dns_opt=spec.get("dns_opt") or (),
            use_aliases=BRIDGE not in networks and (not record.oneoff or bool(spec.get("use_aliases"))),
            live=not record.is_waiting,
        )  # fmt: skip

    def enforce(self, rows: Sequence[Record] = ()) -> None:
        """Begin to have the rules of new networks in force, and the published ports of the instances lead to them, but
        for those that wait for their turn. It is so once settle() has returned."""
        wanted = {record.id: True for record in rows if record.ports and record.netns and not record.is_waiting}
        if not wanted and not self._owed:
            return
        self.settle()
        owed, self._owed = self._owed, False

        def work() -> None:
            from envkit.backend.embedded import network, publish

            try:
                if wanted:
                    publish.set_published(self.home, self.environment.name, wanted)
                if owed:
                    network.enforce(self.home, self.environment.name)
            except BaseException as error:  # noqa: BLE001 - raised by settle()
                self._failure = error

        import threading

        self._enforcing = threading.Thread(target=work, name="enforce", daemon=True)
        self._enforcing.start()

    def settle(self) -> None:
        """Wait until what enforce() began is so. Raises HostError, UnsupportedError, OSError, each time."""
        if self._enforcing is not None:
            self._enforcing.join()
        if self._failure is not None:
            raise self._failure

    def mend(self, rows: Sequence[Record]) -> None:
        """Make living instances what their specs say now, and again what is missing of them: links, addresses, names,
        rules."""
        self.attach(rows)
        if wanted := {record.id: True for record in rows if record.ports and record.netns}:
            from envkit.backend.embedded import publish

            publish.set_published(self.home, self.environment.name, wanted)
        for record in rows:
            if not networks_of(record.spec) and os.path.exists(record.path("hosts")):
                self._own_files(record)

    def take_away(self, record: Record, paths: Sequence[str]) -> None:
        """Take away what somebody else has added inside the instance's network namespace (network_inside's paths)."""
        from envkit.backend.embedded.network_inside import take_away_foreign

        member = network_state.load(self.home, self.environment.name).members.get(record.id)
        if member is not None:
            take_away_foreign(member, list(paths))

    def files(self, record: Record, peer: Peer | None) -> list[Mount]:
        """The mounts of /etc/hosts, /etc/hostname and /etc/resolv.conf; their files are in the record directory.

        peer: the instance whose network is shared, and so its files.
        """
        directory = record.directory
        if peer is not None:
            directory = peer.directory
        else:
            from envkit.backend.embedded.hosts import write_in_place

            write_in_place(record.path("hostname"), f"{record.hostname}\n")
            if not networks_of(record.spec):
                self._own_files(record)
        read_only = bool(record.spec.get("read_only"))
        return [file_bind(f"{directory}/{name}", f"/etc/{name}", read_only=read_only) for name in NAME_FILES]

    def _own_files(self, record: Record) -> None:
        """hosts and resolv.conf of an instance without networks. They are bind-mounted, so the files stay the same."""
        from envkit.backend.embedded.hosts import write_in_place

        write_in_place(record.path("hosts"), self._hosts(record))
        write_in_place(record.path("resolv.conf"), self._resolver(record))

    def _hosts(self, record: Record) -> str:
        """/etc/hosts of an instance without networks: the host's where it shares the host's, plus `extra_hosts`."""
        text = _LOCALHOST
        if record.network_mode == "host":
            text = _read("/etc/hosts") or text
        elif record.hostname:
            text += f"127.0.0.1\t{record.hostname}\n"
        for name, addresses in (record.spec.get("extra_hosts") or {}).items():
            text += "".join(f"{'127.0.0.1' if item == 'host-gateway' else item}\t{name}\n" for item in addresses)
        return text

    def _resolver(self, record: Record) -> str:
        """/etc/resolv.conf of an instance without networks."""
        from envkit.host.resolv_conf import ResolvConf, read_resolv_conf

        spec = record.spec
        host = read_resolv_conf() if record.network_mode == "host" else ResolvConf()
        return ResolvConf(
            tuple(spec.get("dns") or host.nameservers), tuple(spec.get("dns_search") or host.search),
            tuple(spec.get("dns_opt") or host.options),
        ).text()  # fmt: skip


def _with_alias(link: str) -> str:
    return link if ":" in link else f"{link}:{link}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def detach(home: Home, rows: Sequence[Record]) -> None:
    """Take the instances' links, addresses, names and published ports away; absent ones are fine."""
    by_environment: dict[str, list[str]] = {}
    for record in rows:
        if networks_of(record.spec):
            by_environment.setdefault(record.environment, []).append(record.id)
    for environment, identities in by_environment.items():
        from envkit.backend.embedded import attach

        attach.detach_many(home, environment, identities)


def has_networks(home: Home, environment: str) -> bool:
    """Whether the environment has a network of its own, or an instance in any."""
    state = network_state.load(home, environment)
    return bool(state.networks.keys() - {BRIDGE} or state.members)


def forget_networks(home: Home, environment: str) -> None:
    """Drop what an environment without networks of its own may still know of others', and its rules."""
    state = network_state.load(home, environment)
    if not state.is_empty:
        from envkit.backend.embedded import network

        network.remove(home, environment, [*state.networks, *state.external])


def port_texts(record: Record) -> list[str]:
    """Published ports for people: 127.0.0.1:8080->80/tcp."""
    if not record.ports:
        return []
    from envkit.backend.embedded.network_observe import text_of

    return [text_of(port) for port in record.ports]


class Observer:
    """What the kernel has of an environment's networks now; asked once, and only where there are any."""

    def __init__(self, home: Home, environment: str) -> None:
        self._observation = None
        if os.path.exists(network_state.path_of(home, environment)):
            from envkit.backend.embedded.network_observe import Observation

            self._observation = Observation(home, environment)

    def networks(self, *, closely: bool = True) -> dict[Address, ObservedResource]:
        """The environment's networks, external ones included. closely: with their addresses and rules."""
        if self._observation is None:
            return {}
        found = {}
        for key, seen in (self._observation.networks() if closely else self._observation.known()).items():
            if key == BRIDGE:
                continue
            address = Address("network", key)
            found[address] = ObservedResource(
                address, seen.spec, seen.fingerprint, seen.expected, seen.actual, missing=seen.missing
            )
        return found

    def instance(self, record: Record) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """(expected, actual) of one instance's links and published ports."""
        return ({}, {}) if self._observation is None else self._observation.instance(record.id)

    def inside(self, record: Record, pid: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """(expected, actual) of what differs inside the instance's network namespace."""
        return ({}, {}) if self._observation is None else self._observation.inside(record.id, pid)
