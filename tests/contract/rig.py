"""What a contract test needs of a backend: the backend, a state directory, and specs that its programs can run."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

from envkit.address import Address
from envkit.backend.base import Backend
from envkit.digest import fingerprint
from envkit.events import Event
from envkit.host.home import Home
from envkit.observed.state import Instance
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.model import Plan
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import Outcome, apply_plan
from envkit.spec.environment import Environment, Resource
from tests.support.environments import environment, resource

LOOP = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
IMAGE = "busybox:test"


class Materials:
    """Contents that a test may change."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def secret(self, name: str) -> bytes:
        return self.contents[name]

    config = secret


class Rig:
    """One environment on one backend.

    restarts_in_place: a restart is the same instance's; expands: each replica is planned on its own.
    """

    restarts_in_place = True

    def __init__(self, backend: Backend, home: Home) -> None:
        self.backend, self.home = backend, home
        self.materials = Materials()
        self.events: list[Event] = []

    @property
    def expands(self) -> bool:
        return self.backend.capabilities().expands_replicas

    def in_place(self, number: int) -> dict[str, Any]:
        """Keys of a spec whose change touches no running process."""
        return {"restart": {"policy": "on-failure", "max_attempts": number}}

    def service(self, name: str, depends_on: Mapping[str, Any] | None = None, **spec: Any) -> Resource:
        """A service that runs until it is stopped, unless spec says otherwise."""
        full = {"image": IMAGE, "command": LOOP, "stop_grace_period": 1.0, "expose": ["80"], **spec}
        if "networks" not in full:
            full["network_mode"] = "none"
        return resource(f"service.{name}", {key: value for key, value in full.items() if value is not None}, depends_on)

    def environment(self, *resources: Resource, name: str = "contract") -> Environment:
        return environment(*resources, name=name, directory=self.home.root)

    def secret(self, name: str, content: bytes) -> dict[str, Any]:
        """The keys of a spec that has the secret, whose content is kept here."""
        self.materials.contents[name] = content
        target = {"source": name, "target": f"/run/secrets/{name}"}
        return {"secrets": [target], "secret_digests": {name: fingerprint(content.decode())}}

    def plan(self, desired: Environment, **options: Any) -> Plan:
        return make_plan(desired, self.backend.observe(desired), self.backend.capabilities(), **options)

    def apply(self, desired: Environment, plan: Plan | None = None) -> Outcome:
        return apply_plan(
            plan or self.plan(desired), self.backend, desired, materials=self.materials, emit=self.events.append,
            home=self.home, lock_timeout=20,
        )  # fmt: skip

    def settle(self, desired: Environment, plan: Plan | None = None) -> list[str]:
        """Apply, expect success and an empty plan after it; what was done, as `action address`."""
        plan = plan or self.plan(desired)
        outcome = self.apply(desired, plan)
        assert not outcome.failed, [str(error) for error in outcome.errors]
        assert not outcome.skipped
        after = self.plan(desired)
        assert after.is_empty, after.effective
        actions = {change.address: change.action.word for change in plan.effective}
        return sorted(f"{actions[address]} {address}" for address in outcome.done)

    def down(self, desired: Environment, *, volumes: bool = False) -> list[str]:
        observed = self.backend.observe(desired)
        plan = make_destroy_plan(observed, volumes=volumes, environment=desired, timeout=0)
        outcome = self.apply(desired, plan)
        assert not outcome.failed, [str(error) for error in outcome.errors]
        return sorted(str(address) for address in outcome.done)

    def instances(self, name: str = "contract") -> dict[str, Instance]:
        return {str(Address("service", row.service, row.replica)): row for row in self.backend.instances(name)}

    def control(self, address: str, verb: str) -> None:
        signal = "KILL" if verb == "kill" else ""
        where = [Address.parse(address)]
        self.backend.control("contract", where, verb, emit=self.events.append, signal=signal, timeout=1)

    def read(self, address: str, path: str) -> bytes:
        """The content of a file in an instance."""
        data = b"".join(self.backend.copy_from("contract", Address.parse(address), path))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            content = archive.extractfile(archive.getmembers()[0])
            assert content is not None
            return content.read()

    def write(self, address: str, path: str, content: bytes) -> None:
        """Put a file into an instance."""
        directory, _, name = path.rpartition("/")
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        self.backend.copy_to("contract", Address.parse(address), directory, iter([stream.getvalue()]))


@contextlib.contextmanager
def memory_rig(directory: str) -> Iterator[Rig]:
    from envkit.backend.memory.backend import Memory

    yield Rig(Memory(), Home(directory))


@contextlib.contextmanager
def embedded_rig(directory: str) -> Iterator[Rig]:
    """An installation of its own; afterwards nothing of it runs."""
    from envkit.backend.embedded.backend import Embedded
    from envkit.backend.embedded.session import engine_of
    from envkit.image.store import Store
    from tests.support.images import busybox_image

    home = Home(directory)
    busybox_image(Store(home), IMAGE)
    rig = Rig(Embedded(home), home)
    try:
        yield rig
    finally:
        for name in rig.backend.environments():
            rig.down(rig.environment(name=name))
        engine_of(home).release()


class PodmanRig(Rig):
    """Podman 4 changes neither limits nor restart policies of a container."""

    def in_place(self, number: int) -> dict[str, Any]:
        return {"container_name": f"named-{number}"}


@contextlib.contextmanager
def docker_rig(socket: str, directory: str, name: str = "docker") -> Iterator[Rig]:
    """A home of its own on a running engine, which has IMAGE; afterwards nothing is left in the engine but that."""
    from envkit.backend.docker.backend import Docker
    from envkit.backend.engine_api import EngineAddress

    home = Home(directory)
    kind = PodmanRig if name == "podman" else Rig
    rig = kind(Docker(home, EngineAddress(f"unix://{socket}"), name=name), home)
    try:
        yield rig
    finally:
        for environment in rig.backend.environments():
            rig.down(rig.environment(name=environment), volumes=True)


def give_image(
    socket: str, directory: str, reference: str = IMAGE, config: Mapping[str, Any] | None = None
) -> None:
    """Send an image of busybox to an engine."""
    from envkit.backend.engine_api import EngineAddress, connect
    from envkit.image.archive import stream
    from envkit.image.store import Store
    from tests.support.images import busybox_image

    store = Store(Home(directory))
    busybox_image(store, reference, config)
    connect(EngineAddress(f"unix://{socket}")).upload("/images/load", stream(store, [reference]), method="POST")
