"""The images of an environment: what is known of them, and how they get to the nodes.

What envkit's store has goes to the target's registry, pinned by digest; without a registry it is loaded on every node
whose engine is known, and its tasks name it by its id, so that no node asks a registry for it. Every other reference
is the nodes' own to pull, pinned by the digest that its registry has when it is first applied.
"""

from __future__ import annotations

from envkit.backend.engine_api import EngineError, EngineNotFoundError
from envkit.errors import ApplyError, EnvkitError, NotFoundError
from envkit.events import Event, EventKind
from envkit.lean import cached_property
from envkit.observed.state import ObservedResource
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from envkit.backend.base import Materials
    from envkit.backend.engine_api import Engine
    from envkit.backend.ledger import Ledger
    from envkit.backend.swarm.cluster import Cluster
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.image.store import Store
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment, Resource


@value
class Delivered:
    """run: what the tasks name; digest: as plans know it; nodes: the ids of those that have it, () for all that can
    reach the registry."""

    run: str
    digest: str
    nodes: tuple[str, ...] = ()


def ledger_of(cluster: Cluster, home: Home, environment: str) -> Ledger:
    from envkit.backend.ledger import Ledger

    return Ledger(home, cluster.manager.address, environment)


def digests(cluster: Cluster, home: Home, environment: Environment) -> dict[str, str]:
    """Image key or reference -> digest, for all that are at hand: in the store, or in the manager's engine."""
    from envkit.image.store import Store

    store, kept = Store(home), ledger_of(cluster, home, environment.name)
    found: dict[str, str] = {}
    for name, reference in _names(environment).items():
        known = store.resolve(reference or str(kept.image(name).get("id") or ""))
        if known is None and reference:
            known = _at_manager(cluster, reference)
        if known:
            found[name] = known
    return found


def _names(environment: Environment) -> dict[str, str]:
    """Every image that is named -> its reference, "" for one that is built here."""
    found = {
        address.name: str(resource.spec.get("reference") or "")
        for address, resource in environment.resources.items() if address.kind == "image"
    }  # fmt: skip
    for service in environment.services.values():
        name = str(service.spec.get("image") or "")
        if name:
            found.setdefault(name, name)
    return found


def _at_manager(cluster: Cluster, reference: str) -> str | None:
    """The digest by which the manager's engine has pulled a reference; its id where it was loaded."""
    try:
        image = cluster.manager.get(f"/images/{reference}/json")
    except EngineNotFoundError:
        return None
    for text in image.get("RepoDigests") or ():
        return str(text).rpartition("@")[2]
    return str(image["Id"])


def observed(environment: Environment, found: Mapping[str, str], kept: Ledger) -> Iterator[ObservedResource]:
    """The image resources that are at hand: what was built last, and references as they are written."""
    for address, resource in environment.resources.items():
        if address.kind != "image" or address.name not in found:
            continue
        if resource.spec.get("reference"):
            spec, mark = resource.spec, resource.fingerprint
        else:
            made = kept.image(address.name)
            spec, mark = made["spec"], made["fingerprint"]
        yield ObservedResource(address, spec, mark, image_digest=found[address.name])


class Supply:
    """Makes images and brings them to the nodes. Safe to use from several threads for different images."""

    def __init__(
        self, cluster: Cluster, home: Home, environment: Environment, kept: Ledger, materials: Materials, emit: Emit
    ) -> None:
        self.cluster, self.home, self.environment = cluster, home, environment
        self.kept, self.materials, self.emit = kept, materials, emit
        self._delivered: dict[str, Delivered] = {}

    @cached_property
    def _store(self) -> Store:
        from envkit.image.store import Store

        return Store(self.home)

    def apply(self, change: Change) -> None:
        """An image's change: afterwards the store has it, or the manager's engine knows its digest."""
        name = change.address.name
        if change.resource is None:
            self.kept.forget_image(name)
            return
        self._delivered.pop(name, None)
        reference = str(change.resource.spec.get("reference") or "")
        if not reference:
            self.kept.note_image(
                name, self._wanted(name, change), change.resource.fingerprint, self._build(change)
            )
        elif not self._store.resolve(reference):
            self._pull(reference, str(change.address))

    def _wanted(self, name: str, change: Change) -> Mapping[str, Any]:
        wanted = self.environment.get("image", name)  # arguments that `envkit build` adds are no part of what must be
        resource = wanted or change.resource
        assert resource is not None
        return resource.spec

    def deliver(self, name: str, address: str, exactly: str = "") -> Delivered:
        """Bring the image that a service names to the nodes. exactly: the digest that it must be, whatever the name
        means now. Raises NotFoundError, ApplyError."""
        key = exactly or name
        if key not in self._delivered:
            self._delivered[key] = self._deliver(name, address, exactly)
        return self._delivered[key]

    def _deliver(self, name: str, address: str, exactly: str) -> Delivered:
        resource = self.environment.get("image", name)
        built = resource is not None and not resource.spec.get("reference")
        wanted = str(self.kept.image(name).get("id") or "") if built else self._reference(resource, name)
        digest = self._store.resolve(exactly or wanted) if exactly or wanted else None
        if digest is not None:
            title = str(resource.spec.get("reference") or resource.spec["name"]) if resource else name
            return self._push(digest, title, address) if self.cluster.registry else self._load(digest, title, address)
        if built:
            raise NotFoundError("An image is not here", name, "`envkit apply` builds it")
        if exactly:
            return Delivered(f"{wanted.partition('@')[0]}@{exactly}", exactly)
        pinned = _at_manager(self.cluster, wanted) or self._at_registry(wanted, address)
        if not pinned or pinned == _image_id(self.cluster, wanted):
            return Delivered(wanted, pinned or "")
        return Delivered(f"{wanted.partition('@')[0]}@{pinned}", pinned)

    def _reference(self, resource: Resource | None, name: str) -> str:
        return str(resource.spec.get("reference") or name) if resource is not None else name

    # -- by a registry

    def _push(self, digest: str, title: str, address: str) -> Delivered:
        from envkit.image.push import push
        from envkit.image.reference import parse

        path = parse(title).path.removeprefix("library/")
        tag = parse(title).tag or "latest"
        target = f"{self.cluster.registry}/{path}"
        try:
            push(self._store, digest, to=f"{target}:{tag}", emit=self.emit, address=address)
        except EnvkitError as error:
            raise ApplyError(
                "An image cannot be pushed to the target's registry", f"{target}:{tag}: {error}", error.hint,
                address=address,
            ) from error  # fmt: skip
        return Delivered(f"{target}:{tag}@{digest}", digest)

    def _at_registry(self, reference: str, address: str) -> str | None:
        """The digest that a reference's registry has, asked by the manager; None with a warning where it cannot be
        had."""
        from envkit.backend.credentials import auth_header
        from envkit.image.reference import parse

        parsed = parse(reference)
        if parsed.digest:
            return parsed.digest
        try:
            answers = self.cluster.manager.lines(
                "GET", f"/distribution/{reference}/json", headers=auth_header(parsed.domain)
            )
            return next((str(found["Descriptor"]["digest"]) for found in answers), None)
        except EngineError as error:
            text = f"{reference} is not pinned: its registry does not say which digest it has ({error.message})"
            self.emit(Event(EventKind.WARNING, address, "pull", text))
            return None

    def _pull(self, reference: str, address: str) -> None:
        """Let the manager's engine pull it: so its digest is known, and a wrong name is found before any service."""
        from envkit.backend.credentials import auth_header
        from envkit.image.reference import parse

        parsed = parse(reference)
        told = ""
        try:
            for row in self.cluster.manager.lines(
                "POST", "/images/create", timeout=600.0, headers=auth_header(parsed.domain),
                fromImage=f"{parsed.domain}/{parsed.path}", tag=parsed.digest or parsed.tag or "latest",
            ):  # fmt: skip
                text = " ".join(str(row[key]) for key in ("id", "status") if row.get(key))
                if text and text != told:
                    told = text
                    self.emit(Event(EventKind.PROGRESS, address, "pull", text))
        except EngineError as error:
            raise ApplyError(
                "An image cannot be pulled", f"{reference}: {error.message}",
                "check its name, and `docker login` to its registry", address=address,
            ) from error  # fmt: skip

    # -- without one

    def _load(self, digest: str, title: str, address: str) -> Delivered:
        image = self._store.image(digest)
        hosts = self.cluster.host_names()
        found: dict[str, str] = {}
        for node, engine in self.cluster.engines.items():
            found[node] = self._load_on(engine, image.config_digest, digest, title, hosts.get(node, node), address)
        identities = set(found.values())
        if len(identities) > 1:
            raise ApplyError(
                "The nodes call an image by different ids", f"{title}: {', '.join(sorted(identities))}",
                "nodes keep images in different ways: name a `registry` in the target", address=address,
            )  # fmt: skip
        return Delivered(identities.pop(), digest, tuple(found))

    def _load_on(self, engine: Engine, identity: str, digest: str, title: str, host: str, address: str) -> str:
        """Load it where it is not yet; the engine's id of it."""
        from envkit.image.archive import stream

        for name in (identity, digest):  # an engine knows images by their configuration, or by their manifest
            if _has(engine, name):
                return name
        self.emit(Event(EventKind.PROGRESS, address, "load", f"{title} is loaded on {host}", {"node": host}))
        engine.upload("/images/load", stream(self._store, [digest]), method="POST", quiet=True)
        for name in (identity, digest):
            if _has(engine, name):
                return name
        raise ApplyError("A node has not kept an image", f"{title} on {host}", "`docker load` there may say why",
                         address=address)  # fmt: skip

    # -- building

    def _build(self, change: Change) -> str:
        from envkit.image.build import build
        from envkit.image.lockfile import of_project

        resource = change.resource
        assert resource is not None
        spec: Any = resource.spec
        directory = self.environment.directory
        known = {
            name: str(item["id"]) for name, item in self.kept.images.items() if "reference" not in item["spec"]
        }  # fmt: skip
        return build(
            spec, store=self._store, home=self.home, directory=directory, images=known, emit=self.emit,
            lock=of_project(directory, refresh="bases" in change.renew), origin=_within(directory, resource),
            secret=self.materials.secret, address=str(change.address), fresh="layers" in change.renew,
            pull="bases" in change.renew,
        )  # fmt: skip


def _has(engine: Engine, identity: str) -> bool:
    try:
        return str(engine.get(f"/images/{identity}/json")["Id"]) == identity
    except EngineNotFoundError:
        return False


def _image_id(cluster: Cluster, reference: str) -> str:
    try:
        return str(cluster.manager.get(f"/images/{reference}/json")["Id"])
    except EngineNotFoundError:
        return ""


def _within(directory: str, resource: Resource) -> Callable[[str], str]:
    """The resource's origins, as files below the project's directory."""
    return lambda path: resource.origin(path).removeprefix(directory.rstrip("/") + "/")


def used(cluster: Cluster, environment: str) -> set[str]:
    """See backend.base.Backend.images_in_use."""
    from envkit.backend.swarm.marks import IMAGE

    found = {(row["Spec"].get("Labels") or {}).get(IMAGE, "") for row in cluster.services(environment)}
    return found - {""}


