"""What the live view and `status` show at one moment, as values: no terminal, no threads, no clock."""

from __future__ import annotations

from envkit.observed.state import Health, InstanceState
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any

    from envkit.backend.base import Usage
    from envkit.observed.state import Instance
    from envkit.plan.model import Plan
    from envkit.spec.environment import Environment

ABSENT = "absent"
"""The state of a service that the files name and of which there is no instance."""


@value
class Row:
    """One instance. state: of InstanceState, or ABSENT; note: how it ended, in brackets where there is something to
    say; cpu: cores in use, None: not measured; memory, limit: bytes (0: none); uptime: seconds, None: does not run;
    address: "" for a service without instances."""

    name: str
    address: str
    state: str
    note: str = ""
    health: str = ""
    cpu: float | None = None
    memory: int = 0
    limit: int = 0
    ports: tuple[str, ...] = ()
    restarts: int = 0
    uptime: float | None = None
    image: str = ""

    @property
    def alive(self) -> bool:
        return self.state in (InstanceState.RUNNING, InstanceState.PAUSED, InstanceState.RESTARTING)

    @property
    def condition(self) -> str:
        """State, how it ended, and health: what a line of `status --watch` tells when it changes."""
        return " ".join(filter(None, [self.state, self.note, self.health]))

    @property
    def mood(self) -> str:
        """good, bad, busy or idle: what a colour adds to the words, which say it as well."""
        if self.health == Health.UNHEALTHY or (self.state == InstanceState.EXITED and self.note not in ("", "(0)")):
            return "bad"
        if self.state == InstanceState.RESTARTING or self.health == Health.STARTING:
            return "busy"
        return "good" if self.state == InstanceState.RUNNING else "idle"


@value
class Picture:
    """plan: what an apply would do now, drift included; None: not known (there are no files, or they cannot be read).
    problem: what kept some of this from being known, one line."""

    environment: str
    backend: str
    rows: tuple[Row, ...] = ()
    plan: Plan | None = field(default=None)
    problem: str = ""

    @property
    def drifted(self) -> int | None:
        return None if self.plan is None else len(self.plan.drift)

    @property
    def pending(self) -> int | None:
        """How many changes an apply would make."""
        return None if self.plan is None else len(self.plan.effective)

    @property
    def differs(self) -> bool:
        """Whether there is anything for the panel to show."""
        return bool(self.drifted or self.pending)


def rows_of(
    instances: Iterable[Instance], usage: Iterable[Usage], environment: Environment, now: float,
    only: Collection[str] = (),
) -> tuple[Row, ...]:  # fmt: skip
    """The services' instances (one-offs belong to whoever runs them), and the services that have none, by name.

    now: seconds since the epoch. only: names of services.
    """
    used = {item.address: item for item in usage}
    found = [_row(item, used, now) for item in instances if item.replica and (not only or item.service in only)]
    have = {row.name.partition("[")[0] for row in found}
    found += [Row(name, "", ABSENT) for name in environment.services if name not in have and (not only or name in only)]
    return tuple(sorted(found, key=_order))


def _order(row: Row) -> tuple[str, int]:
    name, _, number = row.name.partition("[")
    return name, int(number[:-1] or 1) if number else 1


def _row(item: Instance, used: Mapping[str, Usage], now: float) -> Row:
    name = item.service if item.replica == 1 else f"{item.service}[{item.replica}]"
    use = used.get(f"service.{name}")
    alive = item.state in (InstanceState.RUNNING, InstanceState.PAUSED)
    return Row(
        name, f"service.{name}", str(item.state), _note(item), str(item.health) if alive else "",
        use.cpu if use and alive else None, use.memory if use and alive else 0, use.memory_limit if use else 0,
        item.ports, item.restarts, _since(item.started_at, now) if alive else None, item.image,
    )  # fmt: skip


def _note(item: Instance) -> str:
    if item.state is not InstanceState.EXITED:
        return ""
    notes = [str(item.exit_code) if item.exit_code is not None else "", item.detail]
    text = ", ".join(note for note in notes if note)
    return f"({text})" if text else ""


def _since(started_at: str, now: float) -> float | None:
    from envkit.views.moments import parse_moment

    if not started_at:
        return None
    try:
        return max(0.0, now - parse_moment(started_at, now))
    except ValueError:
        return None


def changes(before: Sequence[Row], after: Sequence[Row]) -> list[tuple[str, str]]:
    """(name, condition) of what has changed; "gone" for what is no more."""
    known = {row.name: row.condition for row in before}
    new = [(row.name, row.condition) for row in after if known.get(row.name) != row.condition]
    left = {row.name for row in after}
    return new + [(name, "gone") for name in known if name not in left]


def duration(seconds: float) -> str:
    """How long, in at most two units: 40s, 12m, 3h 05m, 4d 2h. Seconds are told in steps of five from ten on: what
    changes less often is drawn less often."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole if whole < 10 else whole - whole % 5}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h {whole // 60 % 60:02d}m"
    return f"{whole // 86400}d {whole // 3600 % 24}h"


def picture_json(picture: Picture) -> dict[str, Any]:
    """`status --json`."""
    return {
        "environment": picture.environment, "backend": picture.backend,
        "services": [row_json(row) for row in picture.rows],
        "drifted": picture.drifted, "changes": picture.pending, "problem": picture.problem,
    }  # fmt: skip


def row_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name, "address": row.address, "state": row.state, "note": row.note, "health": row.health,
        "cpu": row.cpu, "memory": row.memory, "memory_limit": row.limit, "ports": list(row.ports),
        "restarts": row.restarts, "uptime": None if row.uptime is None else round(row.uptime, 1), "image": row.image,
    }  # fmt: skip
