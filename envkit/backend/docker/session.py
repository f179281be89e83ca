"""The writing side: one environment in one engine, its lock on this machine held."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event as Flag

from envkit.address import Address
from envkit.backend import ownership, threads
from envkit.backend.base import Done, Materials
from envkit.backend.docker import look, names, objects, wait
from envkit.backend.docker.ahead import Ahead
from envkit.backend.docker.blame import named
from envkit.backend.docker.images import Supply
from envkit.backend.docker.leaving import Leaving
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

FRESH = 1.0
"""So old may a look be, in seconds, that is not repeated under the lock."""

_MANY = 4
"""Whoever wants fewer things at a time wants fewer stopped, too."""

_ORDER = ("network", "volume", "image", "service")


class DockerSession:
    """See backend.base.Session."""

    def __init__(
        self, engine: Engine, home: Home, environment: Environment, *, materials: Materials, emit: Emit, width: int,
        touched: float, builder: str = "",
    ) -> None:  # fmt: skip
        self.engine = engine
        self._touched = touched
        self.environment = environment
        self.emit = emit
        self._width = max(1, width)
        self.ledger = Ledger(home, engine.address, environment.name)
        self._supply = Supply(engine, home, environment, self.ledger, materials, emit, builder)
        self.services = Services(engine, environment, self.ledger, self._supply, materials, emit)
        self._objects = objects.Objects(engine, environment, self.ledger)
        self._ahead = Ahead(self.services)
        self._leaving = Leaving(engine)
        self.services.take = self._ahead.take
        self.services.note_stopped = self._leaving.note_stopped
        self._coming: Sequence[Change] = ()
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

        width, (coming, self._coming) = self._width, (self._coming, ())
        if width >= _MANY and all(change.action is Action.DELETE for change in changes):
            width *= 4  # stopping is waiting
        if not coming:
            threads.for_each(one, changes, width)
            return
        begun = threads.begin(one, changes, self._width)
        self.services.foresee([change for change in coming if change.address.kind == "service"])
        self._ahead.begin(coming, self._width)
        for thread in begun:
            thread.join()

    def _carry_out(self, change: Change) -> None:
        match change.address.kind:
            case "image":
                self._supply.apply(change)
            case "network":
                with self._serial:  # subnets are given out one after the other in any case
                    if change.action is Action.DELETE:
                        if self._leaving.is_gone(change.address):
                            self.ledger.forget_object(change.address)
                            return
                        self.services.discard_oneoffs(network=change.address.name)
                    self._objects.network(change)
            case "volume":
                try:
                    self._objects.volume(change)
                except BaseException:
                    self._ahead.note_volume(change.address, done=False)
                    raise
                self._ahead.note_volume(change.address, done=True)
            case _:
                self.services.apply(change)

    def announce(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if paths := dragged(change):
                self.ledger.note_owed(change.address, paths)
        self.ledger.save()
        self._leaving.announce(changes)
        moving = {change.address for change in changes if _makes(change) or change.action is Action.DELETE}
        self.services.before.standing = {item.name for item in self.services.present if item not in moving}
        if any(change.address.kind == "network" for change in changes):  # which an engine takes longest to make
            self._coming = [change for change in changes if _makes(change)]

    def wait(self, address: Address, condition: Condition, cancelled: Flag) -> None:
        wait.wait(self.engine, self.environment.name, address, condition, cancelled)

    def is_current(self, since: float) -> bool:
        """As far as this machine's lock tells: others write to the same engine without it."""
        return self._touched < since - _CLOCK

    def clear(self, seen: look.Seen | None) -> None:
        """Remove what a session that was cut off left behind. seen: what was looked at before the lock was taken."""
        found: Sequence[Mapping[str, Any]]
        if (
            seen is not None and seen.environment == self.environment.name and self.is_current(seen.at)
            and 0 <= time.time() - seen.at < FRESH
        ):  # fmt: skip
            found = seen.containers
        else:
            found = look.containers(self.engine, self.environment.name)
        _, left = look.instances(found)
        for item in left:
            self.services.discard(item)
        self.services.know(found)

    def close(self) -> None:
        """Keep what the engine cannot, or forget an environment that is no more."""
        self._ahead.close()
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
def opened(  # noqa: PLR0913  (keyword-only: what a session needs to know)
    engine: Engine, home: Home, environment: Environment, *, materials: Materials, emit: Emit, width: int,
    lock_timeout: float | None, seen: look.Seen | None = None, builder: str = "",
) -> Iterator[DockerSession]:  # fmt: skip
    """Take the lock and clear away what a cut-off session left."""
    ledger = Ledger(home, engine.address, environment.name)
    lock = Lock(ledger.lock_path, {"environment": environment.name})

    def on_wait(holder: Mapping[str, Any]) -> None:
        emit(Event(EventKind.WAITING, message=f"waiting for the environment's lock, {describe(holder)}"))

    touched = 0.0
    while not lock.held:
        before = _changed(lock.path)
        make_directory(ledger.directory, 0o700)
        made = _made(lock.path)
        lock.acquire(lock_timeout, on_wait)
        if not lock.is_current():  # its holder has taken the whole environment down
            lock.release()
        touched = before if lock.touched == made else lock.touched
    try:
        session = DockerSession(
            engine, home, environment, materials=materials, emit=emit, width=width, touched=touched,
            builder=builder,
        )  # fmt: skip
        session.clear(seen)
        try:
            yield session
        finally:
            _quietly(session.close, emit)
    finally:
        lock.release()


def _changed(path: str) -> float:
    """When a file that is not there may have been removed: the time of the nearest directory that is."""
    while True:
        path = os.path.dirname(path)
        try:
            return os.stat(path).st_mtime
        except FileNotFoundError:
            continue


def _made(path: str) -> float:
    """The time of the empty file that was made here, 0 where there is one already."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return 0.0
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _quietly(work: Callable[[], None], emit: Emit) -> None:
    """The end of a session whose engine has gone is no further error."""
    try:
        work()
    except EnvkitError as error:
        emit(Event(EventKind.WARNING, message=f"{error.summary}: {error.detail}"))
