"""Laws that hold for every environment, every way from one to another, and every moment at which the power may go."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from envkit.address import Address
from envkit.backend.memory.backend import Memory
from envkit.backend.memory.world import Thing
from envkit.host.home import Home
from envkit.observed.state import InstanceState
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.encode import plan_json
from envkit.plan.model import Plan
from envkit.plan.planner import make_plan
from envkit.plan.saved import check_saved, decode_saved, encode_saved
from envkit.reconcile.apply import Outcome, apply_plan
from envkit.spec.environment import Environment
from envkit.values import replace
from tests.support.environments import KeyedMaterials
from tests.unit.reconcile.strategies import accidents, environments

MATERIALS = KeyedMaterials({})
_PHASES = (Phase.explicit, Phase.generate)  # making a failure smaller would take minutes, and it is readable as it is
laws = settings(
    max_examples=int(os.environ.get("ENVKIT_EXAMPLES", "120")), deadline=None, database=None, phases=_PHASES,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture(scope="module", name="home")
def _home() -> Iterator[Home]:
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="envkit-laws-", dir=shared) as directory:
        yield Home(directory)


def plan_of(memory: Memory, environment: Environment) -> Plan:
    return make_plan(environment, memory.observe(environment), memory.capabilities())


def apply(memory: Memory, environment: Environment, home: Home, plan: Plan | None = None) -> Outcome:
    plan = plan or plan_of(memory, environment)
    outcome = apply_plan(plan, memory, environment, materials=MATERIALS, home=home, parallel=1)
    assert not outcome.failed, [str(error) for error in outcome.errors]
    assert not outcome.skipped
    return outcome


def state(memory: Memory) -> Any:
    """Everything that there is, but for identities, times and logs."""
    return {
        (name, str(address)): (thing.spec, thing.fingerprint, thing.complete, thing.image_digest, thing.state,
                               thing.exit_code, thing.actual, sorted(thing.holds))
        for name, things in memory.world.things.items()
        for address, thing in things.items()
    }  # fmt: skip


def befall(memory: Memory, name: str, what: str, number: int) -> None:
    """One accident to one of the things."""
    things = memory.world.things.get(name, {})

    def pick(kind: str) -> tuple[Address, Thing] | None:
        found = sorted(address for address in things if address.kind == kind)
        return (found[number % len(found)], things[found[number % len(found)]]) if found else None

    kind = {"no network": "network", "no volume": "volume", "no image": "image"}.get(what, "service")
    if (found := pick(kind)) is None:
        return
    address, thing = found
    if thing.missing:
        return
    match what:
        case "exit":
            thing.state, thing.exit_code = InstanceState.EXITED, 137
        case "stop":
            memory.world.end(name, address, 0, by_user=True)
        case "pause" if thing.state is InstanceState.RUNNING:
            thing.state = InstanceState.PAUSED
        case "vanish" | "no network" | "no volume":
            thing.missing = True
        case "limit":
            thing.actual = {path: 1 if path.startswith("limits.") else value for path, value in thing.actual.items()}
        case "unpublish":
            thing.actual = {path: value for path, value in thing.actual.items() if not path.startswith("published.")}
        case "no image":
            memory.world.images.pop(address.name, None)
        case "cut off":
            thing.complete = False


@laws
@given(first=environments(), second=environments(), befalls=accidents)
def test_a_second_plan_is_empty(home: Home, first: Environment, second: Environment, befalls: Any) -> None:
    memory = Memory()
    for environment in (first, second):
        apply(memory, environment, home)
        assert plan_of(memory, environment).is_empty
    for what, number in befalls:
        befall(memory, second.name, what, number)
    apply(memory, second, home)
    after = plan_of(memory, second)
    assert after.is_empty, after.effective
    assert not after.drift


@laws
@given(first=environments(), second=environments(), befalls=accidents, seed=st.randoms())
def test_a_plan_depends_on_nothing_else(
    home: Home, first: Environment, second: Environment, befalls: Any, seed: Any
) -> None:
    memory = Memory()
    apply(memory, first, home)
    for what, number in befalls:
        befall(memory, first.name, what, number)
    observed = memory.observe(second)
    shuffled = list(observed.resources.items())
    seed.shuffle(shuffled)
    one = make_plan(second, observed, memory.capabilities())
    other = make_plan(second, replace(observed, resources=dict(shuffled)), memory.capabilities())
    assert plan_json(one) == plan_json(other)
    assert one.basis == other.basis
    assert [change.address for change in one.changes] == [change.address for change in other.changes]
    assert len({change.address for change in one.changes}) == len(one.changes)
    assert not one.loses_data


@laws
@given(first=environments(), second=environments())
def test_the_way_makes_no_difference(home: Home, first: Environment, second: Environment) -> None:
    direct, roundabout = Memory(), Memory()
    apply(direct, second, home)
    apply(roundabout, first, home)
    apply(roundabout, second, home)
    lasting = {(first.name, str(item)) for item in first.resources if item.kind in ("volume", "image")}
    one, other = _specs(direct), _specs(roundabout)
    assert one == {key: spec for key, spec in other.items() if key in one or key not in lasting}


def _specs(memory: Memory) -> Any:
    """Address -> spec, without what says nothing about an instance."""
    return {
        key: {name: value for name, value in thing[0].items() if name not in ("replicas", "update")}
        for key, thing in state(memory).items()
    }


@laws
@given(first=environments(), volumes=st.booleans())
def test_down_leaves_nothing_but_volumes(home: Home, first: Environment, volumes: bool) -> None:
    memory = Memory()
    apply(memory, first, home)
    apply(memory, first, home, make_destroy_plan(memory.observe(first), volumes=volumes, environment=first))
    left = {address.kind for address in memory.world.things.get(first.name, {})}
    assert left <= ({"image"} if volumes else {"image", "volume"})
    kept = {item.spec["name"] for item in first.resources.values() if item.address.kind == "volume"}
    assert set(memory.world.volumes) == (set() if volumes else kept)
    assert make_destroy_plan(memory.observe(first), volumes=volumes).is_empty
    assert not os.path.exists(home.environment(first.name))


@laws
@given(first=environments(), second=environments())
def test_a_saved_plan_does_the_same(home: Home, first: Environment, second: Environment) -> None:
    direct, saved = Memory(), Memory()
    for memory in (direct, saved):
        apply(memory, first, home)
    kept = decode_saved(encode_saved(plan_of(saved, second)), "plan.json")
    apply(direct, second, home)
    plan = check_saved(kept, second, saved.observe(second), saved.capabilities())
    if not plan.is_empty:
        apply(saved, second, home, plan)
    assert state(direct) == state(saved)


class PowerCut(BaseException):
    """kill -9, as far as a test in one process can have it."""


@laws
@given(first=environments(), second=environments(), step=st.integers(1, 30))
def test_cut_off_anywhere_the_next_apply_converges(
    home: Home, first: Environment, second: Environment, step: int
) -> None:
    memory = Memory()
    apply(memory, first, home)
    data = {name: volume.identity for name, volume in memory.world.volumes.items()}
    steps = iter(range(1, step))

    def cut(name: str, address: Address) -> None:
        if next(steps, None) is None:
            raise PowerCut(f"{name} {address}")

    memory.world.fault = cut
    with contextlib.suppress(PowerCut):
        apply_plan(plan_of(memory, second), memory, second, materials=MATERIALS, home=home, parallel=1)
    memory.world.fault = lambda name, address: None
    apply(memory, second, home)
    after = plan_of(memory, second)
    assert after.is_empty, after.effective
    assert data.items() <= {name: volume.identity for name, volume in memory.world.volumes.items()}.items()


@laws
@given(first=environments(), second=environments(), step=st.integers(1, 30))
def test_cut_off_anywhere_no_restart_is_lost(home: Home, first: Environment, second: Environment, step: int) -> None:
    """`depends_on.restart`: whoever asks for it has been started after what it depends on, whatever came between."""
    memory = Memory()
    apply(memory, first, home)
    before = max((thing.begun for thing in memory.world.things.get(first.name, {}).values()), default=0)
    steps = iter(range(1, step))

    def cut(name: str, address: Address) -> None:
        if next(steps, None) is None:
            raise PowerCut(f"{name} {address}")

    memory.world.fault = cut
    with contextlib.suppress(PowerCut):
        apply_plan(plan_of(memory, second), memory, second, materials=MATERIALS, home=home, parallel=1)
    memory.world.fault = lambda name, address: None
    apply(memory, second, home)
    things = memory.world.things.get(second.name, {})
    for resource in second.services.values():
        for need in resource.depends_on:
            cause, own = things.get(need.address), things.get(resource.address)
            if not need.restart or cause is None or own is None or own.spec["command"] == ["true"]:
                continue
            assert not before < cause.begun > own.begun, (resource.address, need.address)
