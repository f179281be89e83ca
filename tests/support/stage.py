"""Environments of a few services for tests of the embedded backend, planned and applied as the commands do it."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from typing import Any

from envkit.address import Address
from envkit.backend.embedded.backend import Embedded
from envkit.digest import fingerprint
from envkit.errors import NotFoundError
from envkit.events import Event
from envkit.host.home import Home
from envkit.image.store import Store
from envkit.observed.state import Instance
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.model import Plan
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import Outcome, apply_plan
from envkit.spec.environment import Dependency, Environment, Resource
from tests.support.images import busybox_image, busybox_layer

LOOP = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]


class Supply:
    """Secrets and configs in memory."""

    def __init__(self, secrets: Mapping[str, bytes] | None = None, configs: Mapping[str, bytes] | None = None) -> None:
        self.secrets, self.configs = dict(secrets or {}), dict(configs or {})

    def secret(self, name: str) -> bytes:
        if name not in self.secrets:
            raise NotFoundError("A secret's source is gone", name)
        return self.secrets[name]

    def config(self, name: str) -> bytes:
        if name not in self.configs:
            raise NotFoundError("A config's source is gone", name)
        return self.configs[name]


def service(name: str, spec: Mapping[str, Any], depends: tuple[Dependency, ...] = ()) -> Resource:
    """A service on busybox:test without a network unless spec says otherwise."""
    full: dict[str, Any] = {"image": "busybox:test", "command": LOOP, "stop_grace_period": 1.0, **spec}
    if "networks" not in full:
        full.setdefault("network_mode", "none")
    known = {row["source"] for row in full.get("mounts", ()) if row["type"] == "volume" and row.get("source")}
    wanted = [Dependency(Address("volume", key)) for key in sorted(known)]
    wanted += [Dependency(Address("network", key)) for key in full.get("networks", {})]
    return Resource(Address("service", name), full, fingerprint(full), (*wanted, *depends))


def seeded_image(home: Home, reference: str = "seeded:test") -> str:
    """busybox and /srv/seed: a directory with content, an owner and a mode that a new volume takes over."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, mode, content in (
            ("srv", 0o755, None), ("srv/seed", 0o2770, None), ("srv/seed/index.html", 0o644, b"seeded\n"),
            ("srv/seed/deep", 0o755, None), ("srv/seed/deep/file", 0o644, b"deep\n"),
        ):  # fmt: skip
            member = tarfile.TarInfo(path)
            member.mode, member.uid, member.gid = mode, *((1000, 1001) if path == "srv/seed" else (0, 0))
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
        link = tarfile.TarInfo("var/run")
        link.type, link.linkname = tarfile.SYMTYPE, "/run"
        archive.addfile(link)
    store = Store(home)
    with store.session():
        below = store.add_layer(io.BytesIO(busybox_layer()))
        layer = store.add_layer(io.BytesIO(buffer.getvalue()), [below])
        return store.add_image({"config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}}, [below, layer], reference)


class Stage:
    """An installation below a test's directory with one environment."""

    def __init__(self, home: Home, name: str = "stage") -> None:
        self.home, self.name = home, name
        self.backend = Embedded(home)
        self.events: list[Event] = []
        self.supply = Supply()

    def image(self, reference: str = "busybox:test", **config: Any) -> str:
        """Store a busybox image with these keys in its OCI config object."""
        return busybox_image(Store(self.home), reference, config)

    def environment(
        self, services: Mapping[str, Mapping[str, Any] | Resource],
        volumes: Mapping[str, Mapping[str, Any]] | None = None,
        networks: Mapping[str, Mapping[str, Any]] | None = None, hardened: bool = True,
    ) -> Environment:  # fmt: skip
        resources: dict[Address, Resource] = {}
        for kind, rows in (("network", networks or {}), ("volume", volumes or {})):
            for key, spec in rows.items():
                full = {"name": f"{self.name}_{key}", **spec}
                resources[Address(kind, key)] = Resource(Address(kind, key), full, fingerprint(full))
        for name, spec in services.items():
            made = spec if isinstance(spec, Resource) else service(name, spec)
            resources[made.address] = made
        return Environment(self.name, os.getcwd(), ("envkit.yaml",), hardened, resources)

    def plan(self, environment: Environment) -> Plan:
        return make_plan(environment, self.backend.observe(environment), self.backend.capabilities())

    def apply(self, environment: Environment) -> Outcome:
        return self.carry_out(self.plan(environment), environment)

    def carry_out(self, plan: Plan, environment: Environment) -> Outcome:
        return apply_plan(
            plan, self.backend, environment, materials=self.supply, emit=self.events.append, home=self.home,
            lock_timeout=10,
        )  # fmt: skip

    def down(self, environment: Environment, *, volumes: bool = False, timeout: float | None = None) -> Outcome:
        observed = self.backend.observe(environment)
        return self.carry_out(
            make_destroy_plan(observed, volumes=volumes, timeout=timeout, environment=environment), environment
        )

    def ps(self) -> dict[str, Instance]:
        rows = self.backend.instances(self.name)
        return {row.service if row.replica == 1 else f"{row.service}[{row.replica}]": row for row in rows}
