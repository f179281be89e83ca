"""Which host port a published port really gets, and who has it already.

A port is a plain dictionary, as it is kept: {"target", "published" (int), "protocol", "host_ip"}; host_ip "" is every
address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from envkit.backend.embedded.network_observe import ANY, text_of
from envkit.backend.embedded.network_state import State, environments, load
from envkit.errors import ConflictError, HostError
from envkit.host import listeners
from envkit.host.home import Home
from envkit.host.sysctl import read_sysctl
from envkit.lean import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Port = Mapping[str, Any]


def clash(one: Port, other: Port) -> bool:
    """Whether two published ports cannot be had together."""
    if (one["protocol"], one["published"]) != (other["protocol"], other["published"]):
        return False
    return _addresses_meet(str(one["host_ip"]), str(other["host_ip"]))


def _addresses_meet(one: str, other: str) -> bool:
    if one == other or "" in (one, other):
        return True
    if (":" in one) != (":" in other):
        return False
    return one in ANY or other in ANY


def resolve(
    specs: Sequence[Mapping[str, Any]], identity: str, taken: Callable[[Port], str], before: Sequence[Port] = ()
) -> list[dict[str, Any]]:
    """A concrete host port for each PortSpec.

    identity: whose (chooses where the search for a free port begins). taken: the holder of a port, "" when it is free.
    before: the ports of the instance that this one replaces; a choice is repeated where it can be. Raises ConflictError
    when a port is taken, naming the holder.
    """
    found: list[dict[str, Any]] = []
    for spec in specs:
        candidates = _candidates(spec, identity, before)
        holder = ""
        for number in candidates:
            port = {
                "target": int(spec["target"]), "published": number, "protocol": spec["protocol"],
                "host_ip": spec["host_ip"],
            }  # fmt: skip
            repeated = any(clash(port, other) for other in found)
            holder = "another port of the same service" if repeated else taken(port)
            if not holder:
                found.append(port)
                break
        else:
            what = spec["published"] or "an ephemeral one"
            raise ConflictError(
                "a port is in use", f"{text_of(spec)} cannot be published: {what} is held by {holder}",
                "stop the holder, or publish another port",
            )  # fmt: skip
    return found


def _candidates(spec: Mapping[str, Any], identity: str, before: Sequence[Port]) -> list[int]:
    """Host ports to try, in order."""
    text = str(spec["published"])
    if text.isdigit() and int(text):
        return [int(text)]
    if "-" in text:
        first, _, last = text.partition("-")
        numbers = list(range(int(first), int(last) + 1))
    elif text in ("", "0"):
        low, high = map(int, (read_sysctl("net.ipv4.ip_local_port_range") or "32768 60999").split())
        digest = sha256(f"{identity}/{spec['target']}/{spec['protocol']}".encode()).digest()
        start = int.from_bytes(digest[:4], "big")
        numbers = [low + (start + step) % (high - low + 1) for step in range(min(512, high - low + 1))]
    else:
        raise HostError("a published port is not a number", text)
    old = [
        int(port["published"])
        for port in before
        if (port["target"], port["protocol"]) == (int(spec["target"]), spec["protocol"])
    ]
    return [*(number for number in old if number in numbers or text in ("", "0")), *numbers]


def holders(home: Home, leaving: Iterable[str] = ()) -> Callable[[Port], str]:
    """A function that names who holds a port: an instance of any environment here, or a process of the host.

    leaving: ids of instances that go before the port is needed. It sees the machine as it is now; ask it at once.
    """
    going = set(leaving)
    kept = [
        (port, f"{member.name} of the environment {name}")
        for name in environments(home)
        for member in load(home, name).members.values()
        if member.id not in going
        for port in member.ports
    ]
    kept += [(row, owner) for owner, row in listeners.foreign_tables(home.tag)]
    found: dict[str, list[listeners.Listener]] = {}

    def holder(port: Port) -> str:
        for other, name in kept:
            if clash(port, other):
                return name
        protocol = str(port["protocol"])
        if protocol not in found:
            found[protocol] = listeners.listening(protocol)
        for item in found[protocol]:
            if item.port == port["published"] and _addresses_meet(str(port["host_ip"]), item.address):
                return listeners.describe(item)
        return ""

    return holder


def find_port_conflicts(home: Home, ports: Sequence[Port], leaving: Iterable[str] = ()) -> list[tuple[Port, str]]:
    """(port, who holds it) for every concrete port that is taken."""
    if not ports:
        return []
    holder = holders(home, leaving)
    return [(port, who) for port in ports if (who := holder(port))]


def published_rows(state: State) -> list[tuple[Port, str, str]]:
    """(port, IPv4 address, IPv6 address) of everything that is published, in a fixed order. The last instance that
    publishes a port has it."""
    rows: dict[tuple[str, str, int], tuple[Port, str, str]] = {}
    for member in state.members.values():
        endpoint = member.endpoints.get(member.gateway)
        if not member.published or endpoint is None:
            continue
        for port in member.ports:
            key = (str(port["protocol"]), str(port["host_ip"]), int(port["published"]))
            rows[key] = (port, endpoint.ipv4, endpoint.ipv6)
    return [rows[key] for key in sorted(rows)]
