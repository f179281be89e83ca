"""The images of an environment in the engine: what it has, and how what it lacks gets there.

An image's identity is the engine's id. What envkit builds, and what its store has already, is sent to the engine as an
archive; every other image the engine pulls itself, with the caller's credentials.
"""

from __future__ import annotations

import time

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker.look import quoted
from envkit.errors import ApplyError, EnvkitError, NotFoundError
from envkit.events import Event, EventKind
from envkit.observed.state import ObservedResource
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from envkit.backend.base import Materials
    from envkit.backend.engine_api import Engine
    from envkit.backend.ledger import Ledger
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment, Resource


@value
class Images:
    """digests: image key or reference -> the engine's id; resources: those that the engine has; offered: see
    ObservedState; pins: of envkit.lock."""

    digests: Mapping[str, str]
    resources: Mapping[Address, ObservedResource]
    offered: Mapping[str, str]
    pins: Mapping[str, str]


def wanted_images(environment: Environment, ledger: Ledger) -> list[str]:
    """Names and ids that the engine is asked about."""
    asked = []
    for address, resource in environment.resources.items():
        if address.kind == "image":
            asked.append(str(resource.spec.get("reference") or resource.spec["name"]))
            if "reference" not in resource.spec and (kept := ledger.image(address.name).get("id")):
                asked.append(str(kept))
    for service in environment.services.values():
        name = str(service.spec.get("image") or "")
        if name and environment.get("image", name) is None:
            asked.append(name)
    return asked


def observe_images(environment: Environment, ledger: Ledger, found: Mapping[str, Mapping[str, Any] | None]) -> Images:
    """found: what was answered to wanted_images."""
    digests: dict[str, str] = {}
    resources: dict[Address, ObservedResource] = {}
    pins: Mapping[str, str] | None = None
    offered: dict[str, str] = {}
    for address, resource in environment.resources.items():
        if address.kind != "image":
            continue
        item = _made(environment, resource, ledger, found)
        if item is None:
            continue
        resources[address] = item
        digests[address.name] = item.image_digest
        if reference := resource.spec.get("reference"):
            pins = _pins(environment) if pins is None else pins
            pin, here = pins.get(reference, ""), (found.get(reference) or {}).get("RepoDigests") or ()
            if pin and here and not any(str(name).endswith(f"@{pin}") for name in here):
                offered[reference] = pin
    for name, inspection in found.items():
        if inspection is not None and name not in digests and environment.get("image", name) is None:
            digests.setdefault(name, str(inspection["Id"]))
    return Images(digests, resources, offered, pins or {})


def _pins(environment: Environment) -> Mapping[str, str]:
    import os

    if not os.path.exists(os.path.join(environment.directory, "envkit.lock")):
        return {}
    from envkit.image.fetch import pins

    return pins(environment.directory)


def _made(
    environment: Environment, resource: Resource, ledger: Ledger, found: Mapping[str, Mapping[str, Any] | None]
) -> ObservedResource | None:
    """The image as the engine has it; None when it has none that will do."""
    address, spec = resource.address, resource.spec
    name = str(spec.get("reference") or spec["name"])
    tagged = found.get(name)
    if "reference" in spec:
        if tagged is None or not _fits(tagged, str(spec.get("platform") or "")):
            return None
        return ObservedResource(address, spec, resource.fingerprint, image_digest=str(tagged["Id"]))
    kept = ledger.image(address.name)
    inspection = found.get(str(kept.get("id") or ""))
    if kept and inspection is not None:
        identity = str(inspection["Id"])
        facts = {"tag": identity}, {"tag": str(tagged["Id"]) if tagged else None}
        return ObservedResource(address, kept["spec"], kept["fingerprint"], *facts, image_digest=identity)
    labels = ((tagged or {}).get("Config") or {}).get("Labels") or {}
    if tagged is not None and labels.get(f"{ownership.COMPOSE}project") == environment.name:  # Compose built it
        return ObservedResource(address, spec, resource.fingerprint, image_digest=str(tagged["Id"]))
    return None


def _fits(inspection: Mapping[str, Any], platform: str) -> bool:
    parts = platform.split("/")
    if len(parts) < 2:
        return True
    return parts[0] == inspection.get("Os") and parts[1] in (inspection.get("Architecture"), "")


class Supply:
    """Brings images into the engine."""

    def __init__(
        self, engine: Engine, home: Home, environment: Environment, ledger: Ledger, materials: Materials, emit: Emit,
        builder: str = "",
    ) -> None:  # fmt: skip
        self.engine = engine
        self.builder = builder
        self.home = home
        self.environment = environment
        self.ledger = ledger
        self.materials = materials
        self.emit = emit

    def apply(self, change: Change) -> None:
        """An image's change."""
        name = change.address.name
        if change.resource is None:
            self.ledger.forget_image(name)  # the image itself stays, as in the store
            return
        spec = change.resource.spec
        reference = str(spec.get("reference") or "")
        identity = self._fetch(reference, change) if reference else self._build(change)
        wanted = self.environment.get("image", name)  # arguments that `envkit build` adds are no part of what must be
        kept = wanted.spec if wanted is not None else spec
        self.ledger.note_image(name, kept, change.resource.fingerprint, identity)

    def identity(self, name: str) -> Mapping[str, Any]:
        """The engine's inspection of a service's image. Raises NotFoundError saying how to get it."""
        resource = self.environment.get("image", name)
        asked = name
        if resource is not None:
            kept = self.ledger.image(name).get("id") if "reference" not in resource.spec else ""
            asked = str(resource.spec.get("reference") or kept or resource.spec["name"])
        found: Mapping[str, Any] | None = self.engine.get_all(f"/images/{quoted(asked)}/json")[0]
        if found is None:
            raise NotFoundError(
                "An image is not in the engine", name, "`envkit apply` brings it there, and so does `docker pull`"
            )
        return found

    def _inspect(self, name: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.engine.get_all(f"/images/{quoted(name)}/json")[0]
        return found

    # -- from a registry

    def _fetch(self, reference: str, change: Change) -> str:
        from envkit.image.fetch import pins

        assert change.resource is not None
        spec = change.resource.spec
        pinned = pins(self.environment.directory).get(reference, "")
        policy, renew = str(spec.get("pull_policy") or ""), "bases" in change.renew or bool(change.attributes)
        found = self._inspect(reference)
        if found is not None and not renew and _fits(found, str(spec.get("platform") or "")):
            return str(found["Id"])
        if found is None and (identity := self._from_store(reference)):
            return identity
        if policy in ("never", "build"):
            raise NotFoundError(
                f"an image is not in the engine, and its pull_policy is {policy!r}", reference,
                "`docker load` brings it from an archive; another `pull_policy` from its registry",
            )  # fmt: skip
        try:
            pull(
                self.engine, reference, pinned=pinned, platform=str(spec.get("platform") or ""),
                address=str(change.address), emit=self.emit,
            )  # fmt: skip
        except EnvkitError as error:
            if found is not None and not pinned and policy not in ("always", ""):
                text = f"{error.summary}: {getattr(error, 'message', error.detail)}; the image that is here is used"
                self.emit(Event(EventKind.WARNING, str(change.address), "pull", text))
                return str(found["Id"])
            from envkit.backend.docker.blame import wanted_by

            raise ApplyError(
                "An image cannot be pulled",
                f"{reference}: {getattr(error, 'message', error)}{wanted_by(self.environment, change.resource)}",
                "check its name, and `docker login` to its registry", address=str(change.address),
            ) from error  # fmt: skip
        self.ledger.note_pulled(reference, time.time())
        return str(self.identity(change.address.name)["Id"])

    # -- from envkit's store

    def _from_store(self, name: str) -> str:
        """The engine's id of an image that the store has, sent there where it is not yet; "" when the store has none.
        """
        from envkit.image.store import Store

        store = Store(self.home)
        digest = store.resolve(name)
        return self._send(store.image(digest), name) if digest else ""

    def _send(self, image: Any, name: str) -> str:
        from envkit.image.archive import stream
        from envkit.image.store import Store

        if self._inspect(image.config_digest) is not None:
            tag_as(self.engine, image.config_digest, name)
        else:
            self.engine.upload("/images/load", stream(Store(self.home), [name]), method="POST", quiet=True)
        found = self._inspect(name)
        if found is None:
            raise ApplyError("The engine has not kept an image", name, "`docker load` may say why")
        return str(found["Id"])

    def _build(self, change: Change) -> str:
        from envkit.backend.docker.engine_build import build as build_there
        from envkit.backend.docker.engine_build import is_left_to
        from envkit.image.build import build
        from envkit.image.lockfile import of_project
        from envkit.image.store import Store

        resource = change.resource
        assert resource is not None
        spec: Any = resource.spec
        if is_left_to(self.builder, resource):
            build_there(
                self.engine, spec, emit=self.emit, address=str(change.address), fresh="layers" in change.renew,
                pull="bases" in change.renew,
            )  # fmt: skip
            return str(self.engine.get(f"/images/{quoted(str(spec['name']))}/json")["Id"])
        store, directory = Store(self.home), self.environment.directory
        known = {
            name: digest for name, kept in self.ledger.images.items()
            if "reference" not in kept["spec"] and (digest := store.resolve(str(kept["spec"]["name"])))
        }  # fmt: skip
        digest = build(
            spec, store=store, home=self.home, directory=directory, images=known, emit=self.emit,
            lock=of_project(directory, refresh="bases" in change.renew), origin=_within(directory, resource),
            secret=self.materials.secret, address=str(change.address), fresh="layers" in change.renew,
            pull="bases" in change.renew,
        )  # fmt: skip
        return self._send(store.image(digest), str(spec["name"]))


def pull(
    engine: Engine, reference: str, *, pinned: str = "", platform: str = "", address: str = "", emit: Emit
) -> None:  # fmt: skip
    """Let the engine pull, with the caller's credentials. pinned: the digest that the name must mean afterwards. Raises
    what the engine says."""
    from envkit.backend.credentials import auth_header
    from envkit.backend.docker.policy import forget
    from envkit.image.reference import parse

    parsed = parse(reference)
    repository = f"{parsed.domain}/{parsed.path}"
    tag = pinned or parsed.digest or parsed.tag or "latest"
    told = ""
    for row in engine.lines(
        "POST", "/images/create", timeout=600.0, headers=auth_header(parsed.domain), fromImage=repository,
        tag=tag, platform=platform or None,
    ):  # fmt: skip
        detail = row.get("progressDetail") or {}
        text = " ".join(str(row[key]) for key in ("id", "status") if row.get(key))
        if text and text != told:
            told = text
            data = {"bytes": detail.get("current"), "of": detail.get("total")} if detail else {}
            emit(Event(EventKind.PROGRESS, address, "pull", text, data))
    if pinned and not parsed.digest:
        tag_as(engine, f"{repository}@{pinned}", reference)
    forget(engine, reference)


def tag_as(engine: Engine, identity: str, reference: str) -> None:
    """Let a name mean an image of the engine."""
    from envkit.image.reference import parse

    parsed = parse(reference)
    engine.post(
        f"/images/{quoted(identity)}/tag", idempotent=True, repo=f"{parsed.domain}/{parsed.path}",
        tag=parsed.tag or "latest",
    )  # fmt: skip


def _within(directory: str, resource: Resource) -> Callable[[str], str]:
    """The resource's origins, as files below the project's directory."""
    return lambda path: resource.origin(path).removeprefix(directory.rstrip("/") + "/")
