"""`status` on one screen, and its lines where there is no terminal to draw on."""

from __future__ import annotations

import json
import time

from envkit.views.live.columns import fitting, summary
from envkit.views.live.picture import ABSENT, changes, row_json
from envkit.views.table import render_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.views.live.picture import Picture, Row
    from envkit.views.terminal import Style

_PAINT = {
    "running": "green", "healthy": "green", "restarting": "yellow", "starting": "yellow", "unhealthy": "red",
    "exited": "red", ABSENT: "dim",
}  # fmt: skip


def render_status(picture: Picture, style: Style, width: int, *, base: str = "") -> str:
    """The summary, the table, and the plan where an apply would do something or something has drifted."""
    blocks = [f"{style(picture.environment, 'bold')} ({picture.backend})  {summary(picture)}"]
    if picture.rows:
        columns = fitting(picture.rows, width)
        cells = [[column.cell(row) for column in columns] for row in picture.rows]
        blocks.append(render_table([column.head for column in columns], cells, style, _PAINT))
    else:
        blocks.append("There is nothing here. `envkit apply` makes it.")
    if picture.plan is not None and picture.plan.drift:
        from envkit.values import replace
        from envkit.views.plan import render_plan

        drift = render_plan(replace(picture.plan, changes=()), style, base=base).rpartition("\n\n")[0]
        blocks.append(f"{drift}\n\n`envkit plan` shows what apply would do about it.")
    if picture.problem:
        blocks.append(f"{style('warning', 'bold', 'yellow')}: {picture.problem}")
    return "\n\n".join(blocks)


class Changes:
    """What has changed from one picture to the next, one line each."""

    def __init__(self, style: Style, *, as_json: bool) -> None:
        self._style, self._json = style, as_json
        self._rows: tuple[Row, ...] = ()
        self._said = ("", "")

    def lines(self, picture: Picture) -> list[str]:
        """The lines for this picture; the first one's are all its services."""
        before, self._rows = self._rows, picture.rows
        if self._json:
            found = [self._object(name, condition, picture) for name, condition in changes(before, picture.rows)]
        else:
            found = [f"{name}  {self._painted(condition)}" for name, condition in changes(before, picture.rows)]
        drift = "" if picture.plan is None else _differs(picture)
        for text, former, kind in zip((drift, picture.problem), self._said, ("drift", "problem"), strict=True):
            if text != former and self._json:
                found.append(json.dumps({"type": kind, "drifted": picture.drifted, "changes": picture.pending,
                                         "message": text}))  # fmt: skip
            elif text != former:
                found.append(self._style(text or _MENDED[kind], "yellow" if text else "green"))
        self._said = (drift, picture.problem)
        if self._json:
            return found
        clock = self._style(time.strftime("%H:%M:%S"), "dim")
        return [f"{clock}  {line}" for line in found]

    def _painted(self, condition: str) -> str:
        words = condition.split(" ")
        return " ".join(self._style(word, *filter(None, [_PAINT.get(word)])) for word in words)

    def _object(self, name: str, condition: str, picture: Picture) -> str:
        row = next((row for row in picture.rows if row.name == name), None)
        what = row_json(row) if row is not None else {"name": name, "state": condition}
        return json.dumps({"type": "state", **what}, ensure_ascii=False)


_MENDED = {"drift": "matches the files", "problem": "everything is known again"}


def _differs(picture: Picture) -> str:
    drifted = ", ".join(
        f"{change.address} ({', '.join(item.path for item in change.attributes) or change.reason})"
        for change in (picture.plan.drift if picture.plan else ())
    )
    parts = [f"drifted: {drifted}" if drifted else "", f"{picture.pending} to apply" if picture.pending else ""]
    return "; ".join(part for part in parts if part)
