"""Service instances: containers made, changed, replaced and removed, one change at a time in a thread of its own.

A container that needs anything between its creation and its start (files of secrets, a predecessor that has to go)
gets its name at the last moment: what bears a scratch name was cut off, and the next session removes it.
"""

from __future__ import annotations

import math

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker import (
    encode,
    encode_network,
    facts,
    files,
    hooks,
    look,
    names,
    oneoff,
    places,
    removal,
    succession,
    update,
)
from envkit.backend.docker.blame import last_lines
from envkit.backend.engine_api import EngineConflictError, EngineError, EngineNotFoundError
from envkit.errors import ApplyError, EnvkitError, NotFoundError
from envkit.lean import cached_property, suppress
from envkit.observed.state import InstanceState
from envkit.plan.model import Action, Change, Effect
from envkit.values import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from envkit.backend.base import Materials
    from envkit.backend.docker.images import Supply
    from envkit.backend.engine_api import Engine
    from envkit.backend.ledger import Ledger
    from envkit.events import Emit
    from envkit.spec.environment import Environment, Resource

GRACE = 10.0
"""Seconds that the engine gives a container that does not say otherwise."""


@struct
class Made:
    """A container that was created and is not yet started."""

    identity: str
    final: str
    scratch: bool


class Services:
    """The service side of one session."""

    def __init__(
        self, engine: Engine, environment: Environment, ledger: Ledger, supply: Supply, materials: Materials, emit: Emit
    ) -> None:
        self.engine = engine
        self.environment = environment
        self.ledger = ledger
        self.emit = emit
        self.supply = supply
        self.materials = materials
        self._present: dict[Address, Mapping[str, Any]] = {}
        self._oneoffs: list[Mapping[str, Any]] = []
        self._images: dict[str, Mapping[str, Any]] = {}
        self.place = places.place_of(environment)
        self.before = hooks.PreStart(self)
        self.take: Callable[[Address], Made | None] = lambda address: None
        """What was made ahead for an address."""
        self.note_stopped: Callable[[Address], None] = lambda address: None
        """Told when a container that goes has stopped."""

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """Service -> Compose's own hash of it."""
        return places.compose_hashes(self.materials)

    def know(self, found: Sequence[Mapping[str, Any]]) -> None:
        """What is there now."""
        self._present = look.instances(found)[0]
        self._oneoffs = [item for item in found if look.address_of(item) is None]

    def prepare(self, changes: Iterable[Change]) -> None:
        """Look the images of a batch up, each once. One that is absent is its services' failure, later."""
        for change in changes:
            if change.resource is not None:
                name = str(change.resource.spec["image"])
                if name not in self._images:
                    try:
                        self._images[name] = self.supply.identity(name)
                    except NotFoundError:
                        continue

    def foresee(self, changes: Sequence[Change]) -> None:
        """Look up what will be needed, beside other work. What goes wrong does so again where it matters."""
        with suppress(EnvkitError):
            self.prepare(changes)
            _ = self.hashes

    def _note(self, inspection: Mapping[str, Any], **applied: Any) -> None:
        """Remember what a container looks like that has just been made or changed, as the engine says it."""
        found = facts.of(inspection, {name: key for key, name in self.place.networks.items()})
        if found["state"] in (InstanceState.EXITED, InstanceState.RESTARTING, InstanceState.CREATED):
            found["state"] = InstanceState.RUNNING.value
        self.ledger.note_container(str(inspection["Id"]), found, **applied)

    # -- one change

    def apply(self, change: Change) -> None:
        address, resource = change.address, change.resource
        old = self._present.get(address)
        if change.action is Action.DELETE or resource is None:
            if old is not None:
                self._remove(old, change)
            self._present.pop(address, None)
            self.ledger.forget_object(address)
            return
        if change.action is Action.UPDATE and old is not None:
            self._update(change, resource, old)
        elif old is not None and change.action is Action.CREATE and self._is_so(resource, old):
            return
        elif old is not None and change.action is Action.REPLACE_START_FIRST:
            self._succeed(change, resource, old)
        else:
            self._replace(change, resource, old)
        self.ledger.note_object(address, resource.spec, resource.fingerprint)

    def _is_so(self, resource: Resource, old: Mapping[str, Any]) -> bool:
        """Whether a creation has been carried out already."""
        owner = ownership.owner_of(look.labels_of(old))
        alive = facts.state_of(str(old["State"].get("Status"))) is InstanceState.RUNNING
        return owner is not None and owner.fingerprint == resource.fingerprint and alive

    def _replace(self, change: Change, resource: Resource, old: Mapping[str, Any] | None) -> None:
        made = self.take(change.address) if old is None else None
        if made is None:
            made = self.make(change.address, resource, old, renew=change.drop_anonymous, digest=change.image_digest)
        leaving = None
        try:
            if old is not None:
                leaving = self._step_aside(old, change, resource)
            self.settle(made)
            if change.start:
                self.before.run(change.address, resource)
                self.start(made.identity, change.address)
            if leaving is not None:
                leaving.finish()
        except BaseException:
            if leaving is not None:
                leaving.join()
            self.discard_made(made.identity)
            raise
        self._appeared(change.address, made.identity)
        if change.start:
            hooks.post_start(self.engine, made.identity, resource.spec, change.address, self.emit)
            succession.watch(self, change, made.identity)

    def _succeed(self, change: Change, resource: Resource, old: Mapping[str, Any]) -> None:
        """Start-first: the old container goes when its successor has shown that it can."""
        made = self.make(
            change.address, resource, old, renew=change.drop_anonymous, scratch=True, digest=change.image_digest
        )
        try:
            self.before.run(change.address, resource)
            self.start(made.identity, change.address)
            hooks.post_start(self.engine, made.identity, resource.spec, change.address, self.emit)
            succession.watch(self, change, made.identity)
        except BaseException:
            self.discard_made(made.identity)
            raise
        self._remove(old, change, keep_volumes=True)
        self.settle(made)
        self._appeared(change.address, made.identity)

    def _appeared(self, address: Address, identity: str, **applied: Any) -> None:
        inspection = self.engine.get_all(f"/containers/{identity}/json")[0]
        if inspection is not None:
            self._present[address] = inspection
            self._note(inspection, **applied)
        self.ledger.note_stopped(identity, False)
        self.ledger.note_owed(address, ())

    def _update(self, change: Change, resource: Resource, old: Mapping[str, Any]) -> None:
        if self._must_move(resource, old):
            self._replace(change, resource, old)
            return
        identity = str(old["Id"])
        final = ownership.instance_name(self.environment.name, change.address, resource.spec)
        update.in_place(self.engine, change, resource, old, self.place, final)
        state = facts.state_of(str(old["State"].get("Status")))
        restart = any(item.effect in (Effect.RESTART, Effect.REPLACE) for item in change.attributes)
        if state is InstanceState.PAUSED:
            self.engine.post(f"/containers/{identity}/unpause", idempotent=True)
        if restart or state is InstanceState.CREATED:
            hooks.pre_stop(self.engine, old, resource.spec, self.emit)
            if state in (InstanceState.RUNNING, InstanceState.PAUSED, InstanceState.RESTARTING):
                self.stop(identity, change.timeout, resource.spec)
            self.start(identity, change.address)
            hooks.post_start(self.engine, identity, resource.spec, change.address, self.emit)
        self._appeared(change.address, identity, spec=dict(resource.spec), fingerprint=resource.fingerprint)

    def _must_move(self, resource: Resource, old: Mapping[str, Any]) -> bool:
        """Whether the container is bound to another one that is no more: that cannot be changed."""
        host: Mapping[str, Any] = old.get("HostConfig") or {}
        for key, name in (("network_mode", "NetworkMode"), ("pid", "PidMode"), ("ipc", "IpcMode")):
            wanted = str(resource.spec.get(key) or "")
            if wanted.startswith(("service:", "container:")) and host.get(name) != self.resolve(wanted):
                return True
        return False

    # -- its parts, of which one-offs are made as well

    def make(
        self, address: Address, resource: Resource, old: Mapping[str, Any] | None, *, renew: bool = False,
        scratch: bool = False, one_off: oneoff.OneOff | None = None, digest: str = "",
    ) -> Made:  # fmt: skip
        """Create a container with its files and networks. What fails leaves nothing. digest: the image that it is made
        from, whatever its name means now."""
        spec, version = resource.spec, self.engine.version
        image = self._image(digest or str(spec["image"]))
        contents = files.contents(spec, self.materials, hardened=self.environment.hardened)
        volumes = files.directories(spec)
        if "/" in volumes:
            raise ApplyError(
                "A secret or config cannot be put where it is wanted", f"{address}: below / itself, which is read-only",
                "give it a `target:` in a directory", address=str(address),
            )  # fmt: skip
        final = one_off.name if one_off else ownership.instance_name(self.environment.name, address, spec)
        networks = encode_network.ordered(spec)
        at_once = version >= (1, 44)
        scratch = scratch or old is not None or bool(contents) or (len(networks) > 1 and not at_once)
        labels = places.labels(self, address, resource, str(image["Id"]), one_off)
        part = places.part_labels(self.environment.name, "files")
        whole = places.with_anonymous(spec, image, None if renew else old, self.environment.name)
        body = encode.container(
            whole, image=str(image["Id"]), labels=labels,
            place=self.place, image_config=image.get("Config") or {}, version=version, resolve=self.resolve,
            file_volumes=dict.fromkeys(volumes, part),
        )  # fmt: skip
        ends = {key: self._endpoint(address, spec, key, one_off) for key in networks}
        joined = networks if at_once else networks[:1]
        if networks:
            body["HostConfig"]["NetworkMode"] = self.place.networks.get(networks[0], networks[0])
            body["NetworkingConfig"] = {
                "EndpointsConfig": {self.place.networks.get(key, key): ends[key] for key in joined}
            }
        name = names.scratch_name(final) if scratch else final
        identity = self._create(name, body, spec, address)
        try:
            if contents:
                self._put(identity, spec, contents, image)
            for key in networks[len(joined) :]:
                self.engine.post(
                    f"/networks/{self.place.networks.get(key, key)}/connect",
                    {"Container": identity, "EndpointConfig": ends[key]},
                )
        except BaseException:
            self.discard_made(identity)
            raise
        return Made(identity, final, scratch)

    def _create(self, name: str, body: Mapping[str, Any], spec: Mapping[str, Any], address: Address) -> str:
        try:
            made = self.engine.post("/containers/create", body, name=name, platform=spec.get("platform"))
        except EngineConflictError as error:
            raise ApplyError(
                "A container name is taken", f"{name}: {error.message}", f"docker rm {name}, or choose another name",
                address=str(address),
            ) from error  # fmt: skip
        except EngineError as error:
            raise ApplyError(
                "The engine does not make a container", f"{address}: {error.message}", address=str(address)
            ) from error
        return str(made["Id"])

    def _endpoint(
        self, address: Address, spec: Mapping[str, Any], key: str, one_off: oneoff.OneOff | None
    ) -> dict[str, Any]:
        aliases = one_off is None or one_off.aliases
        return encode_network.endpoint(
            address.name, spec, key, self.engine.version, aliases=aliases, links=places.links(self, spec)
        )

    def _put(
        self, identity: str, spec: Mapping[str, Any], contents: list[tuple[Mapping[str, Any], bytes]],
        image: Mapping[str, Any],
    ) -> None:  # fmt: skip
        owner = places.owner(self, identity, spec, contents, image)
        for directory, data in files.archives(
            contents, files.directories(spec), owner, lambda table, name: places.identify(self, identity, table, name)
        ):
            self.engine.upload(f"/containers/{identity}/archive", iter([data]), path=directory)

    def settle(self, made: Made) -> None:
        """Give a container its name."""
        if made.scratch:
            self.engine.post(f"/containers/{made.identity}/rename", name=made.final)

    def start(self, identity: str, address: Address) -> None:
        """Start a container. Raises ApplyError with what it printed."""
        try:
            self.engine.post(f"/containers/{identity}/start", timeout=120.0, idempotent=True)
        except EngineError as error:
            raise ApplyError(
                "A container does not start", f"{address}: {error.message}", address=str(address),
                log=last_lines(self.engine, identity),
            ) from error  # fmt: skip

    def stop(self, identity: str, timeout: float | None, spec: Mapping[str, Any]) -> None:
        """Stop a container within its grace period (seconds), or within timeout."""
        grace = timeout if timeout is not None else spec.get("stop_grace_period", GRACE)
        wait = None if timeout is None else math.ceil(timeout)
        self.engine.post(f"/containers/{identity}/stop", timeout=float(grace) + 60.0, idempotent=True, t=wait)

    def _step_aside(self, old: Mapping[str, Any], change: Change, resource: Resource) -> removal.Beside:
        """Stop a container whose successor is about to start, give its name away, and begin to remove it."""
        self._stop_old(old, change)
        with suppress(EngineNotFoundError):
            final = ownership.instance_name(self.environment.name, change.address, resource.spec)
            self.engine.post(f"/containers/{old['Id']}/rename", name=names.scratch_name(final))
        return removal.Beside(lambda: self._discard_old(old, change, keep_volumes=True))

    def _remove(self, old: Mapping[str, Any], change: Change, *, keep_volumes: bool = False) -> None:
        if self._stop_old(old, change):
            if change.action is Action.DELETE:
                self.note_stopped(change.address)
            self._discard_old(old, change, keep_volumes=keep_volumes)

    def _stop_old(self, old: Mapping[str, Any], change: Change) -> bool:
        """Whether there is still something to remove."""
        spec = change.observed.spec if change.observed else {}
        if facts.state_of(str(old["State"].get("Status"))) not in (InstanceState.EXITED, InstanceState.CREATED):
            hooks.pre_stop(self.engine, old, spec, self.emit)
            try:
                self.stop(str(old["Id"]), change.timeout, spec)
            except EngineNotFoundError:
                return False
        return True

    def _discard_old(self, old: Mapping[str, Any], change: Change, *, keep_volumes: bool) -> None:
        self.discard(old, anonymous=change.drop_anonymous and not keep_volumes)
        if keep_volumes and change.drop_anonymous:
            removal.drop(self.engine, places.anonymous_volumes(old))

    def discard(self, item: Mapping[str, Any], *, anonymous: bool = False) -> None:
        """Remove a container at once, with the volumes of its files, and on demand its anonymous ones."""
        removal.discard(self.engine, item, anonymous=anonymous)

    def discard_made(self, identity: str, *, anonymous: bool = False) -> None:
        inspection = self.engine.get_all(f"/containers/{identity}/json")[0]
        if inspection is not None:
            self.discard(inspection, anonymous=anonymous)

    def discard_oneoffs(self, network: str = "") -> None:
        """Remove one-offs: those in the network with this key, or all."""
        name = self.place.networks.get(network, f"{self.environment.name}_{network}") if network else ""
        for item in self._oneoffs:
            if not name or name in (item["NetworkSettings"].get("Networks") or {}):
                self.discard(item, anonymous=True)

    # -- looking up

    def _image(self, name: str) -> Mapping[str, Any]:
        if name not in self._images:
            self._images[name] = self.supply.identity(name)
        return self._images[name]

    def resolve(self, text: str) -> str:
        """`service:NAME` as `container:ID` of its first instance; everything else as it is."""
        if not text.startswith("service:"):
            return text
        address = Address("service", text.removeprefix("service:"))
        found = self._present.get(address)
        if found is None:
            raise ApplyError("A service is not there", f"{text} is shared by another one", address=str(address))
        return f"container:{found['Id']}"

    @property
    def present(self) -> Mapping[Address, Mapping[str, Any]]:
        """The containers of the environment, by address."""
        return self._present
