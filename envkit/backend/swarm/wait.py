"""Waiting until a service meets a condition."""

from __future__ import annotations

from envkit.backend.swarm import encode, logs, tasks
from envkit.backend.swarm.rollout import is_current
from envkit.errors import ApplyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from threading import Event as Flag
    from typing import Any

    from envkit.address import Address
    from envkit.backend.swarm.cluster import Cluster
    from envkit.spec.environment import Condition

_BEAT = 0.2
_TRIES = 3


def wait(cluster: Cluster, environment: str, address: Address, condition: Condition, cancelled: Flag) -> None:
    """See backend.base.Session.wait. A task with a health check runs once it is healthy, so for both conditions it
    must run; one without says nothing of its health, which is an error."""
    name = encode.service_name(environment, address.name)
    while not cancelled.is_set():
        rows = [row for row in cluster.services(environment) if row["Spec"]["Name"] == name]
        if not rows:
            raise _failure(cluster, environment, address, "it is not there")
        every = cluster.tasks([rows[0]["ID"]])
        chosen = tasks.shown(rows[0], every)
        if address.index > 1:
            chosen = chosen[address.index - 1 : address.index]
        why = _hopeless(rows[0], every, chosen, condition)
        if why:
            raise _failure(cluster, environment, address, why)
        if chosen and all(_meets(task, condition) for task in chosen):
            return
        cancelled.wait(_BEAT)


def _meets(task: Mapping[str, Any], condition: Condition) -> bool:
    state = tasks.state(task)
    if condition == "completed":
        return state == "complete"
    return state == "running" or (condition != "healthy" and state == "complete")


def _hopeless(
    row: Mapping[str, Any], every: Sequence[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any]],
    condition: Condition,
) -> str:  # fmt: skip
    """Why the condition cannot come true any more; "" while it can."""
    template: Mapping[str, Any] = row["Spec"]["TaskTemplate"]
    test = ((template.get("ContainerSpec") or {}).get("Healthcheck") or {}).get("Test") or ["NONE"]
    if condition == "healthy" and test[0] == "NONE" and any(tasks.state(task) == "running" for task in chosen):
        return "it has no health check"
    policy = (template.get("RestartPolicy") or {}).get("Condition") or "any"
    for task in chosen:
        over = tasks.state(task) in tasks.OVER and not tasks.is_wanted(task)
        if condition == "healthy" and over and policy == "none":
            return f"it is {tasks.state(task)}: {tasks.error(task)}".removesuffix(": ")
        same = [item for item in every if tasks.place_of(item) == tasks.place_of(task) and is_current(item, row)]
        failed = [item for item in same if tasks.state(item) in tasks.FAILED]
        if failed and (len(failed) >= _TRIES or (over and policy == "none")):
            code = tasks.exit_code(failed[-1])
            exited = f"it exited with code {code}" if code else "it failed"
            return f"{exited}: {tasks.error(failed[-1])}".removesuffix(": ")
    return ""


def _failure(cluster: Cluster, environment: str, address: Address, why: str) -> ApplyError:
    return ApplyError(
        "A service did not come up", f"{address}: {why}", f"envkit logs {address.name}", address=str(address),
        log=logs.last_lines(cluster, environment, address.name),
    )  # fmt: skip
