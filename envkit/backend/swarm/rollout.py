"""Services made and changed, and followed until every task is as it must be.

One look per beat serves all services that are under way: their objects and their tasks. A service has converged when
a current task runs (or, for a job, has ended well) in every place and the managers have finished watching an update;
it has failed when the managers paused or rolled back, or when its tasks cannot start.
"""

from __future__ import annotations

import time

from envkit.backend.engine_api import EngineError
from envkit.backend.swarm import tasks
from envkit.backend.swarm.cluster import is_stale
from envkit.errors import ApplyError
from envkit.events import Event, EventKind
from envkit.values import field, struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from envkit.backend.swarm.cluster import Cluster
    from envkit.events import Emit

BEAT = 0.25
NODES_BEAT = 2.0
STALL = 600.0
"""Seconds without any change of any task after which nobody waits any longer (a node may be pulling an image)."""
UNPLACED = 20.0
"""Seconds for which a task may find no node."""
TRIES = 3
"""How many tasks of one place may fail before a service counts as one that cannot start."""
RESUMES = 5
NUDGE = 8.0
"""Seconds after which managers that have made no task are told once more."""


@struct
class Followed:
    """A service under way. began: ids of the tasks that were there before."""

    address: str
    action: str
    service: str
    name: str
    began: frozenset[str] = frozenset()
    told: str = ""
    stamp: Any = None
    moved: float = 0.0
    pending: float | None = None
    resumed: int = 0
    shown: set[str] = field(default_factory=set)
    freed: set[str] = field(default_factory=set)


class Follower:
    """Follows services until each has converged or failed."""

    def __init__(self, cluster: Cluster, emit: Emit) -> None:
        self._cluster, self._emit = cluster, emit
        self._nodes: dict[str, dict[str, Any]] = {}
        self._looked = 0.0

    def follow(self, items: Sequence[Followed], report: Callable[[Followed, BaseException | None], None]) -> None:
        """report is called once for each, as soon as it is known how it went. Raises nothing for one of them."""
        waiting = {item.service: item for item in items}
        for item in items:
            item.moved = time.monotonic()
        pause = 0.05
        while waiting:
            rows = {row["ID"]: row for row in self._cluster.get("/services", filters={"id": list(waiting)})}
            found: dict[str, list[dict[str, Any]]] = {}
            for task in self._cluster.tasks(list(waiting)):
                found.setdefault(task["ServiceID"], []).append(task)
            self._look_at_nodes()
            for identity, item in list(waiting.items()):
                error: BaseException | None = None
                try:
                    if identity not in rows:
                        raise ApplyError("A service was removed while it was followed", item.name, address=item.address)
                    if not self._is_done(item, rows[identity], found.get(identity, [])):
                        continue
                except ApplyError as raised:
                    error = raised
                del waiting[identity]
                report(item, error)
            if waiting:
                time.sleep(pause)
                pause = min(BEAT, pause * 1.5)

    # -- one service

    def _is_done(self, item: Followed, row: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> bool:
        """Raises ApplyError when it has failed."""
        status: Mapping[str, Any] = row.get("UpdateStatus") or {}
        state = str(status.get("State") or "")
        wanted = self._wanted(row, every)
        current = [task for task in every if is_current(task, row)]
        settled = [task for task in current if _is_settled(task, row)]
        self._tell(item, row, every, len({tasks.place_of(task) for task in settled}), wanted)
        if state == "updating" and (stuck := [task for task in current if self._is_stuck(task, item)]):
            self._free(item, stuck)
            return False
        if state in ("paused", "rollback_paused"):
            return self._paused(item, status, every)
        if state.startswith("rollback"):
            if state == "rollback_completed":
                raise self._failure(item, every, "It was rolled back to what it was before", str(status.get("Message")))
            return False
        places = {tasks.place_of(task) for task in settled}
        if wanted is not None and len(places) >= wanted:
            return state in ("", "completed")
        self._check(item, row, current)
        return False

    def _is_stuck(self, task: Mapping[str, Any], item: Followed) -> bool:
        """Whether the managers wait for a task that was given to a node just before it was lost."""
        return self._is_down(task) and tasks.state(task) in tasks.BEFORE and task["ID"] not in item.freed

    def _free(self, item: Followed, stuck: Sequence[Mapping[str, Any]]) -> None:
        """Let an update go on whose managers wait for tasks that can never start.

        They begin an update anew only for another spec, and leave a task alone when its placement alone has changed: so
        a constraint that the lost node does not meet is added, and taken away again.
        """
        item.freed |= {task["ID"] for task in stuck}
        host = self._host(stuck[0])
        text = f"the node {host} is down in the middle of the update, which goes on without that node"
        self._emit(Event(EventKind.WARNING, item.address, item.action, text, {"node": host}))
        away = [f"node.id != {task['NodeID']}" for task in stuck]
        self._rewrite(item, lambda spec: _constrain(spec, [*_constraints(spec), *away]))
        self._rewrite(item, lambda spec: _constrain(spec, [text for text in _constraints(spec) if text not in away]))

    def _wanted(self, row: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> int | None:
        """How many places must be filled; None: it is not known yet."""
        mode: Mapping[str, Any] = row["Spec"].get("Mode") or {}
        if "Replicated" in mode:
            return int(mode["Replicated"].get("Replicas", 1))
        if "ReplicatedJob" in mode:
            return int(mode["ReplicatedJob"].get("TotalCompletions") or 1)
        alive = [task for task in every if tasks.is_wanted(task) and is_current(task, row)]
        return len({task.get("NodeID") for task in alive}) or None

    def _paused(self, item: Followed, status: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> bool:
        """The managers stopped an update. Where a node went down under it, it is not the update's fault."""
        message = str(status.get("Message") or "")
        culprit = next((task for task in every if task["ID"] in message), None)
        node = self._nodes.get(str((culprit or {}).get("NodeID") or "")) or {}
        if culprit is not None and self._is_down(culprit) and item.resumed < RESUMES:
            item.resumed += 1
            host = (node.get("Description") or {}).get("Hostname")
            text = f"the node {host} is down, so the managers paused the update; it goes on without that node"
            self._emit(Event(EventKind.WARNING, item.address, item.action, text, {"node": host}))
            self._resume(item)
            return False
        raise self._failure(item, every, "The managers paused the update", message)

    def _check(self, item: Followed, row: Mapping[str, Any], current: Sequence[Mapping[str, Any]]) -> None:
        """Raise ApplyError when it will not become what it must by itself."""
        now = time.monotonic()
        stamp = [(task["ID"], tasks.state(task)) for task in current]
        if stamp != item.stamp:
            item.stamp, item.moved = stamp, now
        elif now - item.moved > STALL:
            raise self._failure(item, current, f"Nothing has happened to it for {STALL:g} s", "")
        if not current and now - item.moved > NUDGE * (1 + item.resumed) and item.resumed < RESUMES:
            item.resumed += 1  # a change that meets a task's end may be lost on the managers
            self._resume(item, force=True)
        updating = str((row.get("UpdateStatus") or {}).get("State") or "") == "updating"
        fresh = [task for task in current if task["ID"] not in item.began]
        failed: dict[str, int] = {}
        for task in fresh:
            if tasks.state(task) in tasks.FAILED and not self._is_down(task):
                failed[tasks.place_of(task)] = failed.get(tasks.place_of(task), 0) + 1
        policy: Mapping[str, Any] = row["Spec"]["TaskTemplate"].get("RestartPolicy") or {}
        tries = 1 if policy.get("Condition") == "none" else min(TRIES, int(policy.get("MaxAttempts") or TRIES - 1) + 1)
        if not updating and any(count >= tries for count in failed.values()):
            raise self._failure(item, fresh, "Its tasks fail", "")
        unplaced = [task for task in fresh if tasks.state(task) == "pending" and tasks.error(task)]
        if not unplaced:
            item.pending = None
        elif item.pending is None:
            item.pending = now
        elif now - item.pending > UNPLACED:
            raise self._failure(item, unplaced, "No node can run it", tasks.error(unplaced[0]))

    def _is_down(self, task: Mapping[str, Any]) -> bool:
        return bool(task.get("NodeID")) and is_down(self._nodes.get(task["NodeID"]))

    def _failure(
        self, item: Followed, every: Sequence[Mapping[str, Any]], why: str, message: str
    ) -> ApplyError:
        quoted = [text for task in reversed(every) if task["ID"] not in item.began and (text := self._words(task))]
        texts = list(dict.fromkeys(quoted))[:3]
        words = (f"{why[0].lower()}{why[1:]}", message if not texts else "", *texts)
        detail = "; ".join(text for text in words if text)
        return ApplyError(
            "A service did not come up", detail, f"`docker service ps --no-trunc {item.name}` lists its tasks",
            address=item.address,
        )  # fmt: skip

    def _words(self, task: Mapping[str, Any]) -> str:
        """What a task that is not well says."""
        text = tasks.error(task)
        if not text or tasks.state(task) not in (*tasks.FAILED, "pending"):
            return ""
        host = self._host(task)
        return f"{'on ' + host + ': ' if host else ''}{text}"

    def _host(self, task: Mapping[str, Any]) -> str:
        node = self._nodes.get(str(task.get("NodeID") or "")) or {}
        return str((node.get("Description") or {}).get("Hostname") or "")

    def _resume(self, item: Followed, *, force: bool = False) -> None:
        """Write the same service once more: an update that the managers paused goes on. force: with new tasks."""
        self._rewrite(item, _force if force else lambda spec: None)

    def _rewrite(self, item: Followed, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the service on the version that it has."""
        for _ in range(RESUMES):
            row = self._cluster.get(f"/services/{item.service}")
            spec = row["Spec"]
            change(spec)
            try:
                self._cluster.post(f"/services/{item.service}/update", spec, version=row["Version"]["Index"])
            except EngineError as error:
                if not is_stale(error):
                    raise
                continue
            return

    # -- what is said meanwhile

    def _tell(
        self, item: Followed, row: Mapping[str, Any], every: Sequence[Mapping[str, Any]], count: int, wanted: int | None
    ) -> None:
        for task in every:
            if task["ID"] not in item.began and task["ID"] not in item.shown and (words := self._words(task)):
                if tasks.state(task) == "pending":
                    continue
                item.shown.add(task["ID"])
                text = f"{item.name}.{task.get('Slot') or self._host(task)} {tasks.state(task)} {words}"
                self._emit(Event(EventKind.PROGRESS, item.address, item.action, text, {"task": task["ID"]}))
        state = str((row.get("UpdateStatus") or {}).get("State") or "")
        verb = "are settled" if state in ("", "completed") else f"are settled, {state.replace('_', ' ')}"
        text = f"{count} of {wanted if wanted is not None else '?'} tasks {verb}"
        if text != item.told:
            item.told = text
            data = {"settled": count, "wanted": wanted, "update": state}
            self._emit(Event(EventKind.PROGRESS, item.address, item.action, text, data))

    def _look_at_nodes(self) -> None:
        now = time.monotonic()
        if self._nodes and now - self._looked < NODES_BEAT:
            return
        self._looked = now
        before = {key: _node_state(row) for key, row in self._nodes.items()}
        self._nodes = self._cluster.nodes()
        for key, row in self._nodes.items():
            if before.get(key) == "ready" and _node_state(row) == "down":
                host = (row.get("Description") or {}).get("Hostname")
                text = f"the node {host} is down; its tasks are started on other nodes"
                self._emit(Event(EventKind.WARNING, "", "follow", text, {"node": host}))


def is_down(node: Mapping[str, Any] | None) -> bool:
    """Whether the managers have lost a node; one that they do not know counts."""
    return node is None or _node_state(node) == "down"


def _force(spec: dict[str, Any]) -> None:
    spec["TaskTemplate"]["ForceUpdate"] = int(spec["TaskTemplate"].get("ForceUpdate") or 0) + 1


def _constraints(spec: Mapping[str, Any]) -> list[str]:
    return list((spec["TaskTemplate"].get("Placement") or {}).get("Constraints") or ())


def _constrain(spec: dict[str, Any], constraints: list[str]) -> None:
    spec["TaskTemplate"]["Placement"] = {**(spec["TaskTemplate"].get("Placement") or {}), "Constraints": constraints}


def _node_state(row: Mapping[str, Any]) -> str:
    return str((row.get("Status") or {}).get("State") or "")


def is_current(task: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a task was made from what the service is now. (A change of the placement alone keeps tasks.)"""
    template: Mapping[str, Any] = row["Spec"]["TaskTemplate"]
    spec: Mapping[str, Any] = task.get("Spec") or {}
    if (spec.get("ForceUpdate") or 0) != (template.get("ForceUpdate") or 0):
        return False
    if "JobIteration" in task and (task["JobIteration"] or {}).get("Index") != (
        (row.get("JobStatus") or {}).get("JobIteration") or {}
    ).get("Index"):
        return False
    return all(_essence(spec, key) == _essence(template, key) for key in ("ContainerSpec", "Resources", "Networks"))


def _essence(spec: Mapping[str, Any], key: str) -> Any:
    found = spec.get(key)
    if key == "Networks":
        return sorted((str(item.get("Target")), sorted(item.get("Aliases") or ())) for item in found or ())
    return {name: value for name, value in (found or {}).items() if value not in (None, {}, [], "")}


def _is_settled(task: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """It runs and is meant to; or it has ended well, and is not to be started again."""
    if tasks.state(task) == "complete":
        return ((row["Spec"]["TaskTemplate"].get("RestartPolicy") or {}).get("Condition") or "any") != "any"
    return tasks.state(task) == "running" and task.get("DesiredState") == "running"
