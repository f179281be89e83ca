"""What Podman's compatible service leaves to others: its health checks are run by systemd's timers, if by anybody."""

from __future__ import annotations

from envkit.backend.docker import facts
from envkit.backend.engine_api import EngineError
from envkit.observed.state import Health, InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.engine_api import Engine


def probed(engine: Engine, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inspection of a container, after its health check has been run where it is still to become healthy and
    nobody else may do it. With Docker, the inspection as it is."""
    state = item["State"]
    if facts.health_of(state) is not Health.STARTING or not engine.is_podman:
        return item
    if facts.state_of(str(state.get("Status"))) is not InstanceState.RUNNING:
        return item
    try:
        engine.get(f"/libpod/containers/{item['Id']}/healthcheck")
    except EngineError:
        return item  # it has just ended
    found: Mapping[str, Any] | None = engine.get_all(f"/containers/{item['Id']}/json")[0]
    return item if found is None else found
