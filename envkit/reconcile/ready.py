"""Waiting until an environment is up, by looking at it: `apply --wait`, and what a one-off depends on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from envkit.backend.base import Backend, LogQuery
from envkit.errors import ApplyError
from envkit.events import Emit, Event, EventKind
from envkit.observed.state import Health, Instance, InstanceState
from envkit.spec.environment import Condition, Environment, Resource

_POLL = 0.1
_REMINDER = 10.0
_PATIENCE = 2.0
"""Seconds for which an instance may be seen exited before its supervisor is held to have given it up."""


def wait_ready(
    backend: Backend, environment: Environment, *, timeout: float | None, emit: Emit,
    conditions: Mapping[str, Condition] | None = None,
) -> None:  # fmt: skip
    """Return when every service (or every key of conditions) is up: each replica running, and healthy where it has a
    health check; a job that ended with 0 is up too.

    Raises ApplyError naming the first one that can't be, with its last log lines, or the ones that are not after
    timeout seconds (None: no limit).
    """
    wanted = environment.services
    if conditions is not None:
        wanted = {name: wanted[name] for name in conditions if name in wanted}
    begun = time.monotonic()
    told: tuple[float, tuple[str, ...]] = (begun, ())
    exited: dict[str, float] = {}
    while True:
        now = time.monotonic()
        rows: dict[str, list[Instance]] = defaultdict(list)
        for row in backend.instances(environment.name):
            if row.replica:  # not a one-off
                rows[row.service].append(row)
        missing = {
            name: why for name, resource in wanted.items()
            if (why := _missing(resource, rows[name], (conditions or {}).get(name, "started")))
        }  # fmt: skip
        if not missing:
            return
        for name in missing:
            _check_alive(backend, environment.name, name, rows[name], exited, now)
        if timeout is not None and now - begun >= timeout:
            name, why = next(iter(missing.items()))
            raise _failure(backend, environment.name, name, f"after {timeout:g} s {why}")
        if told[1] != tuple(missing) or now - told[0] >= _REMINDER:
            told = (now, tuple(missing))
            for name, why in missing.items():
                emit(Event(EventKind.WAITING, f"service.{name}", "wait", why))
        time.sleep(_POLL)


def _missing(resource: Resource, rows: Sequence[Instance], condition: Condition) -> str:
    """What the service still lacks, in words; "" when it is up."""
    replicas = int(resource.spec.get("replicas", 1))
    if len(rows) < replicas:
        return f"{len(rows)} of {replicas} replicas are there"
    for row in rows:
        ended = row.state == InstanceState.EXITED and row.exit_code == 0
        if condition == "completed":
            if not ended:
                return f"it has not completed ({row.state})"
        elif not ended or condition == "healthy":
            if row.state != InstanceState.RUNNING:
                return f"it is {row.state}"
            if row.health not in (Health.NONE, Health.HEALTHY):
                return f"its health is {row.health}"
    return ""


def _check_alive(
    backend: Backend, environment: str, name: str, rows: Collection[Instance], exited: dict[str, float], now: float
) -> None:
    """Raise ApplyError for an instance that will not come up by itself."""
    for row in rows:
        if row.state != InstanceState.EXITED:
            exited.pop(row.id, None)
        elif now - exited.setdefault(row.id, now) >= _PATIENCE:
            code = "with an unknown code" if row.exit_code is None else f"with code {row.exit_code}"
            raise _failure(backend, environment, name, f"it exited {code}" + (f" ({row.detail})" if row.detail else ""))
        if row.health == Health.UNHEALTHY:
            raise _failure(backend, environment, name, "its health check fails")


def _failure(backend: Backend, environment: str, name: str, why: str) -> ApplyError:
    log = [entry.line for entry in backend.logs(environment, LogQuery(services=(name,), tail=20))]
    return ApplyError("A service did not come up", why, f"envkit logs {name}", address=f"service.{name}", log=log[-20:])
