"""The writing side of the embedded backend: one environment, its lock held, inside the engine namespace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from threading import Event as Flag

from envkit.address import Address
from envkit.backend.base import Done, Materials
from envkit.backend.embedded import images, machine, parallel, resources, salvage, services, volumes
from envkit.backend.embedded import record as records
from envkit.backend.embedded.prepare import Workshop
from envkit.backend.embedded.runtime import runtime_of
from envkit.errors import ApplyError, ConflictError, EnvkitError, NotFoundError, way_out
from envkit.events import Emit, Event, EventKind
from envkit.host import leftovers, mounts
from envkit.host.cgroups import Cgroups
from envkit.host.files import make_directory
from envkit.host.home import Home
from envkit.host.lock import Lock, describe
from envkit.host.namespace import Engine
from envkit.plan.cascade import dragged
from envkit.plan.model import Action, Change
from envkit.spec.environment import Condition, Environment, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.image.store import Store
    from envkit.spec.canonical import ImageSpec

_CLOCK = 0.02
"""A file's time may be as much behind, in seconds: the kernel stamps files with its last tick's."""


class EmbeddedSession:
    """See backend.base.Session."""

    def __init__(self, home: Home, environment: Environment, supply: Materials, emit: Emit, width: int,
                 engine: Engine, lock: Lock) -> None:  # fmt: skip
        self.home = home
        self.environment = environment
        self.emit = emit
        self._supply = supply
        self.width = max(1, width)
        self.engine = engine
        self._lock = lock
        self.mounted = {row.target for row in mounts.mount_table()}
        self.workshop = Workshop(
            home, environment.name, engine, runtime_of(home), supply, hardened=environment.hardened,
            mounted=self.mounted,
        )  # fmt: skip
        self.services = services.Services(home, environment, self.workshop, emit, self._digest_of)
        self._failed = False
        self._touched = self._deleted = False
        self._users: Mapping[str, Sequence[str]] | None = None  # of volumes, asked once
        self._owed: dict[Address, list[str]] = {}
        self._done: set[Address] = set()

    def apply(self, changes: Sequence[Change], done: Done) -> None:
        self._touched = True

        def report(change: Change, error: BaseException | None) -> None:
            self._failed = self._failed or error is not None
            if error is None:
                self._done.add(change.address)
            done(change, error)

        groups: dict[str, list[Change]] = {}
        for change in changes:
            groups.setdefault(change.address.kind, []).append(change)
        deleted = [change.address for change in changes if change.action is Action.DELETE]
        self._deleted = self._deleted or bool(deleted)
        if gone := {address.name for address in deleted if address.kind == "network"}:
            self._discard_oneoffs(gone)
        kept = [change for kind in ("volume", "secret", "config") for change in groups.get(kind, ())]
        if networks := groups.get("network"):  # the disk's time and the kernel's are not each other's
            with parallel.beside(lambda: self._each(kept, report)):
                self._networks(networks, report)
        else:
            self._each(kept, report)
        instances, images = groups.get("service", []), groups.get("image", [])
        if instances:
            self.services.apply(instances, report)
        parallel.each(images, lambda change: self._one(change, report), self.width)

    def announce(self, changes: Sequence[Change]) -> None:
        self._owed = {change.address: paths for change in changes if (paths := dragged(change))}
        for address, paths in self._owed.items():
            self._owe(address, paths)

    def _owe(self, address: Address, paths: list[str]) -> None:
        """Write into an instance's record for whose sake it is still to be restarted."""
        record = records.find(self.home, self.environment.name, address)
        if record is not None:
            with records.locked(record):
                record.pending = paths
                record.save(durable=False)

    def _forgive(self) -> None:
        """Nothing is owed to what has not been changed after all."""
        changed = {address.name for address in self._done if address.kind == "service"}
        for address, paths in self._owed.items():
            kept = [path for path in paths if path.partition(".")[2] in changed]
            if address not in self._done and kept != paths:
                self._owe(address, kept)

    def _each(self, changes: Sequence[Change], report: Done) -> None:
        for change in changes:
            self._one(change, report)

    def _one(self, change: Change, report: Done) -> None:
        work = {"image": self._image, "volume": self._volume}.get(
            change.address.kind, self._remembered
        )
        try:
            work(change)
        except (EnvkitError, OSError) as error:
            report(change, _named(change, error))
        else:
            report(change, None)

    def wait(self, address: Address, condition: Condition, cancelled: Flag) -> None:
        if condition == "healthy":
            self._supervise()
        from envkit.backend.embedded import wait

        wait.wait(self.home, self.environment.name, address, condition, cancelled)

    def is_current(self, since: float) -> bool:
        return self._lock.touched < since - _CLOCK

    # -- images

    def _digest_of(self, name: str) -> str:
        """The digest of a service's image. Raises NotFoundError saying how to get it."""
        from envkit.image.store import Store

        resource = self.environment.get("image", name)
        wanted = name
        if resource is not None:
            made = resources.load(self.home, self.environment.name, Address("image", name)) or {}
            wanted = str(resource.spec.get("reference") or made.get("digest") or name)
        found = Store(self.home).resolve(wanted)
        if found is None:
            raise NotFoundError(
                "An image is not here", name,
                "`envkit apply` or `envkit pull` brings it from its registry, `envkit image load FILE` from an archive",
            )  # fmt: skip
        return found

    def _image(self, change: Change) -> None:
        name, address = self.environment.name, change.address
        if change.resource is None or change.action is Action.DELETE:
            resources.remove(self.home, name, address)  # its content stays in the store until gc
            return
        from envkit.image.store import Store

        spec, store = change.resource.spec, Store(self.home)
        if foreseen := _foreseen(store, change):
            digest = foreseen
            store.tag(str(spec.get("reference") or spec["name"]), digest)
        elif spec.get("reference"):
            digest = images.fetch(store, self.environment, change.resource, self.emit)
        elif pulled := self._instead_of_build(store, change.resource):
            digest = pulled
        else:
            from envkit.image.build import build
            from envkit.image.lockfile import of_project

            wanted_image: ImageSpec = spec  # type: ignore[assignment]
            directory = self.environment.directory
            known = {
                other.name: str(value.get("digest") or "")
                for other, value in resources.load_all(self.home, name).items()
                if other.kind == "image" and "reference" not in value["spec"]
            }
            digest = build(
                wanted_image, store=store, home=self.home, directory=directory, images=known,
                emit=self.emit, lock=of_project(directory, refresh="bases" in change.renew),
                origin=_within(directory, change.resource), secret=self._supply.secret, address=str(address),
                fresh="layers" in change.renew, pull="bases" in change.renew,
            )  # fmt: skip
            # Arguments that `envkit build` adds are no part of what must be.
            wanted = self.environment.get("image", address.name)
            spec = wanted.spec if wanted is not None else spec
        resources.save(self.home, name, address, spec, change.resource.fingerprint, digest=digest)

    def _instead_of_build(self, store: Store, resource: Resource) -> str:
        """The image of a service that has both `image:` and `build:`, where its pull policy says to look at the
        registry first; "" to build it."""
        if not resource.spec.get("build") or resource.spec.get("pull_policy", "build") in ("build", "never"):
            return ""
        try:
            return images.fetch(store, self.environment, resource, self.emit)
        except ApplyError as error:
            text = f"{error.summary}: {error.detail}; it is built instead"
            self.emit(Event(EventKind.WARNING, str(resource.address), "pull", text))
            return ""

    # -- networks, volumes, and what only has to be remembered

    def _networks(self, changes: Sequence[Change], report: Done) -> None:
        with self.services.serial:
            failed = self.services.wires.apply_networks(changes)
        for change in changes:
            error = failed.get(id(change))
            report(change, None if error is None else _named(change, error))

    def _volume(self, change: Change) -> None:
        before = dict(change.observed.spec) if change.observed else {}
        if change.action is Action.DELETE or change.resource is None:
            self._destroy_volume(str(before.get("name") or change.address.name), change)
            return
        spec = change.resource.spec
        name = str(spec.get("name") or change.address.name)
        if spec.get("external"):
            volumes.content(self.home, name, self.mounted)
            return
        if change.action.replaces:
            self._destroy_volume(str(before.get("name") or name), change)
        volumes.release_key(self.home, self.environment.name, change.address.name, keep=name)
        if any(item.path == "driver_opts.o" for item in change.attributes) and not change.action.replaces and (
            before.get("driver_opts") == spec.get("driver_opts")
        ):  # fmt: skip
            volumes.mount_as_before(self.home, name)
        wanted = volumes.Volume(name, self.environment.name, change.address.name, spec, change.resource.fingerprint)
        volumes.ensure(self.home, wanted)

    def _destroy_volume(self, name: str, change: Change) -> None:
        """A volume goes; what it holds becomes a snapshot where the change says so."""
        if self._users is None:
            self._users = volumes.users(self.home)
        mine = f"{self.environment.name}/"
        if others := [text for text in self._users.get(name, ()) if not text.startswith(mine)]:
            raise ConflictError("A volume is in use", f"{name}: {', '.join(others)}", "take those services down first")
        if change.snapshot:
            from envkit.backend.embedded.volume_data import retire

            verb = "deleted" if change.action is Action.DELETE else "made anew"
            if made := retire(self.home, name, change.snapshot, f"{change.address} was {verb}"):
                text = f"what {name} held is kept as its snapshot {made.name}"
                self.emit(Event(EventKind.PROGRESS, str(change.address), change.action.word, text))
        volumes.remove(self.home, name)

    def _remembered(self, change: Change) -> None:
        if change.resource is None or change.action is Action.DELETE:
            resources.remove(self.home, self.environment.name, change.address)
            return
        item = change.resource
        resources.save(self.home, self.environment.name, change.address, item.spec, item.fingerprint)

    # -- the end

    def _discard_oneoffs(self, networks: set[str] | None) -> None:
        """One-offs go with their networks, and with the last service."""
        from envkit.backend.embedded.discard import discard_all

        if any(record.oneoff for record in records.load_all(self.home, self.environment.name)):
            discard_all(self.home, self.environment.name, self.mounted, networks=networks)

    def _supervise(self) -> None:
        from envkit.backend.embedded import supervision

        supervision.ensure_running(self.home, self.environment.name)

    def close(self) -> None:
        """Start the supervisor, drop what nothing needs, and leave no trace of an environment that is no more."""
        name = self.environment.name
        self.services.wires.enforce()
        with suppress(EnvkitError) if self._failed else nullcontext():  # each change that it concerns has failed of it
            self.services.wires.settle()
        self._forgive()
        if self._deleted and salvage.has_only_oneoffs(self.home, name):
            self._discard_oneoffs(None)
        rows = records.load_all(self.home, name)
        if not rows and salvage.is_empty(self.home, name) and (
            self._deleted or salvage.is_half_removed(self.home, name)
        ):  # fmt: skip
            salvage.remove_environment(self.home, name, self.mounted)
            salvage.release_engine(self.home, self.engine)
            return
        images.remember(self.home)
        services.drop_unused_roots(self.home, name, rows, self.mounted)
        if rows:
            self._supervise()
        if self._touched and not self._failed:
            facts = resources.environment_facts(self.home, name)
            facts |= {"generation": int(facts.get("generation", 0)) + 1, "directory": self.environment.directory,
                      "files": list(self.environment.files), "hardened": self.environment.hardened}  # fmt: skip
            resources.save_environment_facts(self.home, name, facts)
        if not rows:
            salvage.release_engine(self.home, self.engine)


def _foreseen(store: Store, change: Change) -> str:
    """The digest that the plan says the image will have, where the store has it; "" otherwise."""
    digest = next((str(item.after) for item in change.attributes if item.path == "image_digest"), "")
    return digest if digest.startswith("sha256:") and store.resolve(digest) == digest else ""


def _within(directory: str, resource: Resource) -> Callable[[str], str]:
    """The resource's origins, as files below the project's directory."""
    return lambda path: resource.origin(path).removeprefix(directory.rstrip("/") + "/")


def _named(change: Change, error: Exception) -> ApplyError:
    """The error as the change's own."""
    if isinstance(error, ApplyError):
        return error
    if isinstance(error, EnvkitError):
        return ApplyError(error.summary, error.detail, error.hint, address=str(change.address))
    hint = way_out(error) if isinstance(error, OSError) else ""
    return ApplyError("A file operation failed", str(error), hint, address=str(change.address))


@cache
def engine_of(home: Home) -> Engine:
    """The one Engine of this process: it remembers the way out."""
    return Engine(home)


def _written_to(home: Home, environment: str) -> Iterator[str]:
    """The directories in which envkit writes files for this environment."""
    own = home.environment(environment)
    yield from (home.root, own, f"{own}/resources", f"{own}/generations", home.cache, f"{home.cache}/environments",
                f"{home.cache}/seccomp", f"{home.cache}/trees")  # fmt: skip
    for base in (home.instances(environment), home.volumes):
        with suppress(FileNotFoundError):
            yield from (f"{base}/{name}" for name in os.listdir(base))


@contextmanager
def opened(
    home: Home, environment: Environment, supply: Materials, emit: Emit, width: int, lock_timeout: float | None
) -> Iterator[EmbeddedSession]:
    """Take the lock, enter the engine namespace, clear away what a cut-off session left; tidy up at the end."""
    directory = home.environment(environment.name)
    lock = Lock(os.path.join(directory, "lock"), {"environment": environment.name})

    def on_wait(holder: Mapping[str, Any]) -> None:
        emit(Event(EventKind.WAITING, message=f"waiting for the environment's lock, {describe(holder)}"))

    while not lock.held:
        make_directory(directory, 0o755)
        lock.acquire(lock_timeout, on_wait)
        if not lock.is_current():  # its holder has taken the whole environment down
            lock.release()
    umask = os.umask(0o022)  # mount points and name files are read by a container's users
    try:
        engine = engine_of(home)
        engine.enter()
        machine.raise_open_files()
        Cgroups.of(home).prepare(environment.name)
        session = EmbeddedSession(home, environment, supply, emit, width, engine, lock)
        salvage.salvage(home, environment.name, session.mounted)
        leftovers.sweep(_written_to(home, environment.name))
        try:
            yield session
        finally:
            session.close()
    finally:
        os.umask(umask)
        lock.release()
