"""The executor against a session that does exactly what a test says, at the moment it says."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from envkit.address import Address
from envkit.backend.base import Done
from envkit.backend.memory.backend import Memory
from envkit.errors import ApplyError, ConflictError, InputError
from envkit.events import Event, EventKind
from envkit.host.home import Home
from envkit.observed.state import Health
from envkit.plan.manner import Manner
from envkit.plan.model import Action, Change
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import apply_plan
from envkit.reconcile.executor import Executor
from envkit.reconcile.journal import read_journal
from envkit.reconcile.ready import wait_ready
from envkit.spec.environment import Condition, Dependency, Environment
from tests.support.environments import KeyedMaterials, environment, resource


def change(name: str, *requires: str | Dependency, action: Action = Action.CREATE) -> Change:
    needs = tuple(Dependency(Address.parse(item)) if isinstance(item, str) else item for item in requires)
    return Change(Address.parse(name), action, requires=needs)


def healthy(name: str, *, required: bool = True) -> Dependency:
    return Dependency(Address.parse(name), "healthy", required)


class Scripted:
    """A session. failing: addresses whose change fails; waits: address -> what waiting for it does."""

    def __init__(self, failing: Sequence[str] = (), waits: dict[str, Callable[[], None]] | None = None) -> None:
        self.failing, self.waits = failing, waits or {}
        self.batches: list[list[str]] = []
        self.waited: list[str] = []
        self.during: Callable[[Change], None] = lambda change: None

    def apply(self, changes: Sequence[Change], done: Done) -> None:
        self.batches.append([str(item.address) for item in changes])
        for item in changes:
            self.during(item)
            done(item, ValueError("no luck") if str(item.address) in self.failing else None)

    def wait(self, address: Address, condition: Condition, cancelled: threading.Event) -> None:
        self.waited.append(f"{address} {condition}")
        self.waits.get(str(address), lambda: None)()


def run(session: Any, *changes: Change, parallel: int = 4) -> tuple[Any, list[str]]:
    events: list[str] = []

    def emit(event: Event) -> None:
        events.append(f"{event.kind} {event.address} {event.message}".strip())

    executor = Executor(session, emit, parallel)
    executor.run(changes)
    return executor.outcome, events


def test_everything_that_is_ready_is_one_batch() -> None:
    session = Scripted()
    outcome, _ = run(
        session, change("network.n"), change("volume.v"), change("service.a", "network.n"),
        change("service.b", "network.n", "volume.v"), change("service.c", "service.a"),
    )  # fmt: skip
    assert session.batches[0] == ["network.n", "volume.v"]
    assert sorted(name for batch in session.batches[1:] for name in batch) == ["service.a", "service.b", "service.c"]
    assert len(outcome.done) == 5


def test_what_does_nothing_is_not_handed_on() -> None:
    session = Scripted()
    outcome, events = run(session, change("network.n", action=Action.NOOP), change("service.a", "network.n"))
    assert session.batches == [["service.a"]]
    assert [str(item) for item in outcome.done] == ["service.a"]
    assert events == ["started service.a", "done service.a"]


def test_a_failure_skips_its_dependents_and_nothing_else() -> None:
    session = Scripted(failing=["service.db"])
    outcome, events = run(
        session, change("service.db"), change("service.web", "service.db"), change("service.edge", "service.web"),
        change("service.other"),
    )  # fmt: skip
    assert [str(item) for item in outcome.done] == ["service.other"]
    assert {str(item): why for item, why in outcome.skipped.items()} == {
        "service.web": "service.db failed", "service.edge": "service.web was skipped",
    }  # fmt: skip
    (error,) = outcome.errors
    assert (error.address, str(error)) == ("service.db", "An unexpected failure: ValueError: no luck")
    assert "skipped service.web skipped: service.db failed" in events


def test_a_wait_says_what_for_and_is_shared() -> None:
    session = Scripted()
    _, events = run(session, change("service.a", healthy("service.db")), change("service.b", healthy("service.db")))
    assert session.waited == ["service.db healthy"]
    assert "waiting service.a waiting for service.db to become healthy" in events
    assert session.batches == [["service.a", "service.b"]]


def test_a_wait_that_fails_names_the_culprit_with_its_log() -> None:
    def never() -> None:
        raise ApplyError("A service is unhealthy", "probe failed", address="service.db", log=["FATAL: no space"])

    session = Scripted(waits={"service.db": never})
    outcome, _ = run(session, change("service.db"), change("service.web", healthy("service.db")))
    (error,) = outcome.errors
    assert (error.address, error.log) == ("service.db", ("FATAL: no space",))
    assert outcome.skipped == {Address("service", "web"): "service.db failed"}


def test_what_is_not_required_may_fail() -> None:
    def never() -> None:
        raise ApplyError("A service is unhealthy", "probe failed", address="service.db")

    session = Scripted(waits={"service.db": never})
    outcome, events = run(session, change("service.web", healthy("service.db", required=False)))
    assert (outcome.failed, session.batches) == ({}, [["service.web"]])
    assert any(line.startswith("warning service.db") for line in events)
    session = Scripted(failing=["service.db"])
    outcome, _ = run(session, change("service.db"), change("service.web", healthy("service.db", required=False)))
    assert [str(item) for item in outcome.done] == ["service.web"]
    assert session.waited == []


def test_a_wait_does_not_hold_up_the_others() -> None:
    release = threading.Event()
    session = Scripted(waits={"service.slow": lambda: release.wait(10) or None})  # type: ignore[func-returns-value]
    session.during = lambda item: release.set() if item.address.name == "free" else None
    outcome, _ = run(session, change("service.web", healthy("service.slow")), change("service.free"))
    assert session.batches == [["service.free"], ["service.web"]]
    assert len(outcome.done) == 2


def test_a_circle_among_the_requirements_does_not_hang() -> None:
    outcome, _ = run(Scripted(), change("service.a", "service.b"), change("service.b", "service.a"))
    assert len(outcome.done) == 2


def test_a_backend_that_forgets_to_report_is_found_out() -> None:
    class Silent(Scripted):
        def apply(self, changes: Sequence[Change], done: Done) -> None:
            done(changes[0], None)
            done(changes[0], None)

    outcome, _ = run(Silent(), change("service.a"), change("service.b"))
    assert [str(item) for item in outcome.done] == ["service.a"]
    assert outcome.errors[0].hint == "This is a bug in envkit."


def test_threads_are_made_only_when_there_is_work() -> None:
    before = threading.active_count()
    run(Scripted(), change("service.a", action=Action.NOOP))
    assert threading.active_count() == before


# -- apply_plan


def shop(level: str = "info") -> Environment:
    return environment(
        resource("image.app", {"base": {"debian": "bookworm"}, "config": {"labels": {"level": level}}}),
        resource("network.default", {}),
        resource("service.db", {"image": "app", "networks": {"default": {}}, "healthcheck": {"test": ["CMD", "true"]}}),
        resource("service.web", {"image": "app", "environment": {"LEVEL": level}}, {"service.db": "healthy"}),
    )


def apply(memory: Memory, desired: Environment, home: Home, **more: Any) -> Any:
    plan = more.pop("plan", None) or make_plan(desired, memory.observe(desired), memory.capabilities())
    return apply_plan(plan, memory, desired, materials=KeyedMaterials({}), home=home, **more)


@pytest.fixture(name="home")
def _home(tmp_path: Any) -> Home:
    return Home(str(tmp_path / "home"))


def test_an_image_that_comes_out_the_same_replaces_nothing(home: Home) -> None:
    memory = Memory()
    memory.world.build = lambda spec, bases: "sha256:" + "1" * 64
    apply(memory, shop(), home)
    events: list[Event] = []
    desired = environment(*(shop().resources[item] for item in shop().resources if item.kind != "image"),
                          shop("debug").resources[Address("image", "app")])  # fmt: skip
    plan = make_plan(desired, memory.observe(desired), memory.capabilities())
    assert {str(item.address) for item in plan.effective} == {"image.app", "service.db", "service.web"}
    outcome = apply(memory, desired, home, emit=events.append)
    assert [str(item) for item in outcome.done] == ["image.app"]
    assert {str(item) for item in outcome.unchanged} == {"service.db", "service.web"}
    assert make_plan(desired, memory.observe(desired), memory.capabilities()).is_empty
    assert [item["result"] for item in read_journal(home, "shop")[-1]["changes"]] == ["done", "unchanged", "unchanged"]


def test_a_plan_whose_work_somebody_else_has_done_does_nothing(home: Home) -> None:
    memory = Memory()
    plan = make_plan(shop(), memory.observe(shop()), memory.capabilities())
    apply(memory, shop(), home)
    outcome = apply(memory, shop(), home, plan=plan)
    assert outcome.done == []
    assert len(outcome.unchanged) == 4


@pytest.mark.parametrize("exact", [True, False])
def test_what_the_plan_left_alone_is_left_alone_unless_it_has_vanished(home: Home, exact: bool) -> None:
    memory = Memory()
    apply(memory, shop(), home)
    plan = make_plan(shop(), memory.observe(shop()), memory.capabilities(), replace=["service.web"])
    memory.world.things["shop"][Address("network", "default")].missing = True
    outcome = apply(memory, shop(), home, plan=plan, manner=Manner(exact=exact))
    assert [str(item) for item in outcome.done] == ["network.default"] * (not exact) + ["service.web"]


def test_an_unhealthy_dependency_fails_the_apply_and_the_next_one_mends(home: Home) -> None:
    memory = Memory()
    memory.world.health["db"] = Health.UNHEALTHY
    outcome = apply(memory, shop(), home)
    (error,) = outcome.errors
    assert (error.address, error.log) == ("service.db", ("started",))
    assert {str(item) for item in outcome.skipped} == {"service.web"}
    assert read_journal(home, "shop")[-1]["result"] == "failed"
    memory.world.health.clear()
    assert [str(item) for item in apply(memory, shop(), home).done] == ["service.web"]


def test_a_plan_with_errors_is_refused(home: Home) -> None:
    memory = Memory()
    corp = resource("volume.corp", {"external": True, "name": "corp"})
    desired = environment(corp, resource("service.a", {"image": "x"}))
    with pytest.raises(InputError):
        apply(memory, desired, home)
    assert memory.world.things == {}


def test_the_lock_is_held_and_its_timeout_kept(home: Home) -> None:
    memory = Memory()
    options: dict[str, Any] = {"materials": KeyedMaterials({}), "emit": lambda event: None, "parallel": 1}
    with memory.session(shop(), lock_timeout=None, **options), pytest.raises(ConflictError):
        apply(memory, shop(), home, lock_timeout=0.01)


def test_an_interrupt_finishes_what_runs_and_begins_nothing_more(home: Home) -> None:
    memory = Memory()
    events: list[Event] = []

    def interrupted(step: str, address: Address) -> None:
        if address.name == "db" and step == "start":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    memory.world.fault = interrupted
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        apply(memory, shop(), home, emit=events.append)
    assert signal.getsignal(signal.SIGINT) is before
    assert memory.world.things["shop"][Address("service", "db")].complete
    assert Address("service", "web") not in memory.world.things["shop"]
    entry = read_journal(home, "shop")[-1]
    assert entry["result"] == "interrupted"
    assert {item["address"]: item["result"] for item in entry["changes"]}["service.web"] == "skipped"
    assert any(event.kind is EventKind.WARNING and "interrupt again to abort" in event.message for event in events)


def test_a_second_interrupt_aborts(home: Home) -> None:
    memory = Memory()
    release = threading.Event()

    def interrupted(step: str, address: Address) -> None:
        if address.name == "db" and step == "start":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
            release.wait(5)

    memory.world.fault = interrupted
    with pytest.raises(KeyboardInterrupt):
        apply(memory, shop(), home)
    release.set()
    assert read_journal(home, "shop")[-1]["result"] == "aborted"


def test_waiting_until_it_is_up(home: Home) -> None:
    memory = Memory()
    apply(memory, shop(), home)
    wait_ready(memory, shop(), timeout=0, emit=lambda event: None)
    memory.world.health["db"] = Health.STARTING
    with pytest.raises(ApplyError, match="after 0 s its health is starting") as caught:
        wait_ready(memory, shop(), timeout=0, emit=lambda event: None)
    assert (caught.value.address, caught.value.log) == ("service.db", ("started",))
    memory.world.health["db"] = Health.UNHEALTHY
    with pytest.raises(ApplyError, match="its health check fails"):
        wait_ready(memory, shop(), timeout=None, emit=lambda event: None)
