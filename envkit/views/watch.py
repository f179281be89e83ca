"""Rounds of watching: one line for people, one object for machines."""

from __future__ import annotations

import time

from envkit.views.diagnostics import error_json, render_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from envkit.reconcile.watch.round import Act, Round
    from envkit.views.terminal import Style

_DONE = {"create": "created", "update": "updated", "replace": "replaced", "delete": "removed", "restart": "restarted"}
_MOST = 4
"""So many things are named in one line."""


def render_round(made: Round, style: Style, *, base: str = "") -> str:
    """The problems, then one line: when, what was done, how long it took."""
    blocks = [render_error(error, style, base=base) for error in made.problems]
    parts = [*(["the files are valid again"] if made.mended else []), *_parts(made.acts)]
    if made.problems:
        parts.append(style("what was running runs on" if not made.acts else "not all could be done", "yellow"))
    clock = style(time.strftime("%H:%M:%S"), "dim")
    more = [f"and {len(parts) - _MOST} more"] if len(parts) > _MOST + 1 else []
    shown = parts[:_MOST] if more else parts
    took = style(f"({seconds(made.seconds)})", "dim")
    blocks.append(f"{clock} {'; '.join([*shown, *more])} {took}")
    return "\n".join(blocks)


def _parts(acts: Iterable[Act]) -> Iterator[str]:
    synced: dict[str, list[Act]] = {}
    for act in acts:
        if act.verb == "sync":
            synced.setdefault(act.address, []).append(act)
    for act in acts:
        name = act.address.removeprefix("service.")
        if act.verb == "sync":
            if rows := synced.pop(act.address, None):
                count = sum(row.files for row in rows)
                what = rows[0].detail if count == 1 else f"{count} files"
                yield f"{what} synced to {name}"
        elif act.verb == "exec":
            yield f"ran {act.detail!r} in {name}"
        elif act.address.startswith("image.") and act.verb != "delete":
            yield f"{act.address} built"
        else:
            yield f"{name} {_DONE.get(act.verb, act.verb)}{f' ({act.detail})' if act.detail else ''}"


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def round_json(made: Round) -> dict[str, Any]:
    """A line of the JSON stream."""
    return {
        "type": "round", "seconds": round(made.seconds, 4), "mended": made.mended,
        "acts": [
            {"verb": act.verb, "address": act.address, "files": act.files, "detail": act.detail} for act in made.acts
        ],
        "problems": [error_json(error) for error in made.problems],
    }  # fmt: skip
