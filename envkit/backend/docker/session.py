"""The writing side: one environment in one engine, its lock on this machine held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event as Flag

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.base import Done, Materials
from envkit.backend.docker import look, names, objects, wait
from envkit.backend.docker.blame import named
from envkit.backend.docker.images import Supply
from envkit.backend.docker.services import Services
from envkit.backend.engine_api import Engine
from envkit.backend.ledger import Ledger
from envkit.errors import EnvkitError
from envkit.events import Emit, Event, EventKind
from envkit.host.files import make_directory
from envkit.host.home import Home
from envkit.host.lock import Lock, describe
from envkit.plan.cascade import dragged
from envkit.plan.model import Action, Change
from envkit.spec.environment import Condition, Environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLOCK = 0.02
"""Seconds by which a file's time may lag behind the clock."""

_ORDER = ("volume", "network", "image", "service")


class DockerSession:
    """See backend.base.Session."""

    def __init__(
        self, engine: Engine, home: Home, environment: Environment, *, materials: Materials, emit: Emit, width: int,
        lock: Lock,
    ) -> None:  # fmt: skip
        self.engine = engine
        self._lock = lock
        self.environment = environment
        self.emit = emit
        self._width = max(1, width)
        self.ledger = Ledger(home, engine.address, environment.name)
        self._supply = Supply(engine, home, environment, self.ledger, materials, emit)
        self.services = Services(engine, environment, self.ledger, self._supply, materials, emit)
        self._objects = objects.Objects(engine, environment, self.ledger)
        self._serial = threading.Lock()
        self._deleted = False

    def apply(self, changes: Sequence[Change], done: Done) -> None:
        groups: dict[str, list[Change]] = {}
        for change in changes:
            groups.setdefault(change.address.kind, []).append(change)
        self._deleted = self._deleted or any(change.action is Action.DELETE for change in changes)
        self.services.prepare(groups.get("service", ()))
        work = [change for kind in _ORDER for change in groups.get(kind, ())]
        self._each(work, done)
        for kind, rest in groups.items():
            if kind not in _ORDER:  # secrets and configs are parts of services here
                for change in rest:
                    done(change, None)

    def _each(self, changes: Sequence[Change], done: Done) -> None:
        def one(change: Change) -> None:
            error: Exception | None = None
            try:
                self._carry_out(change)
            except Exception as problem:  # noqa: BLE001  a change's failure is reported, whatever it is
                error = named(change, problem)
            done(change, error)

        if len(changes) <= 1 or self._width == 1:
            for change in changes:
                one(change)
            return
        with ThreadPoolExecutor(min(self._width, len(changes)), "envkit") as pool:
            list(pool.map(one, changes))

    def _carry_out(self, change: Change) -> None:
        match change.address.kind:
            case "image":
                self._supply.apply(change)
            case "network":
                with self._serial:  # subnets are given out one after the other in any case
                    if change.action is Action.DELETE:
                        self.services.discard_oneoffs(network=change.address.name)
                    self._objects.network(change)
            case "volume":
                self._objects.volume(change)
            case _:
                self.services.apply(change)

    def announce(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if paths := dragged(change):
                self.ledger.note_owed(change.address, paths)
        self.ledger.save()
        coming = [change for change in changes if change.address.kind == "service" and _makes(change)]
        if coming:  # while the engine makes networks, which takes it longest
            threading.Thread(target=self.services.foresee, args=(coming,), daemon=True).start()

    def wait(self, address: Address, condition: Condition, cancelled: Flag) -> None:
        wait.wait(self.engine, self.environment.name, address, condition, cancelled)

    def is_current(self, since: float) -> bool:
        """As far as this machine's lock tells: others write to the same engine without it."""
        return self._lock.touched < since - _CLOCK

    def clear(self) -> None:
        """Remove what a session that was cut off left behind."""
        found = look.containers(self.engine, self.environment.name)
        _, left = look.instances(found)
        for item in left:
            self.services.discard(item)
        self.services.know(found)

    def close(self) -> None:
        """Keep what the engine cannot, or forget an environment that is no more."""
        if self._deleted:
            listed, networks, volumes = self.engine.get_all(
                ("/containers/json", {"all": True, "filters": names.of_environment(self.environment.name)}),
                ("/networks", {"filters": names.of_environment(self.environment.name)}),
                ("/volumes", {"filters": names.of_environment(self.environment.name)}),
            )
            if listed and all(_is_oneoff(row) for row in listed):
                self.services.discard_oneoffs()
                listed = []
            if not (listed or networks or (volumes or {}).get("Volumes")):
                self.ledger.remove()
                return
            self.ledger.keep_containers({row["Id"] for row in listed or ()})
        self.ledger.save()


def _makes(change: Change) -> bool:
    return change.action is Action.CREATE or change.action.replaces


def _is_oneoff(row: Mapping[str, Any]) -> bool:
    return look.labels_of(row).get(f"{ownership.COMPOSE}oneoff") == "True"


@contextmanager
def opened(
    engine: Engine, home: Home, environment: Environment, *, materials: Materials, emit: Emit, width: int,
    lock_timeout: float | None,
) -> Iterator[DockerSession]:  # fmt: skip
    """Take the lock and clear away what a cut-off session left."""
    ledger = Ledger(home, engine.address, environment.name)
    lock = Lock(ledger.lock_path, {"environment": environment.name})

    def on_wait(holder: Mapping[str, Any]) -> None:
        emit(Event(EventKind.WAITING, message=f"waiting for the environment's lock, {describe(holder)}"))

    while not lock.held:
        make_directory(ledger.directory, 0o700)
        lock.acquire(lock_timeout, on_wait)
        if not lock.is_current():  # its holder has taken the whole environment down
            lock.release()
    try:
        session = DockerSession(
            engine, home, environment, materials=materials, emit=emit, width=width, lock=lock
        )
        session.clear()
        try:
            yield session
        finally:
            _quietly(session.close, emit)
    finally:
        lock.release()


def _quietly(work: Callable[[], None], emit: Emit) -> None:
    """The end of a session whose engine has gone is no further error."""
    try:
        work()
    except EnvkitError as error:
        emit(Event(EventKind.WARNING, message=f"{error.summary}: {error.detail}"))
