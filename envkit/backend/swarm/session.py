"""The writing side of the Swarm backend: one environment, its lock held on this machine.

Somebody else's writes between reading and writing are noticed by the cluster itself (a version): then the object is
read again and the change is made on what it is now, never forced.
"""

from __future__ import annotations

import time
from contextlib import contextmanager

from envkit.backend.engine_api import EngineConflictError, EngineError
from envkit.backend.swarm import encode, images, marks, materials, networks, tasks, volumes
from envkit.backend.swarm.cluster import is_stale
from envkit.backend.swarm.facts import facts
from envkit.backend.swarm.rollout import Followed, Follower, is_down
from envkit.errors import ApplyError, ConflictError, EnvkitError
from envkit.events import Event, EventKind
from envkit.plan.model import Action, Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from threading import Event as Flag
    from typing import Any

    from envkit.address import Address
    from envkit.backend.base import Done, Materials
    from envkit.backend.swarm.cluster import Cluster
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.plan.model import Change
    from envkit.spec.environment import Condition, Environment, Resource

ATTEMPTS = 6
"""How often a change is made on an object that others change at the same time."""
_IN_USE = 90.0
"""Seconds in which the tasks that use a network must have gone."""
_ORDER = ("image", "network", "volume", "service")


class SwarmSession:
    """See backend.base.Session."""

    def __init__(
        self, cluster: Cluster, home: Home, environment: Environment, supply: Materials, emit: Emit, width: int
    ) -> None:
        self.cluster, self.home, self.environment = cluster, home, environment
        self.emit, self.width = emit, max(1, width)
        self._supply = supply
        self._kept = images.ledger_of(cluster, home, environment.name)
        self.images = images.Supply(cluster, home, environment, self._kept, supply, emit)
        self._follower = Follower(cluster, emit)
        self._touched = self._deleted = False

    def apply(self, changes: Sequence[Change], done: Done) -> None:
        self._touched = True
        self._deleted = self._deleted or any(change.action is Action.DELETE for change in changes)
        groups: dict[str, list[Change]] = {}
        for change in changes:
            groups.setdefault(change.address.kind, []).append(change)
        for kind in ("network", "volume", "image"):
            work = {"network": self._network, "volume": self._volume, "image": self.images.apply}[kind]
            self._each(groups.get(kind, ()), work, done)
        if services := groups.get("service"):
            self._services(services, done)

    def _each(self, changes: Sequence[Change], work: Callable[[Change], None], done: Done) -> None:
        """Carry out changes side by side."""

        def one(change: Change) -> None:
            try:
                work(change)
            except (EnvkitError, OSError) as error:
                done(change, named(change.address, error))
            else:
                done(change, None)

        if len(changes) < 2:
            for change in changes:
                one(change)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(self.width, len(changes))) as pool:
            list(pool.map(one, changes))

    # -- services

    def _services(self, changes: Sequence[Change], done: Done) -> None:
        by_address = {str(change.address): change for change in changes}
        followed: list[Followed] = []

        def begin(change: Change) -> None:
            if change.action is Action.DELETE or change.resource is None:
                self._remove(change.address.name)
                return
            item = self.begin(change)
            if change.start and item is not None:
                followed.append(item)

        def begun(change: Change, error: BaseException | None) -> None:
            if error is not None or not any(item.address == str(change.address) for item in followed):
                done(change, error)

        self._each(changes, begin, begun)
        self._follower.follow(followed, lambda item, error: done(by_address[item.address], error))

    def begin(self, change: Change, oneoff: str = "") -> Followed | None:
        """Create or update the service; what is to be followed, None for nothing. oneoff: the service whose one-off it
        is."""
        resource, address = change.resource, str(change.address)
        assert resource is not None
        delivered = self.images.deliver(str(resource.spec["image"]), address, change.image_digest)
        place = self._place(resource, delivered)
        body = encode.service(resource.address.name, resource.spec, place)
        if not change.start and "Replicated" in body["Mode"]:
            body["Mode"]["Replicated"]["Replicas"] = 0
        self._confine(body, delivered, address)
        keys = {identity: key for key, identity in place.networks.items()}
        body["Labels"] = dict(resource.spec.get("deploy_labels") or {})
        body["Labels"] = marks.of_service(
            self.environment, resource, facts(body, keys), delivered.digest, delivered.run
        )
        if oneoff:
            body["Labels"][marks.ONEOFF] = oneoff
        name = body["Name"]
        for _ in range(ATTEMPTS):
            row = self._find(name)
            before = frozenset(task["ID"] for task in self.cluster.tasks([row["ID"]] if row else []))
            try:
                identity = self._create(body) if row is None else self._update(row, body, change)
            except EngineError as error:
                if not is_stale(error) and not isinstance(error, EngineConflictError):
                    raise
                time.sleep(0.2)
                continue
            return Followed(address, change.action.word, identity, name, before) if identity else None
        raise ConflictError(
            "A service is being changed by somebody else", f"{name}: {ATTEMPTS} attempts met another version",
            "run envkit again when they are done",
        )  # fmt: skip

    def _create(self, body: dict[str, Any]) -> str:
        from envkit.backend.credentials import auth_of

        return str(self.cluster.post("/services/create", body, headers=auth_of(_image(body)))["ID"])

    def _update(self, row: Mapping[str, Any], body: dict[str, Any], change: Change) -> str:
        """On the version that was read; "" where nothing was to be done. Another mode needs another service."""
        from envkit.backend.credentials import auth_of

        live: Mapping[str, Any] = row["Spec"]
        if set(live.get("Mode") or {"Replicated": {}}) != set(body["Mode"]):
            self.cluster.delete(f"/services/{row['ID']}")
            self._wait_gone(body["Name"])
            return self._create(body)
        if change.image_digest and _says_the_same(live, body):
            return ""  # the managers have rolled it back by themselves
        force = int((live["TaskTemplate"].get("ForceUpdate")) or 0)
        if _forces(change, live, body):
            force += 1
        body["TaskTemplate"]["ForceUpdate"] = force
        self.cluster.post(
            f"/services/{row['ID']}/update", body, version=row["Version"]["Index"], headers=auth_of(_image(body))
        )
        return str(row["ID"])

    def _find(self, name: str) -> dict[str, Any] | None:
        """The service of this name. Raises ConflictError for one that is not this environment's."""
        rows = self.cluster.get("/services", filters={"name": [name]}) or ()
        row = next((item for item in rows if item["Spec"]["Name"] == name), None)
        if row is None:
            return None
        labels = row["Spec"].get("Labels") or {}
        if labels.get("envkit.environment") != self.environment.name:
            raise ConflictError(
                "A service of this name is somebody else's", name,
                f"`docker service rm {name}` removes it; another environment's name goes round it",
            )  # fmt: skip
        found: dict[str, Any] = row
        return found

    def _place(self, resource: Resource, delivered: images.Delivered) -> encode.Place:
        environment, spec = self.environment, resource.spec
        known = {row["Name"]: row["Id"] for row in self.cluster.networks(environment.name)}
        joined = {}
        for key in spec.get("networks") or ():
            item = environment.get("network", key)
            name = str(item.spec["name"]) if item else key
            joined[key] = known.get(name) or networks.external(self.cluster, name, key)
        if spec.get("network_mode") == "host":
            joined["host"] = networks.external(self.cluster, "host", "host")
        named = {item.address.name: item for item in environment.resources.values() if item.address.kind == "volume"}
        return encode.Place(
            environment.name, delivered.run, self.cluster.manager.version, joined,
            {key: str(item.spec["name"]) for key, item in named.items()},
            {key: volumes.options(environment, item) for key, item in named.items() if not item.spec.get("external")},
            materials.ensure(self.cluster, environment, "secret", spec, self._supply),
            materials.ensure(self.cluster, environment, "config", spec, self._supply),
            is_awaited(environment, resource.address), self.cluster.has_ipvs, environment.hardened,
        )  # fmt: skip

    def _confine(self, body: dict[str, Any], delivered: images.Delivered, address: str) -> None:
        """An image that one node alone has keeps its tasks there."""
        if len(delivered.nodes) != 1 or len(self.cluster.nodes()) == 1:
            return
        constraints = body["TaskTemplate"]["Placement"].setdefault("Constraints", [])
        constraints.append(f"node.id == {delivered.nodes[0]}")
        host = self.cluster.host_names().get(delivered.nodes[0], delivered.nodes[0])
        text = f"its image is on {host} alone, so its tasks stay there; name a `registry` or the other `nodes`"
        self.emit(Event(EventKind.WARNING, address, "place", text))

    def _remove(self, service: str) -> None:
        """Delete the service and wait until its tasks have ended."""
        row = self._find(encode.service_name(self.environment.name, service))
        if row is not None:
            running = [task for task in self.cluster.tasks([row["ID"]]) if tasks.state(task) not in tasks.OVER]
            self.cluster.delete(f"/services/{row['ID']}")
            if running:
                self._wait_gone(row["Spec"]["Name"])

    def _wait_gone(self, name: str) -> None:
        """Until no task of a service that was removed lives on a node that is up."""
        deadline = time.monotonic() + _IN_USE
        pause = 0.05
        while time.monotonic() < deadline:
            alive = [task for task in self.cluster.tasks_named(name) if tasks.state(task) not in tasks.OVER]
            if not alive:
                return
            nodes = self.cluster.nodes()
            if all(is_down(nodes.get(task["NodeID"])) for task in alive if task.get("NodeID")):
                return
            time.sleep(pause)
            pause = min(0.5, pause * 1.5)

    # -- networks and volumes

    def _network(self, change: Change) -> None:
        networks.apply(self.cluster, self.environment, change)

    def _volume(self, change: Change) -> None:
        before: Mapping[str, Any] = change.observed.spec if change.observed else {}
        if change.action is Action.DELETE or change.resource is None:
            volumes.remove(self.cluster, str(before.get("name") or change.address.name))
            return
        if change.resource.spec.get("external"):
            return
        if change.action.replaces:
            volumes.remove(self.cluster, str(before.get("name") or change.resource.spec["name"]))
        volumes.ensure(self.cluster, self.environment, change.resource)

    # -- waiting, and the end

    def announce(self, changes: Sequence[Change]) -> None:
        """Nothing that only the plan knows is needed later: a restart is one write to the managers."""

    def is_current(self, since: float) -> bool:
        """Others write to the same cluster without this machine's lock, and a look is quick."""
        return False

    def wait(self, address: Address, condition: Condition, cancelled: Flag) -> None:
        from envkit.backend.swarm.wait import wait

        wait(self.cluster, self.environment.name, address, condition, cancelled)

    def close(self) -> None:
        """Keep what is known of images; drop secrets and configs that nothing uses."""
        if not self._touched:
            return
        self._kept.save()
        rows = self.cluster.services(self.environment.name)
        if self._deleted and all(marks.is_oneoff(row) for row in rows):  # they go with the last service
            for row in rows:
                self.cluster.delete(f"/services/{row['ID']}")
        materials.prune(self.cluster, self.environment.name)


def _image(body: Mapping[str, Any]) -> str:
    return str(body["TaskTemplate"]["ContainerSpec"]["Image"])


def _forces(change: Change, live: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether tasks must be made anew although nothing of them changes."""
    if any(item.effect is Effect.RESTART for item in change.attributes):
        return True
    return change.action.replaces and _says_the_same(live, body)


def _says_the_same(live: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    keys: dict[str, str] = {}
    return facts({**live, "Labels": {}}, keys) == facts({**body, "Labels": {}}, keys)


def is_awaited(environment: Environment, address: Address) -> bool:
    """Whether another service waits for the completion of this one."""
    return any(
        item.condition == "completed" and item.address == address
        for resource in environment.services.values() for item in resource.depends_on
    )  # fmt: skip


def named(address: Address, error: Exception) -> ApplyError:
    """The error as a change's own."""
    if isinstance(error, ApplyError):
        if not error.address:
            error.address = str(address)
        return error
    if isinstance(error, EngineError):
        return ApplyError("The Swarm refused a change", error.message, error.hint, address=str(address))
    if isinstance(error, EnvkitError):
        return ApplyError(error.summary, error.detail, error.hint, address=str(address))
    return ApplyError("A file operation failed", str(error), address=str(address))


@contextmanager
def opened(
    cluster: Cluster, home: Home, environment: Environment, supply: Materials, emit: Emit, width: int,
    lock_timeout: float | None,
) -> Iterator[SwarmSession]:  # fmt: skip
    """Take the environment's lock on this machine."""
    from envkit.host.files import make_directory
    from envkit.host.lock import Lock, describe

    kept = images.ledger_of(cluster, home, environment.name)
    lock = Lock(kept.lock_path, {"environment": environment.name})

    def on_wait(holder: Mapping[str, Any]) -> None:
        emit(Event(EventKind.WAITING, message=f"waiting for the environment's lock, {describe(holder)}"))

    while not lock.held:
        make_directory(kept.directory, 0o700)
        lock.acquire(lock_timeout, on_wait)
        if not lock.is_current():
            lock.release()
    try:
        session = SwarmSession(cluster, home, environment, supply, emit, width)
        try:
            yield session
        finally:
            session.close()
    finally:
        lock.release()
