"""Restart policies: whether and when an instance that has ended is started again. Pure, but for its state file.

Semantics: Compose Specification 05-services.md `restart` and deploy.md `restart_policy`. An instance that lived for
`window` seconds (at least 10) is well again: the pause and the count of attempts begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 60.0
_WELL_AFTER = 10.0


class Attempts:
    """What supervisor.json keeps. restarts: since the instance was made; attempts: in the present run of failures;
    next: when it is started again (seconds since the epoch), None when it is not going to be; pid and started: of the
    life that was last seen; ended: whether its end has been dealt with."""

    __slots__ = ("attempts", "ended", "next", "pid", "restarts", "started")

    def __init__(
        self, restarts: int = 0, attempts: int = 0, next: float | None = None, pid: int = 0, started: float = 0.0,
        ended: bool = False,
    ) -> None:  # fmt: skip
        self.restarts = restarts
        self.attempts = attempts
        self.next = next
        self.pid = pid
        self.started = started
        self.ended = ended

    def to_json(self) -> dict[str, Any]:
        return {
            "state": "restarting" if self.next is not None else "", "restarts": self.restarts,
            "attempts": self.attempts, "next": self.next, "pid": self.pid, "started": self.started,
            "ended": self.ended,
        }  # fmt: skip


def read(directory: str) -> Attempts:
    """supervisor.json of a record directory; a fresh one when there is none."""
    try:
        with open(f"{directory}/supervisor.json", "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return Attempts()
    if not isinstance(value, dict):
        return Attempts()
    moment = value.get("next")
    return Attempts(
        int(value.get("restarts") or 0), int(value.get("attempts") or 0),
        None if moment is None else float(moment), int(value.get("pid") or 0), float(value.get("started") or 0.0),
        bool(value.get("ended")),
    )  # fmt: skip


def wanted(policy: Mapping[str, Any], exit_code: int | None, attempts: int) -> bool:
    """Whether an instance that ended by itself is started again; exit_code None: unknown, which counts as a failure.

    attempts: restarts in the present run of failures.
    """
    kind = policy.get("policy", "no")
    limit = policy.get("max_attempts")
    if kind == "no" or (kind == "on-failure" and exit_code == 0):
        return False
    return not limit or attempts < limit


def pause(policy: Mapping[str, Any], attempts: int) -> float:
    """Seconds until the restart number attempts + 1."""
    first = float(policy.get("delay") or _FIRST_PAUSE)
    return min(first * 2.0 ** min(attempts, 32), max(_LONGEST_PAUSE, first))


def is_well(policy: Mapping[str, Any], lived: float) -> bool:
    """Whether a life of so many seconds ends a run of failures."""
    return lived >= max(float(policy.get("window") or 0.0), _WELL_AFTER)
