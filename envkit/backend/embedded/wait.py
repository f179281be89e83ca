"""Wait until a service is started, healthy or completed; fail as soon as it cannot become so any more."""

from __future__ import annotations

import time
from threading import Event as Flag

from envkit.address import Address
from envkit.backend.embedded import instance, observe, restart
from envkit.backend.embedded import record as records
from envkit.backend.embedded.record import Record
from envkit.errors import ApplyError
from envkit.host.home import Home
from envkit.observed.state import Health, InstanceState
from envkit.spec.environment import Condition

_FIRST, _LONGEST = 0.005, 0.05
_PATIENCE = 2.0  # seconds that the supervisor has to show that it will start an ended instance again


def wait(home: Home, environment: str, address: Address, condition: Condition, cancelled: Flag) -> None:
    """See backend.base.Session.wait. An address with an index means that replica alone, service.NAME all of them."""
    if condition == "applied":
        return
    pause = _FIRST
    ended: dict[str, float] = {}
    while not cancelled.is_set():
        rows = [
            row for row in records.load_all(home, environment)
            if row.service == address.name and not (row.oneoff or row.is_waiting) and address.index in (1, row.replica)
        ]  # fmt: skip
        if not rows:
            raise ApplyError("A service is not there", f"nothing runs {address.name}", address=str(address))
        if all(_meets(row, condition, ended) for row in rows):
            return
        cancelled.wait(pause)
        pause = min(_LONGEST, pause * 1.3)


def _meets(record: Record, condition: Condition, ended: dict[str, float]) -> bool:
    """Whether one instance meets the condition. Raises ApplyError when it never will.

    ended: id -> when it was first seen ended with a restart still to come.
    """
    status = instance.status(record)
    if condition == "completed" and status.state is InstanceState.EXITED and status.exit_code == 0:
        return True
    if status.state is InstanceState.EXITED:
        return _still_waits(record, status, ended)
    ended.pop(record.id, None)
    if condition == "started":
        return status.is_alive
    if condition == "completed":
        return False
    if record.healthcheck is None:
        raise ApplyError(
            "A service has no health check", f"{record.address} can never become healthy",
            "give it a `healthcheck:`, or wait for `service_started`", address=str(record.address),
        )  # fmt: skip
    health = observe.health_of(record, status)
    if health is Health.UNHEALTHY:
        raise unhealthy(record)
    return health is Health.HEALTHY


def _still_waits(record: Record, status: instance.Status, ended: dict[str, float]) -> bool:
    """False while the restart policy will start an ended instance again. Raises ApplyError when it will not."""
    attempts = restart.read(record.directory)
    if attempts.next is not None:
        ended.pop(record.id, None)
        return False
    now = time.monotonic()
    may_return = record.desired == "running" and restart.wanted(record.restart, status.exit_code, attempts.attempts)
    if may_return and now - ended.setdefault(record.id, now) < _PATIENCE:
        return False
    raise ended_with(record, status)


def ended_with(record: Record, status: instance.Status) -> ApplyError:
    """The error of an instance that should be running, with its last log lines."""
    how = status.detail or f"exit code {status.exit_code}"
    if status.oom:
        how = f"exit code {status.exit_code}, {status.detail}"
    return ApplyError(
        "A service has ended", f"{record.address}: {how}", "its last log lines say why; `envkit logs` shows more",
        address=str(record.address), log=instance.last_lines(record, 20),
    )  # fmt: skip


def unhealthy(record: Record) -> ApplyError:
    """The error of an instance whose health check keeps failing, with its last log lines."""
    return ApplyError(
        "A service is unhealthy", f"{record.address}: {_last_probe(record)}",
        "its health check keeps failing; `envkit logs` shows more", address=str(record.address),
        log=instance.last_lines(record, 20),
    )  # fmt: skip


def _last_probe(record: Record) -> str:
    log = observe.small_file(record, "health.json").get("log") or []
    last = log[-1] if log else {}
    output = str(last.get("output") or "").strip() if isinstance(last, dict) else ""
    code = last.get("exit_code", "") if isinstance(last, dict) else ""
    return f"the last probe ended with {code}: {output}" if output else f"the last probe ended with {code}"
