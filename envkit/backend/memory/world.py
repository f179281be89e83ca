"""The things of the memory backend and what can happen to them. No threads, no port: plain state.

`command: [true]` is a program that ends with 0 at once, `[false]` one that ends with 1; every other one runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

from envkit.address import Address
from envkit.digest import fingerprint
from envkit.errors import ApplyError, NotFoundError
from envkit.observed.state import Health, InstanceState, ObservedResource
from envkit.spec.environment import Resource
from envkit.values import field, struct

_ENDS = {("true",): 0, ("false",): 1}
Fault = Callable[[str, Address], None]


@struct
class Thing:
    """One object. identity: fresh whenever it is made, so that a holder of the old one can be told from the new."""

    spec: dict[str, Any]
    fingerprint: str
    identity: int
    complete: bool = False
    missing: bool = False
    image_digest: str = ""
    state: InstanceState = InstanceState.CREATED
    desired: str = "running"
    exit_code: int | None = None
    holds: dict[str, int] = field(default_factory=dict)  # path -> identity of what it holds on to
    expected: dict[str, Any] = field(default_factory=dict)
    actual: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    depends_on: list[str] = field(default_factory=list)
    environment: str = ""
    pending: list[str] = field(default_factory=list)
    begun: int = 0  # grows with every start of anything


def _no_fault(step: str, address: Address) -> None:
    pass


class World:
    """All environments of one memory backend.

    fault(step, address) is called before every lasting effect; what it raises happens to the caller. build(spec,
    digests of its bases) -> digest is how images come out. health: service -> Health of those that have a check.
    """

    def __init__(self) -> None:
        self.fault: Fault = _no_fault
        self.build: Callable[[Mapping[str, Any], Mapping[str, str]], str] = lambda spec, bases: fingerprint(
            [{key: value for key, value in spec.items() if key != "name"}, bases]
        )
        self.health: dict[str, Health] = {}
        self.images: dict[str, str] = {}
        self.things: dict[str, dict[Address, Thing]] = {}
        self.volumes: dict[str, Thing] = {}
        self._identities = count(1)

    # -- making and unmaking

    def make(self, environment: str, address: Address, resource: Resource) -> None:
        """Make a thing that is not a service instance; one that is there already stays the same one, data included."""
        self.fault("make", address)
        things = self.things.setdefault(environment, {})
        thing = Thing(dict(resource.spec), resource.fingerprint, next(self._identities), environment=environment)
        old = things.get(address) if address.kind != "volume" else self.volumes.get(resource.spec["name"])
        if old is not None and not old.missing:
            thing.identity, thing.files = old.identity, old.files
        if address.kind == "volume":
            self.volumes[resource.spec["name"]] = thing
        if address.kind == "image":
            bases = {item.address.name: self.images[item.address.name] for item in resource.depends_on}
            self.images[address.name] = thing.image_digest = self.build(resource.spec, bases)
            self.fault("tag", address)
        things[address] = thing
        self.fault("complete", address)
        thing.complete = True

    def remove(self, environment: str, address: Address) -> None:
        """Forget a thing; absent is fine."""
        things = self.things.get(environment, {})
        if address not in things:
            return
        self.fault("remove", address)
        thing = things.pop(address)
        if address.kind == "volume":
            self.volumes.pop(thing.spec["name"], None)
        if not things:
            del self.things[environment]

    def create(
        self, environment: str, address: Address, resource: Resource, files: dict[str, bytes], image_digest: str = ""
    ) -> None:
        """Make and start a service instance. image_digest: of its image, whatever the name means now."""
        image = resource.spec.get("image", "")
        if Address("image", image) in {item.address for item in resource.depends_on} and image not in self.images:
            raise NotFoundError("There is no such image", image, "envkit build")
        self.fault("record", address)
        thing = Thing(dict(resource.spec), resource.fingerprint, next(self._identities), environment=environment)
        thing.image_digest = image_digest or self.images.get(image, fingerprint(image))
        thing.files = files
        thing.depends_on = [item.address.name for item in resource.depends_on if item.address.kind == "service"]
        self.things.setdefault(environment, {})[address] = thing
        self.fault("attach", address)
        self._settle(environment, address, thing)
        self.start(environment, address)
        self.fault("complete", address)
        thing.complete = True

    def update(self, environment: str, address: Address, resource: Resource, restart: bool) -> None:
        """Bring an existing instance to resource's spec and to the state that it ought to have."""
        thing = self.find(environment, address)
        self.fault("settle", address)
        thing.spec = dict(resource.spec)
        self._settle(environment, address, thing)
        if thing.state is InstanceState.PAUSED:
            thing.state = InstanceState.RUNNING
        if restart:
            self.start(environment, address)
        self.fault("complete", address)
        thing.fingerprint, thing.complete = resource.fingerprint, True

    def start(self, environment: str, address: Address) -> None:
        """Let the program run (from its beginning)."""
        thing = self.find(environment, address)
        self.fault("start", address)
        thing.desired, thing.pending, thing.begun = "running", [], next(self._identities)
        ends = _ENDS.get(tuple(thing.spec.get("command", ())))
        thing.state = InstanceState.RUNNING if ends is None else InstanceState.EXITED
        thing.exit_code = ends
        thing.log.append("started")

    def announce(self, environment: str, address: Address, pending: list[str]) -> None:
        """An existing instance is going to be started anew for the sake of these paths."""
        thing = self.things.get(environment, {}).get(address)
        if thing is not None and pending:
            self.fault("announce", address)
            thing.pending = pending

    def end(self, environment: str, address: Address, code: int, *, by_user: bool = False) -> None:
        """The program ends."""
        thing = self.find(environment, address)
        thing.state, thing.exit_code = InstanceState.EXITED, code
        thing.desired = "stopped" if by_user else thing.desired
        thing.log.append(f"ended with {code}")

    def _settle(self, environment: str, address: Address, thing: Thing) -> None:
        """Everything about an instance but its life: attachments, limits, published ports."""
        things, spec = self.things[environment], thing.spec
        thing.holds = {}
        for key in spec.get("networks", {}):
            if (network := things.get(Address("network", key))) is not None and not network.missing:
                thing.holds[f"networks.{key}"] = network.identity
        for mount in spec.get("mounts", ()):
            if mount.get("type") == "volume" and mount.get("source"):
                volume = things.get(Address("volume", mount["source"]))
                if volume is None or volume.missing:
                    raise ApplyError("A volume is not there", mount["source"], address=str(address))
                thing.holds[f"mounts[{mount['target']}]"] = volume.identity
        facts = {f"limits.{key}": value for key, value in spec.get("limits", {}).items()}
        for port in spec.get("ports", ()):
            facts[f"published.{port['target']}/{port['protocol']}"] = f"{port['host_ip']}:{port['published']}"
        thing.expected, thing.actual = facts, dict(facts)

    # -- looking

    def find(self, environment: str, address: Address) -> Thing:
        """Raises NotFoundError when there is no such thing."""
        thing = self.things.get(environment, {}).get(address)
        if thing is None or (thing.missing and address.kind == "service"):
            raise NotFoundError("There is no such instance", f"{address} of {environment}", "envkit apply makes it")
        return thing

    def health_of(self, address: Address, thing: Thing) -> Health:
        test = thing.spec.get("healthcheck", {}).get("test", ["NONE"])
        if thing.state is not InstanceState.RUNNING or test[0] == "NONE":
            return Health.NONE
        return self.health.get(address.name, Health.HEALTHY)

    def observe(self, environment: str) -> Iterator[ObservedResource]:
        """Every thing of the environment, as it is."""
        things = self.things.get(environment, {})
        for address, thing in things.items():
            expected, actual = dict(thing.expected), dict(thing.actual)
            attributes: dict[str, Any] = {}
            if address.kind == "service":
                expected["state"], actual["state"] = str(InstanceState.RUNNING), str(thing.state)
                for path, identity in thing.holds.items():
                    expected[path], actual[path] = identity, self._identity(things, path, thing.spec)
                attributes = {
                    "exit_code": thing.exit_code, "desired": thing.desired, "depends_on": list(thing.depends_on),
                    "id": f"{thing.identity:012x}", **({"pending": thing.pending} if thing.pending else {}),
                }  # fmt: skip
            missing = thing.missing or (address.kind == "image" and address.name not in self.images)
            yield ObservedResource(
                address, thing.spec, thing.fingerprint, expected, actual, thing.image_digest, attributes, missing,
                thing.complete,
            )  # fmt: skip

    def _identity(self, things: Mapping[Address, Thing], path: str, spec: Mapping[str, Any]) -> int | None:
        if path.startswith("networks."):
            held = things.get(Address("network", path.removeprefix("networks.")))
        else:
            sources = {f"mounts[{mount['target']}]": mount.get("source", "") for mount in spec.get("mounts", ())}
            held = things.get(Address("volume", sources.get(path, "")))
        return None if held is None or held.missing else held.identity
