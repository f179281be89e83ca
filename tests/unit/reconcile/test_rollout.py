"""How the replicas of a service are updated one after the other: pace, pause, what a failure does, the way back."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from envkit.address import Address
from envkit.backend.memory.backend import Memory
from envkit.events import Event, EventKind
from envkit.host.home import Home
from envkit.observed.state import Health
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import apply_plan
from envkit.values import replace
from tests.support.environments import KeyedMaterials, environment, resource

WEB = Address("service", "web")


class Fleet:
    """Replicas of one service in memory; `fail` are those whose new instances end at once."""

    def __init__(self, directory: Any, replicas: int, **update: Any) -> None:
        self.memory, self.home = Memory(), Home(str(directory / "home"))
        self.replicas, self.more = replicas, update
        self.events: list[Event] = []
        self.made: list[tuple[str, float]] = []
        self.fail: set[int] = set()
        self.memory.world.fault = self._fault
        self.apply("0")
        self.made.clear()

    def _fault(self, step: str, address: Address) -> None:
        if step == "record" and address.kind == "service":
            self.made.append((str(address), time.monotonic()))
            if address.index in self.fail:
                self.fail.discard(address.index)
                raise ValueError("no luck")

    def desired(self, version: str) -> Any:
        spec = {"image": "box", "replicas": self.replicas, "environment": {"V": version}, **self.more}
        return environment(resource("service.web", spec), directory=self.home.root)

    def apply(self, version: str) -> Any:
        desired = self.desired(version)
        plan = make_plan(desired, self.memory.observe(desired), self.memory.capabilities())
        return apply_plan(
            plan, self.memory, desired, materials=KeyedMaterials({}), emit=self.events.append, home=self.home
        )

    def versions(self) -> list[str]:
        things = self.memory.world.things["shop"]
        return [things[WEB.replica(index)].spec["environment"]["V"] for index in range(1, self.replicas + 1)
                if WEB.replica(index) in things]  # fmt: skip

    def wants(self, version: str) -> list[str]:
        desired = self.desired(version)
        plan = make_plan(desired, self.memory.observe(desired), self.memory.capabilities())
        return [f"{change.action.symbol} {change.address}" for change in plan.effective]


BESIDE = {"order": "start-first"}


def test_one_after_the_other_with_a_delay(tmp_path: Any) -> None:
    fleet = Fleet(tmp_path, 3, update={"delay": 0.15})
    assert not fleet.apply("1").failed
    assert [name for name, _ in fleet.made] == ["service.web[3]", "service.web[2]", "service.web"]
    moments = [moment for _, moment in fleet.made]
    assert all(0.14 < after - before < 2 for before, after in pairwise(moments))
    assert sum("the delay of its update" in event.message for event in fleet.events) == 2


def test_as_many_at_a_time_as_it_says(tmp_path: Any) -> None:
    fleet = Fleet(tmp_path, 4, update={"parallelism": 2, "delay": 0.15})
    assert not fleet.apply("1").failed
    first, second, third, fourth = (moment for _, moment in fleet.made)
    assert second - first < 0.14 < third - second
    assert fourth - third < 0.14


@pytest.mark.parametrize("update", [{}, BESIDE], ids=["stop-first", "start-first"])
def test_the_first_failure_pauses_it(tmp_path: Any, update: dict[str, Any]) -> None:
    fleet = Fleet(tmp_path, 4, update={"monitor": 0.0, **update})
    fleet.fail = {3}
    outcome = fleet.apply("1")
    assert list(outcome.failed) == [WEB.replica(3)]
    assert outcome.skipped == dict.fromkeys(
        (WEB.replica(2), WEB), "the update is paused: service.web[3] failed"
    )
    assert fleet.versions() == (["0", "0", "0", "1"] if update else ["0", "0", "1"])
    assert len(fleet.wants("1")) == 3
    assert not fleet.apply("1").failed
    assert fleet.versions() == ["1"] * 4


def test_it_goes_on_where_it_should(tmp_path: Any) -> None:
    fleet = Fleet(tmp_path, 4, update={**BESIDE, "failure_action": "continue"})
    fleet.fail = {3}
    assert list(fleet.apply("1").failed) == [WEB.replica(3)]
    assert fleet.versions() == ["1", "1", "0", "1"]


def test_some_may_fail(tmp_path: Any) -> None:
    fleet = Fleet(tmp_path, 4, update={**BESIDE, "max_failure_ratio": 0.25})
    fleet.fail = {4}
    assert list(fleet.apply("1").failed) == [WEB.replica(4)]
    assert fleet.versions() == ["1", "1", "1", "0"]
    fleet.fail = {3, 2}
    fleet.apply("2")
    assert fleet.versions() == ["1", "1", "1", "2"]


@pytest.mark.parametrize("update", [{}, BESIDE], ids=["stop-first", "start-first"])
def test_the_way_back(tmp_path: Any, update: dict[str, Any]) -> None:
    fleet = Fleet(tmp_path, 4, update={**update, "failure_action": "rollback"})
    before = {address: thing.image_digest for address, thing in fleet.memory.world.things["shop"].items()}
    fleet.fail = {2}
    outcome = fleet.apply("1")
    assert list(outcome.failed) == [WEB.replica(2)]
    assert outcome.done == []
    back = "rolled back because service.web[2] failed"
    assert {outcome.skipped[WEB.replica(index)] for index in (3, 4)} == {back}
    assert outcome.skipped[WEB] == "the update is rolled back: service.web[2] failed"
    assert fleet.versions() == ["0"] * 4
    assert {address: thing.image_digest for address, thing in fleet.memory.world.things["shop"].items()} == before
    assert not outcome.differs
    reasons = [event.message for event in fleet.events if event.kind is EventKind.STARTED]
    assert reasons.count(back) == (2 if update else 3)
    assert len(fleet.wants("1")) == 4
    assert fleet.wants("0") == []


def test_an_instance_that_comes_up_unhealthy_is_a_failure(tmp_path: Any) -> None:
    check = {"test": ["CMD", "check"]}
    fleet = Fleet(tmp_path, 2, update=BESIDE, healthcheck=check)
    fleet.memory.world.health["web"] = Health.UNHEALTHY
    outcome = fleet.apply("1")
    assert "its health check fails" in str(outcome.errors[0])
    assert fleet.versions() == ["0", "0"]


def test_what_must_be_alone_is_replaced_stop_first(tmp_path: Any) -> None:
    fleet = Fleet(tmp_path, 1, update=BESIDE)
    assert fleet.wants("1") == ["+/- service.web"]
    asked = fleet.memory.capabilities
    alone = {"container_name": "a container name belongs to one instance"}
    fleet.memory.capabilities = lambda: replace(asked(), alone=lambda spec: list(alone.items()))  # type: ignore[method-assign]
    assert fleet.wants("1") == ["-/+ service.web"]
