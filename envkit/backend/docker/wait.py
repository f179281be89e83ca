"""Wait until a service is started, healthy or completed; fail as soon as it cannot become so any more."""

from __future__ import annotations

from threading import Event as Flag

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker import facts, look, names
from envkit.backend.docker.blame import last_lines
from envkit.backend.docker.podman import probed
from envkit.backend.engine_api import Engine
from envkit.errors import ApplyError
from envkit.observed.state import Health, InstanceState
from envkit.spec.environment import Condition

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FIRST, _LONGEST = 0.02, 0.25


def wait(engine: Engine, environment: str, address: Address, condition: Condition, cancelled: Flag) -> None:
    """See backend.base.Session.wait. An address with an index means that replica alone, service.NAME all of them."""
    if condition == "applied":
        return
    query = {"all": True, "filters": {"label": [
        f"{ownership.COMPOSE}project={environment}", f"{ownership.COMPOSE}service={address.name}",
    ]}}  # fmt: skip
    pause = _FIRST
    while not cancelled.is_set():
        listed = engine.get_all(("/containers/json", query))[0] or ()
        found = look.inspect(engine, [row["Id"] for row in listed if not names.is_scratch(names.own_name(row))])
        rows: list[Mapping[str, Any]] = [
            item for item in found if (own := look.address_of(item)) and address.index in (1, own.index)
        ]
        if not rows:
            raise ApplyError("A service is not there", f"nothing runs {address.name}", address=str(address))
        if condition == "healthy":
            rows = [probed(engine, item) for item in rows]
        if all(_meets(engine, item, condition) for item in rows):
            return
        cancelled.wait(pause)
        pause = min(_LONGEST, pause * 1.3)


def _meets(engine: Engine, item: Mapping[str, Any], condition: Condition) -> bool:
    """Whether one instance meets the condition. Raises ApplyError when it never will."""
    state: Mapping[str, Any] = item["State"]
    status, code = facts.state_of(str(state.get("Status"))), int(state.get("ExitCode") or 0)
    if status is InstanceState.EXITED:
        if condition == "completed" and code == 0:
            return True
        how = f"exit code {code}{', OOM-killed' if state.get('OOMKilled') else ''}"
        raise _failure(engine, item, "A service has ended", how)
    if condition == "started":
        return status is InstanceState.RUNNING
    if condition == "completed":
        return False
    health = facts.health_of(state)
    if health is Health.UNHEALTHY:
        raise _failure(engine, item, "A service is unhealthy", _last_probe(state))
    test = ((item.get("Config") or {}).get("Healthcheck") or {}).get("Test") or ["NONE"]
    if test[0] == "NONE":
        raise ApplyError(
            "A service has no health check", f"{look.address_of(item)} can never become healthy",
            "give it a `healthcheck:`, or wait for `service_started`", address=str(look.address_of(item)),
        )  # fmt: skip
    return health is Health.HEALTHY


def _last_probe(state: Mapping[str, Any]) -> str:
    log = (state.get("Health") or state.get("Healthcheck") or {}).get("Log") or ()
    last = log[-1] if log else {}
    return f"the last probe ended with {last.get('ExitCode', '')}: {str(last.get('Output') or '').strip()}"


def _failure(engine: Engine, item: Mapping[str, Any], summary: str, why: str) -> ApplyError:
    address = str(look.address_of(item))
    return ApplyError(
        summary, f"{address}: {why}", "its last log lines say why; `envkit logs` shows more", address=address,
        log=last_lines(engine, str(item["Id"])),
    )  # fmt: skip
