"""Networks and volumes in the engine. Every call is about the state afterwards."""

from __future__ import annotations

from envkit.backend import ownership
from envkit.backend.docker import encode_network, look, names
from envkit.backend.engine_api import EngineConflictError, EngineError, EngineNotFoundError
from envkit.errors import ConflictError, NotFoundError
from envkit.lean import suppress
from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.engine_api import Engine
    from envkit.backend.ledger import Ledger
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment, Resource


class Objects:
    """Carries out the changes of networks and volumes."""

    def __init__(self, engine: Engine, environment: Environment, ledger: Ledger) -> None:
        self.engine = engine
        self.environment = environment
        self.ledger = ledger

    # -- networks

    def network(self, change: Change) -> None:
        """One network. The engine changes nothing about a network: it is made anew around the containers in it."""
        address, resource = change.address, change.resource
        if change.action is Action.DELETE or resource is None:
            self._remove_network(self._present_name(change))
            self.ledger.forget_object(address)
            return
        name = names.object_name(self.environment.name, address, resource.spec)
        if change.action is Action.CREATE and not resource.spec.get("external"):
            try:
                self._create_network(resource)
            except EngineError:  # there is one of that name
                if self._find("networks", name) is None:
                    raise
            else:
                self.ledger.note_object(address, resource.spec, resource.fingerprint)
                return
        present = self._find("networks", name)
        if resource.spec.get("external"):
            if present is None:
                raise NotFoundError("An external network does not exist", name, f"docker network create {name}")
            return
        if present is not None:
            self._check_owner("network", name, present)
            owner = ownership.owner_of(look.labels_of(present))
            if change.action is Action.CREATE and owner and owner.fingerprint == resource.fingerprint:
                self.ledger.note_object(address, resource.spec, resource.fingerprint)
                return
        if change.action is not Action.CREATE and (before := self._present_name(change)) != name:
            self._remove_network(before)
        joined = self._remove_network(name) if present is not None else []
        self._create_network(resource)
        for container, settings in joined:
            self.engine.post(f"/networks/{name}/connect", {"Container": container, "EndpointConfig": settings})
        self.ledger.note_object(address, resource.spec, resource.fingerprint)

    def _create_network(self, resource: Resource) -> None:
        labels = {**(resource.spec.get("labels") or {}), **self._labels(resource)}
        key = resource.address.name
        body = encode_network.network(self.environment.name, key, resource.spec, labels)
        self.engine.post("/networks/create", body)

    def _remove_network(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Take every container out of the network, and remove it; how each was in it."""
        found = self._find("networks", name)
        if found is None:
            return []
        joined = self._disconnect_all(name, found)
        with suppress(EngineNotFoundError):
            self.engine.delete(f"/networks/{name}")
        return joined

    def _disconnect_all(self, name: str, found: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        joined = []
        for identity in found.get("Containers") or {}:
            inspection = self.engine.get_all(f"/containers/{identity}/json")[0]
            if inspection is None:
                continue
            settings = inspection["NetworkSettings"]["Networks"].get(name) or {}
            joined.append((identity, kept_settings(settings)))
            self.engine.post(f"/networks/{name}/disconnect", {"Container": identity, "Force": True})
        return joined

    # -- volumes

    def volume(self, change: Change) -> None:
        """One volume. Its labels cannot be changed without losing what is in it: they are remembered instead."""
        address, resource = change.address, change.resource
        if change.action is Action.DELETE or resource is None:
            self._remove_volume(self._present_name(change))
            self.ledger.forget_object(address)
            return
        name = names.object_name(self.environment.name, address, resource.spec)
        if change.action is Action.CREATE and not resource.spec.get("external"):
            try:
                self._check_owner("volume", name, self._create_volume(resource))
            except EngineConflictError:  # there is one of another driver
                self._check_owner("volume", name, self._find("volumes", name) or {})
                raise
            self.ledger.note_object(address, resource.spec, resource.fingerprint)
            return
        present = self._find("volumes", name)
        if resource.spec.get("external"):
            if present is None:
                raise NotFoundError("An external volume does not exist", name, f"docker volume create {name}")
            return
        if present is not None and change.action.replaces:
            self._remove_volume(name)
            present = None
        if present is None:
            self._create_volume(resource)
        else:
            self._check_owner("volume", name, present)
        self.ledger.note_object(address, resource.spec, resource.fingerprint)

    def _create_volume(self, resource: Resource) -> Mapping[str, Any]:
        """The volume that is there now, be it another's."""
        labels = {**(resource.spec.get("labels") or {}), **self._labels(resource)}
        body = encode_network.volume(self.environment.name, resource.address.name, resource.spec, labels)
        found: Mapping[str, Any] = self.engine.post("/volumes/create", body, idempotent=True)
        return found

    def _remove_volume(self, name: str) -> None:
        try:
            self.engine.delete(f"/volumes/{name}")
        except EngineNotFoundError:
            return
        except EngineConflictError as error:
            raise ConflictError(
                "A volume is in use", f"{name}: {error.message}", "take those that use it down first"
            ) from error

    # -- both

    def _labels(self, resource: Resource) -> dict[str, str]:
        return ownership.labels(self.environment, resource.address, resource)

    def _present_name(self, change: Change) -> str:
        spec = change.observed.spec if change.observed else change.resource.spec if change.resource else {}
        known = change.observed.attributes.get("name") if change.observed else None
        return str(known or names.object_name(self.environment.name, change.address, spec))

    def _find(self, kind: str, name: str) -> dict[str, Any] | None:
        """By its exact name: the engine would also answer to the beginning of an id."""
        found: dict[str, Any] | None = self.engine.get_all(f"/{kind}/{name}")[0]
        return found if found is not None and found.get("Name") == name else None

    def _check_owner(self, kind: str, name: str, found: Mapping[str, Any]) -> None:
        owner = look.labels_of(found).get(f"{ownership.COMPOSE}project")
        if owner != self.environment.name:
            raise ConflictError(
                f"A {kind} of that name belongs to somebody else",
                f"{name} is {f'of the environment {owner}' if owner else 'not of an environment'}",
                f"write `external: true` to use it, or give yours another name: `{kind}s.X.name`",
            )  # fmt: skip


def kept_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be said again of an endpoint when its container joins anew."""
    keys = ("IPAMConfig", "Links", "Aliases", "DriverOpts")
    return {key: settings[key] for key in keys if settings.get(key)}


def is_absent(error: EngineError) -> bool:
    return error.status == 404
