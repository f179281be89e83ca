"""The writing side of the memory backend."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from envkit.address import Address
from envkit.backend.base import Done, Materials
from envkit.backend.memory.world import Thing, World
from envkit.errors import ApplyError
from envkit.observed.state import Health, InstanceState
from envkit.plan.cascade import dragged
from envkit.plan.model import Action, Change, Effect
from envkit.spec.environment import Condition, Resource

_TICK = 0.01


class MemorySession:
    """Changes are carried out one after the other, in the caller's thread."""

    def __init__(self, world: World, environment: str, materials: Materials, guard: threading.RLock) -> None:
        self._world, self._environment, self._materials, self._guard = world, environment, materials, guard

    def apply(self, changes: Sequence[Change], done: Done) -> None:
        """See backend.base.Session."""
        for change in changes:
            try:
                with self._guard:
                    self._carry_out(change)
            except Exception as error:  # noqa: BLE001 - a change's failure is reported, whatever it is
                done(change, error)
            else:
                done(change, None)

    def announce(self, changes: Sequence[Change]) -> None:
        """See backend.base.Session."""
        with self._guard:
            for change in changes:
                self._world.announce(self._environment, change.address, dragged(change))

    def _carry_out(self, change: Change) -> None:
        world, name, address, resource = self._world, self._environment, change.address, change.resource
        if change.action is Action.DELETE or resource is None:
            world.remove(name, address)
            return
        if change.action.replaces and change.action is not Action.REPLACE_START_FIRST:
            world.remove(name, address)
        if address.kind != "service":
            world.make(name, address, resource)
        elif change.action is Action.UPDATE:
            restart = any(item.effect in (Effect.RESTART, Effect.REPLACE) for item in change.attributes)
            world.update(name, address, resource, restart)
        else:
            files: dict[str, bytes] = {}
            for key, read in (("secrets", self._materials.secret), ("configs", self._materials.config)):
                files |= {item["target"]: read(item["source"]) for item in resource.spec.get(key, ())}
            self._create(change, resource, files)

    def _create(self, change: Change, resource: Resource, files: dict[str, bytes]) -> None:
        """Make an instance; one that was to be made beside the old one leaves that in its place when it fails."""
        world, name, address = self._world, self._environment, change.address
        former = world.things.get(name, {}).get(address)
        try:
            world.create(name, address, resource, files, change.image_digest)
            if change.action.replaces and "update" in resource.spec:
                thing = world.find(name, address)
                if thing.state is InstanceState.EXITED and thing.exit_code:
                    raise _failure(address, thing, f"it exited with code {thing.exit_code}")
                if world.health_of(address, thing) is Health.UNHEALTHY:
                    raise _failure(address, thing, "its health check fails")
        except BaseException:
            if former is not None:
                world.things.setdefault(name, {})[address] = former
            raise

    def wait(self, address: Address, condition: Condition, cancelled: threading.Event) -> None:
        """See backend.base.Session."""
        while not cancelled.is_set():
            with self._guard:
                things = [
                    (where, thing) for where, thing in self._world.things.get(self._environment, {}).items()
                    if (where.kind, where.name) == (address.kind, address.name) and address.index in (1, where.index)
                ]  # fmt: skip
                if things and all(self._meets(where, thing, condition) for where, thing in things):
                    return
            cancelled.wait(_TICK)

    def is_current(self, since: float) -> bool:
        """See backend.base.Session: looking again costs nothing here."""
        return False

    def _meets(self, address: Address, thing: Thing, condition: Condition) -> bool:
        running = thing.state is InstanceState.RUNNING
        if condition == "completed":
            if thing.state is InstanceState.EXITED and thing.exit_code != 0:
                raise _failure(address, thing, f"it exited with code {thing.exit_code}")
            return thing.state is InstanceState.EXITED
        if condition == "healthy":
            health = self._world.health_of(address, thing)
            if not running:
                raise _failure(address, thing, f"it is {thing.state}")
            if health is Health.NONE:
                raise _failure(address, thing, "it has no health check")
            if health is Health.UNHEALTHY:
                raise _failure(address, thing, "its health check fails")
            return health is Health.HEALTHY
        return running or thing.state is InstanceState.EXITED


def _failure(address: Address, thing: Thing, why: str) -> ApplyError:
    return ApplyError("A service did not come up", f"{address}: {why}", address=str(address), log=thing.log[-20:])
