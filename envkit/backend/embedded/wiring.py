"""Where instances meet the network: attaching, name files, published ports, and what is observed of them.

The one place of the instance side that knows the network's modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envkit.address import Address
from envkit.backend.embedded.mounts import Mount, file_bind
from envkit.backend.embedded.namespaces import Peer
from envkit.backend.embedded.record import Record
from envkit.events import Emit
from envkit.host.home import Home
from envkit.observed.state import ObservedResource
from envkit.plan.model import Change
from envkit.spec.environment import Environment


class Wires:
    def __init__(self, home: Home, environment: Environment, emit: Emit) -> None:
        self.home = home
        self.environment = environment
        self.emit = emit

    def check_ports(self, record: Record, going: Sequence[Record]) -> None:
        """Raise ConflictError when a port that record publishes is taken by anybody but the instances that go."""

    def attach(self, rows: Sequence[Record]) -> None:
        """Give every instance its network namespace, links and addresses."""

    def publish(self, rows: Sequence[Record]) -> None:
        """Let published ports lead to their instances, and names to their addresses."""

    def apply_network(self, change: Change) -> None:
        """Carry out a network's change."""

    def mend(self, rows: Sequence[Record]) -> None:
        """Repair what is missing of living instances."""

    def files(self, record: Record, peer: Peer | None) -> list[Mount]:
        """The mounts of /etc/hosts, /etc/hostname and /etc/resolv.conf."""
        directory = peer.directory if peer is not None else record.directory
        if peer is None:
            contents = {"hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n", "hostname": record.hostname + "\n",
                        "resolv.conf": ""}
            for name, text in contents.items():
                with open(record.path(name), "w", encoding="utf-8") as file:
                    file.write(text)
        read_only = bool(record.spec.get("read_only"))
        return [
            file_bind(f"{directory}/{name}", f"/etc/{name}", read_only=read_only)
            for name in ("hosts", "hostname", "resolv.conf")
        ]


def has_networks(home: Home, environment: str) -> bool:
    return False


def detach(home: Home, rows: Sequence[Record]) -> None:
    """Take the instances' links, addresses, names and published ports away."""


def port_texts(record: Record) -> list[str]:
    return []


class Observer:
    def __init__(self, home: Home, environment: str, rows: Sequence[Record]) -> None:
        self.home = home

    def networks(self) -> dict[Address, ObservedResource]:
        return {}

    def instance(self, record: Record) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return {}, {}
