"""A shop with something of everything for the live view: services in every state, on the memory backend."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

from envkit.address import Address
from envkit.backend.base import LogEntry, LogQuery, Usage
from envkit.backend.memory.backend import Memory
from envkit.errors import ApplyError
from envkit.events import ignore
from envkit.host.home import Home
from envkit.observed.state import Health, Instance
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import apply_plan
from envkit.values import replace
from envkit.views.live.app import LiveView
from envkit.views.live.feed import Feed
from tests.support.environments import KeyedMaterials, environment, resource

MIB = 1 << 20
_USE = {"web": (0.034, 61), "web[2]": (0.029, 58), "api": (0.412, 188), "cache": (0.004, 9), "db": (0.018, 143)}
_AGES = {"db": "4d", "cache": "4d", "api": "3h5m", "web": "12m", "web[2]": "12m", "worker": "42s"}
_LINES = {
    "api": [
        "\x1b[32mINFO\x1b[0m  listening on 0.0.0.0:9000",
        "\x1b[32mINFO\x1b[0m  GET /items 200 3.1 ms",
        "\x1b[33mWARN\x1b[0m  slow query: select id, title, price, stock, updated_at from items where title ilike "
        "'%lamp%' order by updated_at desc limit 50 (812 ms)",
        "\x1b[31mERROR\x1b[0m POST /orders 502: the worker does not answer",
    ],
    "db": ["database system is ready to accept connections", "checkpoint complete: wrote 44 buffers (0.3%)"],
}


class Showcase(Memory):
    """Memory whose services use something, have been up for a while, and print lines."""

    def instances(self, environment: str) -> list[Instance]:
        return [self._dressed(row) for row in super().instances(environment)]

    def _dressed(self, row: Instance) -> Instance:
        name = row.service if row.replica == 1 else f"{row.service}[{row.replica}]"
        ago = _AGES.get(name, "5m")
        return replace(row, started_at=ago, restarts=7 if row.service == "worker" else 0)

    def usage(self, environment: str) -> list[Usage]:
        return [
            Usage(f"service.{name}", cpu, memory * MIB, 512 * MIB if name == "api" else 0, 4, 0, 0, 0, 0)
            for name, (cpu, memory) in _USE.items()
        ]

    def logs(self, environment: str, query: LogQuery) -> Iterator[LogEntry]:
        for name, lines in _LINES.items():
            for line in lines:
                yield LogEntry(name, 1, "", "stdout", line)
        yield from super().logs(environment, query)


def shop() -> Any:
    """web (two replicas), api, cache, db, worker, and migrate, which has ended."""
    port = {"host_ip": "127.0.0.1", "published": "8080", "target": 80, "protocol": "tcp"}
    check = {"test": ["CMD", "true"]}
    web = {"image": "nginx:1.27", "ports": [port], "replicas": 2, "healthcheck": check}
    services = {
        "web": web, "api": {"image": "shop/api:3", "limits": {"memory": 512 * MIB}, "healthcheck": check},
        "cache": {"image": "valkey:8"}, "db": {"image": "postgres:17", "healthcheck": check},
        "worker": {"image": "shop/api:3", "healthcheck": check},
        "migrate": {"image": "shop/api:3", "command": ["true"]},
    }  # fmt: skip
    return environment(*(resource(f"service.{name}", spec) for name, spec in services.items()))


class Stage:
    """The shop, applied; `drift` makes it differ from its files."""

    def __init__(self, directory: str) -> None:
        self.home = Home(os.path.join(directory, "home"))
        self.memory, self.desired = Showcase(), shop()
        self.calls: list[tuple[str, ...]] = []
        self.fail = ""
        self.memory.world.health["worker"] = Health.UNHEALTHY
        self.apply()
        self.calls.clear()

    def drift(self) -> None:
        self.memory.world.find("shop", Address("service", "api")).actual["limits.memory"] = 64 * MIB
        self.memory.world.end("shop", Address("service", "cache"), 137)

    def feed(self) -> Feed:
        return Feed(self.memory, self.desired, lambda: self.desired)

    def view(self, *, kind: str = "status", theme: str = "envkit-dark") -> LiveView:
        return LiveView(self.feed(), self, kind=kind, theme=theme, base="/srv/shop")

    # -- Hands

    def control(self, address: str, verb: str) -> None:
        self.calls.append((verb, address))
        if self.fail:
            raise ApplyError(self.fail, address, "look closer")
        self.memory.control("shop", [Address.parse(address)], verb, emit=ignore)

    def shell(self, address: str) -> int:
        self.calls.append(("shell", address))
        return 3

    def apply(self) -> str:
        self.calls.append(("apply",))
        plan = make_plan(self.desired, self.memory.observe(self.desired), self.memory.capabilities())
        outcome = apply_plan(plan, self.memory, self.desired, materials=KeyedMaterials({}), home=self.home)
        return f"applied: {len(outcome.done)} changes"


def picture_of(svg: str, path: str) -> None:
    """Write an SVG screenshot of textual's as the PNG at path. SVG drops spaces unless it is told not to."""
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    subprocess.run(["rsvg-convert", "--zoom", "1", "-o", path], input=svg.encode(), check=True, timeout=60)


def shown(view: LiveView) -> str:
    """The text on the screen, line by line."""
    lines = view.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines)
