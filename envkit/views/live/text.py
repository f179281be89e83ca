"""From values to text with styles. Colours are names of the sixteen that every terminal has, or of the theme."""

from __future__ import annotations

import re

from rich.text import Text

from envkit.views.live.columns import Column, summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.plan.model import Plan
    from envkit.views.live.picture import Picture, Row

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")
_STATE = {"running": "success", "restarting": "warning", "paused": "warning"}


class Paint:
    """The colours of a theme: success, warning, error, accent -> a style of rich. plain: no colour at all."""

    def __init__(self, colours: dict[str, str], *, plain: bool = False) -> None:
        self._colours, self._plain = colours, plain

    def __call__(self, name: str) -> str:
        if name == "dim":
            return "dim"
        return "bold" if self._plain else self._colours[name]


def cell(column: Column, text: str, style: str) -> Text:
    return Text(text, style, justify="right" if column.right else "left", no_wrap=True)


def cell_style(column: Column, row: Row, paint: Paint) -> str:
    """State and health have the colour of what they mean; what does not run is dim."""
    if column.key == "state":
        return paint(_STATE.get(row.state, "error" if row.mood == "bad" else "dim"))
    if column.key == "health" and row.health:
        return paint({"healthy": "success", "unhealthy": "error"}.get(row.health, "warning"))
    if column.key == "service":
        return "bold"
    return "" if row.alive else "dim"


def head(column: Column, width: int) -> Text:
    return Text(column.head.rjust(width) if column.right else column.head.ljust(width), no_wrap=True)


def title(picture: Picture, paint: Paint, width: int) -> Text:
    """The line at the top: as much of the summary as fits."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {picture.environment} ", "reverse bold")
    text.append(f" {picture.backend}  ", "dim")
    parts = summary(picture).split(" · ")
    while len(parts) > 1 and len(text) + len(" · ".join(parts)) > width:
        del parts[-1]
    for number, part in enumerate(parts):
        style = paint("error") if "failing" in part else paint("warning") if part.endswith(("drifted", "apply")) else ""
        text.append(part, style)
        if number < len(parts) - 1:
            text.append(" · ", "dim")
    return text


def panel(plan: Plan, base: str, *, colour: bool) -> Text:
    """What has drifted, field by field, and what an apply would do besides putting that right."""
    from envkit.plan.model import Action
    from envkit.values import replace
    from envkit.views.plan import render_plan
    from envkit.views.terminal import Style

    drifted = {change.address: {item.path for item in change.attributes} for change in plan.drift}
    more = tuple(
        change for change in plan.effective
        if change.address not in drifted or change.action is not Action.UPDATE
        or {item.path for item in change.attributes} - drifted[change.address]
    )  # fmt: skip
    blocks = render_plan(replace(plan, changes=more), Style(colour), base=base).rpartition("\n\n")[0]
    return Text.from_ansi(blocks)


def log_line(line: str, *, colour: bool) -> Text:
    """A line that a service has printed: its colours stay, all else that would move the cursor goes."""
    clean = _CONTROL.sub("", line.expandtabs())
    if "\x1b" not in clean:
        return Text(clean)
    text = Text.from_ansi(clean)
    if "\x1b" in text.plain or not colour:
        return Text(text.plain.replace("\x1b", ""))
    return text


def keys(pairs: Sequence[tuple[str, str]], width: int, kept: int = 1) -> Text:
    """`key what  key what`: as many as fit; the last ones (kept: how many) always: they say how to leave."""
    shown = list(pairs)
    while len(shown) > kept and sum(len(key) + len(what) + 3 for key, what in shown) > width + 1:
        del shown[-1 - kept]
    text = Text(no_wrap=True)
    for key, what in shown:
        text.append("  " if text.plain else " ")
        text.append(key, "bold")
        text.append(f" {what}", "dim")
    return text
