"""What is known about an environment's networks and who is in them: HOME/environments/ENV/network.json.

Changed only under the installation's network lock; replaced atomically, so that readers need none. The kernel's side is
made from it and compared with it.
"""

from __future__ import annotations

import os

from envkit.errors import HostError, NotFoundError
from envkit.host import files
from envkit.host.lock import Lock
from envkit.host.proc import boot_id
from envkit.lean import contextmanager
from envkit.values import field, field_names, struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from envkit.host.home import Home


@struct
class Network:
    """One bridge; or a macvlan or ipvlan, whose instances have links of their own on `parent`.

    id: ENVIRONMENT/KEY, its identity in the installation; name: the runtime's name; subnets: see subnets.decide;
    isolated: its instances do not see one another; shared: instances of other environments may be in it.
    kind: bridge, macvlan or ipvlan; parent: a link of the host. A macvlan without one (Docker gives it a dummy) is a
    bridge on which the host has no address.
    """

    id: str
    name: str
    bridge: str
    mtu: int
    subnets: list[dict[str, Any]]
    spec: dict[str, Any]
    fingerprint: str
    internal: bool = False
    masquerade: bool = True
    isolated: bool = False
    shared: bool = False
    kind: str = "bridge"
    parent: str = ""

    @property
    def is_bridge(self) -> bool:
        return self.kind == "bridge"

    @property
    def link(self) -> str:
        """The link of the host that instances are on."""
        return self.parent or self.bridge

    def subnet(self, version: int) -> dict[str, Any] | None:
        """The first subnet of IPv4 or IPv6."""
        return next((item for item in self.subnets if (":" in item["subnet"]) == (version == 6)), None)

    def gateway(self, version: int = 4) -> str:
        """The bridge's address; "" when the network has none of that version."""
        subnet = self.subnet(version)
        return str(subnet["gateway"]) if subnet else ""

    @property
    def gateways(self) -> list[str]:
        """The bridge's addresses with their prefixes; a macvlan's gateway is not this host."""
        return [f"{item['gateway']}/{item['subnet'].partition('/')[2]}" for item in self.subnets if self.is_bridge]


@struct
class Endpoint:
    """An instance's place in one network. network: a Network's id; veth: the end on the bridge, "" on a parent;
    interface: the other end; names: what it answers to there, besides its own name; sysctls: KEY=VALUE of that
    interface."""

    network: str
    veth: str
    interface: str
    mac: str
    ipv4: str = ""
    ipv6: str = ""
    names: list[str] = field(default_factory=list)
    link_local: list[str] = field(default_factory=list)
    sysctls: list[str] = field(default_factory=list)


@struct
class Member:
    """An instance with networks.

    endpoints: network key -> Endpoint, in the order of interfaces; gateway: the key of the network with the default
    route, "" without one; ports: see ports.resolve; live: it is (to be) found by its names; published: its ports lead
    to it.
    """

    id: str
    service: str
    replica: int
    name: str
    directory: str
    netns: str
    endpoints: dict[str, Endpoint]
    gateway: str = ""
    hostname: str = ""
    domain: str = ""
    extra_hosts: dict[str, list[str]] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    dns: list[str] = field(default_factory=list)
    ports: list[dict[str, Any]] = field(default_factory=list)
    live: bool = True
    published: bool = False


@struct
class External:
    """A network of another environment that this one uses. id: its Network's."""

    id: str
    spec: dict[str, Any]
    fingerprint: str


@struct
class State:
    """networks: the environment's own, by key. external: by key. table: digest of the nft table as it was last loaded,
    "" for none. Members and table do not outlive a boot."""

    environment: str
    networks: dict[str, Network] = field(default_factory=dict)
    external: dict[str, External] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    table: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.networks or self.external or self.members or self.table)


def path_of(home: Home, environment: str) -> str:
    return os.path.join(home.environment(environment), "network.json")


def netns_path(home: Home, identity: str) -> str:
    """Where an instance's network namespace is pinned."""
    return os.path.join(home.run, "netns", identity)


def load(home: Home, environment: str) -> State:
    """The state of one environment; empty when there is none, or a power cut has torn it: it is not kept with fsync,
    for nothing of a network outlives a boot but the choice of its addresses, which is made the same way again."""
    try:
        value = files.read_json(path_of(home, environment))
    except HostError:
        value = None
    if not isinstance(value, dict):
        return State(environment)
    networks = {key: Network(**item) for key, item in value["networks"].items()}
    if value["boot"] != boot_id():
        value["members"], value["table"] = {}, ""
    members = {}
    for identity, item in value["members"].items():
        endpoints = {key: Endpoint(**entry) for key, entry in item.pop("endpoints").items()}
        members[identity] = Member(endpoints=endpoints, **item)
    external = {key: External(**item) for key, item in value["external"].items()}
    return State(environment, networks, external, members, value["table"])


def save(home: Home, state: State) -> None:
    """Write it; an empty state is no file."""
    path = path_of(home, state.environment)
    if state.is_empty:
        files.remove_tree(path)
        return
    files.make_directory(os.path.dirname(path), 0o700)
    value = {
        "networks": {key: _plain(item) for key, item in state.networks.items()},
        "external": {key: _plain(item) for key, item in state.external.items()},
        "members": {key: _plain(item) for key, item in state.members.items()},
        "table": state.table,
        "boot": boot_id(),
    }
    files.write_json(path, value, 0o600, durable=False)


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """The installation's network lock: subnets, addresses and tables are decided by one at a time."""
    files.make_directory(home.run, 0o700)
    with Lock(os.path.join(home.run, "network.lock"), {"purpose": "network"}):
        yield


def environments(home: Home) -> list[str]:
    """Environments that have a state."""
    try:
        names = sorted(os.listdir(home.environments))
    except FileNotFoundError:
        return []
    return [name for name in names if os.path.exists(path_of(home, name))]


def _plain(item: Network | External | Endpoint | Member) -> dict[str, Any]:
    """values.as_dict without its copying, which costs 50 ms per 100 members."""
    value = {name: getattr(item, name) for name in field_names(item)}
    if isinstance(item, Member):
        value["endpoints"] = {key: _plain(entry) for key, entry in item.endpoints.items()}
    return value


def load_others(home: Home, state: State) -> list[State]:
    """The states of all other environments."""
    return [load(home, name) for name in environments(home) if name != state.environment]


def network_of(home: Home, state: State, key: str) -> Network:
    """A network by the environment's key. Raises NotFoundError when it was not made (or is gone)."""
    if key in state.networks:
        return state.networks[key]
    network = None
    if key in state.external:
        owner, _, own_key = state.external[key].id.partition("/")
        network = load(home, owner).networks.get(own_key)
    if network is None:
        raise NotFoundError("a network does not exist", f"{key} of {state.environment}", "apply the environment again")
    return network


def reach(home: Home, state: State) -> list[State]:
    """The states whose members may be in this environment's networks: itself, and others where networks are shared."""
    if state.external or any(network.shared for network in state.networks.values()):
        return [state, *load_others(home, state)]
    return [state]
