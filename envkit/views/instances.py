"""`ps` and `stats`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from envkit.observed.state import Health, Instance, InstanceState
from envkit.views.table import bytes_text, render_table
from envkit.views.terminal import Style

if TYPE_CHECKING:
    from envkit.backend.base import Usage

_PAINT = {"running": "green", "healthy": "green", "restarting": "yellow", "starting": "yellow", "unhealthy": "red"}


def instance_json(row: Instance) -> dict[str, Any]:
    """One instance in the form of DESIGN §5."""
    return {
        "service": row.service, "replica": row.replica, "id": row.id, "name": row.name, "state": str(row.state),
        "health": str(row.health), "exit_code": row.exit_code, "pid": row.pid, "image": row.image,
        "ports": list(row.ports), "started_at": row.started_at, "restarts": row.restarts, "detail": row.detail,
        **({"node": row.node} if row.node else {}),
    }  # fmt: skip


def render_instances(rows: Sequence[Instance], style: Style) -> str:
    """A table; the state tells how an instance ended."""
    head = ["SERVICE", "STATE", "HEALTH", "RESTARTS", "IMAGE", "PORTS"]
    nodes = any(row.node for row in rows)
    table = [
        [
            _name(row), _state(row),
            str(row.health) if row.health is not Health.NONE else "-", str(row.restarts), row.image,
            ", ".join(row.ports) or "-", *([row.node or "-"] if nodes else []),
        ]
        for row in rows
    ]  # fmt: skip
    return render_table([*head, "NODE"] if nodes else head, table, style, _PAINT)


def _name(row: Instance) -> str:
    if not row.replica:
        return row.name  # a one-off
    return row.service if row.replica == 1 else f"{row.service}[{row.replica}]"


def _state(row: Instance) -> str:
    if row.state is not InstanceState.EXITED:
        return str(row.state)
    notes = [f"code {row.exit_code}" if row.exit_code is not None else "", row.detail]
    return f"exited ({', '.join(note for note in notes if note)})"


def render_usage(rows: Sequence[Usage], style: Style) -> str:
    """A table of what is used; CPU in percent of one core."""
    head = ["SERVICE", "CPU", "MEMORY", "LIMIT", "PIDS", "NET IN/OUT", "DISK READ/WRITTEN"]
    table = [
        [
            row.address.removeprefix("service."), f"{row.cpu * 100:.1f}%", bytes_text(row.memory),
            bytes_text(row.memory_limit) if row.memory_limit else "-", str(row.pids),
            f"{bytes_text(row.net_rx)} / {bytes_text(row.net_tx)}",
            f"{bytes_text(row.block_read)} / {bytes_text(row.block_write)}",
        ]
        for row in rows
    ]  # fmt: skip
    return render_table(head, table, style)
