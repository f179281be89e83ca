"""What is there of an environment's networks, links and published ports, compared with what should be. Writes nothing.

One look at the kernel serves all questions; imports little, for it is on the path of every plan.
"""

from __future__ import annotations

from envkit.backend.embedded.network_state import load, reach
from envkit.host import links, nft_read
from envkit.lean import cached_property
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.embedded.network_state import Member, Network, State
    from envkit.host.home import Home

FAMILY = "inet"
ANY = ("", "0.0.0.0", "::")


@value
class Observed:
    """What is known and what is there of one network; expected and actual as in ObservedResource."""

    spec: Mapping[str, Any]
    fingerprint: str
    expected: Mapping[str, Any] = field(default_factory=dict)
    actual: Mapping[str, Any] = field(default_factory=dict)
    missing: bool = False


def table_name(home: Home, environment: str) -> str:
    """The environment's nft table."""
    return f"envkit-{home.tag}-{environment}"


def rules_state(home: Home, state: State) -> str:
    """ "in force" while the environment's nft table is as it was loaded; else "missing" or "changed"."""
    now = nft_read.digest(FAMILY, table_name(home, state.environment))
    if now == state.table:
        return "in force"
    return "changed" if now else "missing"


class Observation:
    """The machine as it was when first asked."""

    def __init__(self, home: Home, environment: str) -> None:
        self.home = home
        self.state = load(home, environment)

    @cached_property
    def _links(self) -> dict[str, links.Link]:
        return {link.name: link for link in links.links()}

    @cached_property
    def _addresses(self) -> set[tuple[int, str]]:
        return set(links.addresses())

    @cached_property
    def _bridges(self) -> dict[str, str]:
        return {item.id: item.bridge for one in reach(self.home, self.state) for item in one.networks.values()}

    @cached_property
    def rules(self) -> str:
        """The state of the nft table: "in force", "missing" or "changed"."""
        return rules_state(self.home, self.state)

    @cached_property
    def _led(self) -> set[tuple[str, str, int]]:
        """(host_ip, protocol, port) of what the kernel's table leads somewhere now."""
        from envkit.host.listeners import ports_of_table

        rows = ports_of_table(table_name(self.home, self.state.environment))
        found = {(str(row["host_ip"]), str(row["protocol"]), int(row["published"])) for row in rows}
        return found | {(every, protocol, port) for host, protocol, port in found if not host for every in ANY}

    def networks(self) -> dict[str, Observed]:
        """Every network of the environment by key, external ones included."""
        found = {}
        for key, network in self.state.networks.items():
            link = self._links.get(network.link)
            expected = {"bridge": "up", "rules": "in force"}
            actual = {"bridge": "missing" if link is None else "up" if link.up else "down", "rules": self.rules}
            for address in network.gateways:
                expected[f"address.{address}"] = "present"
                there = link is not None and (link.ifindex, address) in self._addresses
                actual[f"address.{address}"] = "present" if there else "missing"
            found[key] = Observed(network.spec, network.fingerprint, expected, actual, missing=link is None)
        for key, external in self.state.external.items():
            missing = external.id not in self._bridges
            found[key] = Observed(external.spec, external.fingerprint, missing=missing)
        return found

    def known(self) -> dict[str, Observed]:
        """networks() without a look at anything but whether the bridges are there."""
        own = {
            key: Observed(network.spec, network.fingerprint, missing=not links.index_of(network.link))
            for key, network in self.state.networks.items()
        }
        return own | {key: Observed(item.spec, item.fingerprint) for key, item in self.state.external.items()}

    def instance(self, identity: str) -> tuple[dict[str, str], dict[str, str]]:
        """(expected, actual) of one instance: `networks.KEY`: is its link in its bridge; `published.PORT/PROTOCOL`.

        Both empty for an instance without networks.
        """
        member = self.state.members.get(identity)
        if member is None:
            return {}, {}
        expected, actual = {}, {}
        for key, endpoint in member.endpoints.items():
            if not endpoint.veth:
                continue  # no end of it is here: inside() looks
            link, bridge = self._links.get(endpoint.veth), self._links.get(self._bridges.get(endpoint.network, ""))
            plugged = link is not None and bridge is not None and link.master == bridge.ifindex
            expected[f"networks.{key}"] = "attached"
            actual[f"networks.{key}"] = "attached" if plugged else "detached" if link else "missing"
        for path, text, there in self._ports(member):
            expected[path] = text
            actual[path] = text if there else "missing"
        return expected, actual

    def inside(self, identity: str, pid: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """(expected, actual) of what differs inside one instance's network namespace."""
        member = self.state.members.get(identity)
        if member is None:
            return {}, {}
        from envkit.backend.embedded.network_inside import inside

        unplugged = [key for key, item in member.endpoints.items() if item.veth and item.veth not in self._links]
        return inside(member, self._by_id, pid, unplugged)

    @cached_property
    def _by_id(self) -> dict[str, Network]:
        return {item.id: item for one in reach(self.home, self.state) for item in one.networks.values()}

    def _ports(self, member: Member) -> list[tuple[str, str, bool]]:
        """(path, text, is it led) of every port."""
        if not member.published:
            return []
        intact = self.rules == "in force"
        return [
            (
                f"published.{port['published']}/{port['protocol']}",
                text_of(port),
                intact or (str(port["host_ip"]), port["protocol"], port["published"]) in self._led,
            )
            for port in member.ports
        ]


def text_of(port: Mapping[str, Any]) -> str:
    """127.0.0.1:8080->80/tcp; the host's address is left out when it is every one."""
    address = str(port["host_ip"])
    host = f"[{address}]:" if ":" in address else f"{address}:" if address else ""
    left = f"{host}{port['published']}->" if port["published"] else ""
    return f"{left}{port['target']}/{port['protocol']}"
