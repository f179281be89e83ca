"""How services are followed, with a cluster that is told what to say."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from envkit.backend.swarm import rollout, tasks
from envkit.backend.swarm.rollout import Followed, Follower
from envkit.events import Event, EventKind

NODES = {"n1": ("node1", "ready"), "n2": ("node2", "ready")}


class Told:
    """A cluster that says the next of its frames at every look: (service, tasks, nodes)."""

    def __init__(self, *frames: tuple[dict[str, Any], list[dict[str, Any]], dict[str, tuple[str, str]]]) -> None:
        self.frames = list(frames)
        self.posted: list[tuple[str, Any]] = []

    @property
    def now(self) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, tuple[str, str]]]:
        return self.frames[0]

    def get(self, path: str, **query: Any) -> Any:
        return [self.now[0]] if path == "/services" else deepcopy(self.now[0])

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        self.posted.append((path, query))

    def tasks(self, services: Any) -> list[dict[str, Any]]:
        found = self.now[1]
        if len(self.frames) > 1:
            self.frames.pop(0)
        return found

    def nodes(self) -> dict[str, Any]:
        return {
            key: {"Description": {"Hostname": name}, "Status": {"State": state}}
            for key, (name, state) in self.now[2].items()
        }  # fmt: skip


def service(replicas: int = 1, update: str = "", message: str = "", force: int = 0, **policy: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ID": "s", "Version": {"Index": 1}, "Spec": {
            "Name": "shop_web", "Mode": {"Replicated": {"Replicas": replicas}},
            "TaskTemplate": {"ContainerSpec": {"Image": "a"}, "ForceUpdate": force,
                             "RestartPolicy": {"Condition": "any", **policy}},
        },
    }  # fmt: skip
    if update:
        made["UpdateStatus"] = {"State": update, "Message": message}
    return made


def task(
    identity: str, state: str, slot: int = 1, *, desired: str = "running", error: str = "", node: str = "n1",
    force: int = 0,
) -> dict[str, Any]:  # fmt: skip
    return {
        "ID": identity, "ServiceID": "s", "Slot": slot, "NodeID": node, "DesiredState": desired,
        "Spec": {"ContainerSpec": {"Image": "a"}, "ForceUpdate": force}, "Status": {"State": state, "Err": error},
    }  # fmt: skip


def follow(*frames: Any, began: frozenset[str] = frozenset()) -> tuple[BaseException | None, list[Event], Told]:
    cluster, events = Told(*[(*frame, NODES) if len(frame) == 2 else frame for frame in frames]), []
    ended: list[BaseException | None] = []
    item = Followed("service.web", "create", "s", "shop_web", began)
    Follower(cluster, events.append).follow([item], lambda _, error: ended.append(error))  # type: ignore[arg-type]
    assert len(ended) == 1
    return ended[0], events, cluster


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEAT", "NODES_BEAT"):
        monkeypatch.setattr(rollout, name, 0.0)


def test_a_service_whose_tasks_run_has_converged() -> None:
    error, events, _ = follow(
        (service(2), [task("a", "preparing"), task("b", "running", 2)]),
        (service(2), [task("a", "running"), task("b", "running", 2)]),
    )
    assert error is None
    assert [event.message for event in events] == ["1 of 2 tasks are settled", "2 of 2 tasks are settled"]


def test_tasks_of_before_the_change_do_not_count() -> None:
    error, _, _ = follow(
        (service(force=1), [task("old", "running")]),
        (service(force=1, update="updating"), [task("old", "shutdown"), task("new", "running", force=1)]),
        (service(force=1, update="completed"), [task("new", "running", force=1)]),
    )
    assert error is None


@pytest.mark.parametrize("state", ["failed", "rejected"])
def test_three_failures_in_one_place_are_enough(state: str) -> None:
    dead = [task(str(number), state, desired="shutdown", error="No such image") for number in range(3)]
    error, events, _ = follow((service(), dead))
    assert "No such image" in str(error) and "on node1" in str(error)
    assert sum("No such image" in event.message for event in events) == 3


def test_one_failure_is_enough_where_nothing_is_started_again() -> None:
    error, _, _ = follow((service(Condition="none"), [task("a", "failed", desired="shutdown", error="exit 1")]))
    assert "exit 1" in str(error)


def test_failures_of_before_are_no_failures_of_now() -> None:
    dead = [task(str(number), "failed", desired="shutdown") for number in range(3)]
    error, _, _ = follow((service(), [*dead, task("new", "running")]), began=frozenset("012"))
    assert error is None


def test_a_paused_update_has_failed_and_quotes_its_task() -> None:
    message = "update paused due to failure or early termination of task a"
    error, _, _ = follow((service(update="paused", message=message), [task("a", "failed", error="exit 3")]))
    assert "paused the update" in str(error) and "exit 3" in str(error)


def test_an_update_that_was_paused_by_a_lost_node_goes_on() -> None:
    message = "update paused due to failure or early termination of task a"
    lost = {"n1": ("node1", "down"), "n2": ("node2", "ready")}
    error, events, cluster = follow(
        (service(update="paused", message=message), [task("a", "failed", error="lost")], lost),
        (service(), [task("b", "running", node="n2")], lost),
    )
    assert error is None
    assert [path for path, _ in cluster.posted] == ["/services/s/update"]
    assert any(event.kind is EventKind.WARNING and "node1 is down" in event.message for event in events)


def test_an_update_that_waits_for_a_lost_node_goes_on() -> None:
    lost = {"n1": ("node1", "down"), "n2": ("node2", "ready")}
    stuck = task("a", "assigned", desired="shutdown", force=1)
    error, events, cluster = follow(
        (service(force=1, update="updating"), [stuck, task("b", "running", node="n2")], lost),
        (service(force=1, update="updating"), [stuck, task("b", "running", node="n2", force=1)], lost),
        (service(force=1, update="completed"), [stuck, task("b", "running", node="n2", force=1)], lost),
    )
    assert error is None
    assert len(cluster.posted) == 2
    assert [event.message for event in events if event.kind is EventKind.WARNING] == [
        "the node node1 is down in the middle of the update, which goes on without that node"
    ]


def test_a_rollback_has_failed_once_it_is_complete() -> None:
    error, _, _ = follow(
        (service(update="rollback_started"), [task("a", "failed", desired="shutdown", error="exit 9")]),
        (service(update="rollback_completed"), [task("b", "running")]),
    )
    assert "rolled back" in str(error)


def test_a_task_that_finds_no_node_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "UNPLACED", 0.0)
    waiting = [task("a", "pending", error="no suitable node (insufficient memory)", node="")]
    error, _, _ = follow((service(), waiting), (service(), waiting), (service(), waiting))
    assert "insufficient memory" in str(error)


def test_managers_that_make_no_task_are_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "NUDGE", 0.0)
    error, _, cluster = follow((service(), []), (service(), []), (service(), []), (service(), [task("a", "running")]))
    assert error is None and cluster.posted


def test_a_job_has_converged_when_it_has_ended_well() -> None:
    error, _, _ = follow((service(Condition="none"), [task("a", "complete", desired="shutdown")]))
    assert error is None


def test_the_tasks_that_are_shown() -> None:
    found = [task("a", "failed", desired="shutdown"), task("b", "running"), task("c", "running", 3),
             task("d", "running", 2, desired="remove")]  # fmt: skip
    assert [item["ID"] for item in tasks.shown(service(2), found)] == ["b", "c"]
    assert tasks.shown(service(0), [task("a", "shutdown", desired="shutdown")]) == []
