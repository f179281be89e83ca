"""A new instance has to show that it can be relied on before its predecessor goes, or its rollout goes on."""

from __future__ import annotations

import time

from envkit.backend.docker import facts
from envkit.backend.docker.blame import last_lines
from envkit.backend.docker.podman import probed
from envkit.errors import ApplyError
from envkit.observed.state import Health, InstanceState
from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.backend.docker.services import Services
    from envkit.plan.model import Change

MONITOR = 5.0
"""Seconds that an instance without a health check has to live, where `update.monitor` says nothing."""

_LEAST, _PAUSE = 0.5, 0.1


def watch(services: Services, change: Change, identity: str) -> None:
    """Return when the instance is healthy, or has lived for a while. Raises ApplyError when it is not, or has ended.

    Only what replaces something and says how (`update`) is watched.
    """
    spec = change.resource.spec if change.resource else {}
    update = spec.get("update")
    first = change.action is Action.REPLACE_START_FIRST
    if not first and not (change.action is Action.REPLACE and update):
        return
    monitor = float((update or {}).get("monitor", MONITOR if first else 0.0))
    deadline = time.monotonic() + max(monitor, _LEAST)  # a program that cannot live ends at once
    while True:
        found = probed(services.engine, services.engine.get(f"/containers/{identity}/json"))
        state, health = facts.state_of(str(found["State"]["Status"])), facts.health_of(found["State"])
        if state is InstanceState.EXITED and (first or found["State"].get("ExitCode")):
            _fail(services, change, identity, f"it ended with exit code {found['State'].get('ExitCode')}")
        if state is InstanceState.RESTARTING:
            _fail(services, change, identity, f"it ended {found.get('RestartCount')} times")
        if health is Health.UNHEALTHY:
            _fail(services, change, identity, "its health check fails")
        if health is Health.HEALTHY or (health is Health.NONE and time.monotonic() >= deadline):
            return
        time.sleep(_PAUSE)


def _fail(services: Services, change: Change, identity: str, why: str) -> None:
    raise ApplyError(
        "The new instance cannot be relied on", f"{change.address}: {why}", "`envkit logs` shows more",
        address=str(change.address), log=last_lines(services.engine, identity),
    )  # fmt: skip
