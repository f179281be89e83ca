"""Which columns fit a width, and what stands in them: forms are shortened first, then columns go, the least first."""

from __future__ import annotations

from envkit.values import value
from envkit.views.live.picture import ABSENT, duration
from envkit.views.table import bytes_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envkit.views.live.picture import Picture, Row

_NAME, _PORTS = 28, 46
"""So wide a name and a list of ports may become."""


@value
class Column:
    """cell: the text of a row; right: numbers stand at the right."""

    key: str
    head: str
    cell: Callable[[Row], str]
    right: bool = False


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _cpu(row: Row) -> str:
    return "-" if row.cpu is None else f"{row.cpu * 100:.1f}%" if row.cpu < 9.995 else f"{row.cpu * 100:.0f}%"


def _memory(row: Row) -> str:
    return bytes_text(row.memory) if row.memory else "-"


def _memory_of(row: Row) -> str:
    return f"{_memory(row)} / {bytes_text(row.limit)}" if row.memory and row.limit else _memory(row)


def _short_port(text: str) -> str:
    """"127.0.0.1:8080->80/tcp" as "8080->80"; other protocols stay."""
    where, arrow, inside = text.rpartition("->")
    return f"{where.rpartition(':')[2]}{arrow}{inside.removesuffix('/tcp')}"


def _ports(row: Row) -> str:
    return _cut(", ".join(row.ports) or "-", _PORTS)


def _ports_short(row: Row) -> str:
    return _cut(", ".join(dict.fromkeys(_short_port(item) for item in row.ports)) or "-", 24)


def _state(row: Row) -> str:
    return f"{row.state} {row.note}".rstrip()


def _restarts(row: Row) -> str:
    return str(row.restarts) if row.state != ABSENT else "-"


def _uptime(row: Row) -> str:
    return "-" if row.uptime is None else duration(row.uptime)


_WHOLE = (
    Column("service", "SERVICE", lambda row: _cut(row.name, _NAME)),
    Column("state", "STATE", _state),
    Column("health", "HEALTH", lambda row: row.health or "-"),
    Column("cpu", "CPU", _cpu, right=True),
    Column("memory", "MEMORY", _memory_of, right=True),
    Column("ports", "PORTS", _ports),
    Column("restarts", "RESTARTS", _restarts, right=True),
    Column("uptime", "UPTIME", _uptime, right=True),
)
_SHORTER = (
    Column("ports", "PORTS", _ports_short),
    Column("memory", "MEMORY", _memory, right=True),
    Column("restarts", "RST", _restarts, right=True),
    Column("state", "STATE", lambda row: _cut(_state(row), 14)),
)
"""Taken one after the other while it is too wide."""

_DROPPED = ("restarts", "uptime", "ports", "memory", "cpu", "health")
"""Then these go."""


def fitting(rows: Sequence[Row], width: int, gap: int = 2) -> list[Column]:
    """The columns for these rows in width characters, gap between two. The service and its state always stay."""
    chosen = {column.key: column for column in _WHOLE}
    widths = {column.key: width_of(column, rows) + gap for column in _WHOLE}
    for column in _SHORTER:
        if sum(widths.values()) <= width:
            break
        chosen[column.key], widths[column.key] = column, width_of(column, rows) + gap
    for key in _DROPPED:
        if sum(widths.values()) <= width:
            break
        del chosen[key], widths[key]
    return list(chosen.values())


def width_of(column: Column, rows: Sequence[Row]) -> int:
    return max((len(column.head), *(len(column.cell(row)) for row in rows)))


def summary(picture: Picture) -> str:
    """The one line above the table: how many run, what they use, what differs from the files."""
    rows = [row for row in picture.rows if row.state != ABSENT]
    parts = [f"{sum(row.alive for row in rows)} of {len(picture.rows)} running"]
    if bad := sum(row.mood == "bad" for row in rows):
        parts.append(f"{bad} failing")
    if picture.drifted:
        parts.append(f"{picture.drifted} drifted")
    if picture.pending:
        parts.append(f"{picture.pending} to apply")
    if cpu := [row.cpu for row in rows if row.cpu is not None]:
        parts += [f"cpu {sum(cpu) * 100:.0f}%", f"memory {bytes_text(sum(row.memory for row in rows))}"]
    return " · ".join(parts)
