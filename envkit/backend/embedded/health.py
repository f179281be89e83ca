"""Health checks: when to probe and what a result means. No processes and no clock of its own in here.

Semantics: Compose Specification 05-services.md `healthcheck`; the interval is counted from the end of the check before.
Until the first success there are extra probes that back off from 50 ms: their failures mean nothing, their success
does, so that whoever waits for `service_healthy` does not wait for a whole interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envkit.lean import json

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
OUTPUT_LIMIT = 4096  # bytes kept of one probe's output
_KEEP = 5
_FIRST_PAUSE = 0.05


class Check:
    """The parameters of a healthcheck, Compose's defaults filled in; durations in seconds."""

    __slots__ = ("argv", "interval", "retries", "start_interval", "start_period", "timeout")

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """spec: HealthcheckSpec with a test (see argv_of)."""
        self.argv = argv_of(spec) or []
        self.interval = float(spec.get("interval") or 30.0)
        self.timeout = float(spec.get("timeout") or 30.0)
        self.start_period = float(spec.get("start_period") or 0.0)
        self.start_interval = float(spec.get("start_interval") or 5.0)
        self.retries = int(spec.get("retries") or 3)


def argv_of(spec: Mapping[str, Any] | None) -> list[str] | None:
    """The probe's command; None when there is nothing to check."""
    test = list((spec or {}).get("test") or [])
    if len(test) < 2 or test[0] == "NONE":
        return None
    if test[0] == "CMD":
        return test[1:]
    return ["/bin/sh", "-c", test[1]]


class Monitor:
    """The state of one instance's health since it started (at `started`, seconds of any clock).

    pid: of the container's first process; a health.json with another pid is about an earlier life.
    """

    def __init__(self, check: Check, started: float, pid: int) -> None:
        self.check = check
        self.pid = pid
        self.status = STARTING
        self.failing_streak = 0
        self.since = started
        self.log: list[dict[str, Any]] = []
        self._started = started
        self._last_end = started
        self._last_counted = started
        self._pause = _FIRST_PAUSE
        self._settled = False  # a probe has succeeded

    def due(self) -> float:
        """When the next probe is to start."""
        return min(self._counted_due(), self._last_end + self._pause) if self._extra() else self._counted_due()

    def is_extra(self, now: float) -> bool:
        """Whether a probe that starts now is an extra one; those may wait their turn when many are due."""
        return self._extra() and now < self._counted_due()

    def finished(self, start: float, end: float, exit_code: int, output: str) -> bool:
        """Take in a result (exit_code 0: healthy); whether health.json has to be written."""
        extra = self.is_extra(start)
        self._last_end = end
        passed = exit_code == 0
        if extra and not passed:
            self._pause = min(self._pause * 2, self._interval(end))
            return False
        self._last_counted = end
        row = {"start": start, "end": end, "exit_code": exit_code, "output": output[:OUTPUT_LIMIT]}
        self.log = [*self.log, row][-_KEEP:]
        before = self.status
        if passed:
            self._settled = True
            self.failing_streak = 0
            self.status = HEALTHY
        elif self._settled or start - self._started >= self.check.start_period:
            self.failing_streak += 1
            if self.failing_streak >= self.check.retries:
                self.status = UNHEALTHY
        if self.status != before:
            self.since = end
        return True

    def to_json(self) -> dict[str, Any]:
        """health.json."""
        return {
            "status": self.status, "failing_streak": self.failing_streak, "since": self.since, "pid": self.pid,
            "log": self.log,
        }  # fmt: skip

    def resume(self, value: Mapping[str, Any] | None) -> None:
        """Go on where an earlier supervisor stopped, when value (health.json) is about this very life."""
        if not value or value.get("pid") != self.pid or value.get("status") not in (STARTING, HEALTHY, UNHEALTHY):
            return
        self.status = value["status"]
        self.failing_streak = int(value.get("failing_streak") or 0)
        self.since = float(value.get("since") or self.since)
        self.log = [row for row in value.get("log") or () if isinstance(row, dict)][-_KEEP:]
        self._settled = any(row.get("exit_code") == 0 for row in self.log) or self.status == HEALTHY
        if self.log:
            self._last_end = self._last_counted = float(self.log[-1].get("end") or self._last_end)

    def _extra(self) -> bool:
        return self.status == STARTING and not self._settled

    def _interval(self, now: float) -> float:
        if self.status == STARTING and now - self._started < self.check.start_period:
            return min(self.check.start_interval, self.check.interval)
        return self.check.interval

    def _counted_due(self) -> float:
        return self._last_counted + self._interval(self._last_counted)


def read(directory: str) -> dict[str, Any] | None:
    """health.json of a record directory; None when there is none yet."""
    try:
        with open(f"{directory}/health.json", "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def status(directory: str, healthcheck: Mapping[str, Any] | None, pid: int) -> str:
    """The health of the life with this first process: "" without a check or a process, else starting, healthy or
    unhealthy."""
    if pid <= 0 or argv_of(healthcheck) is None:
        return ""
    value = read(directory)
    return str(value["status"]) if value and value.get("pid") == pid and value.get("status") else STARTING
