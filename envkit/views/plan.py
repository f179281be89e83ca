"""A plan for people: what changed outside envkit, what will change, why, and the totals."""

from __future__ import annotations

from envkit.lean import json
from envkit.plan.model import Action, Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from envkit.plan.model import AttributeChange, Change, Plan
    from envkit.views.terminal import Style

_COLOUR = {"create": "green", "update": "yellow", "replace": "magenta", "delete": "red", "noop": "dim"}
_LONGEST_VALUE = 100
_LONGEST_TITLE = 70
_MOST_FILES = 5


def render_plan(
    plan: Plan, style: Style, *, base: str = "", files: Sequence[str] = (),
    layers: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:  # fmt: skip
    """The whole plan. An empty plan without drift is exactly one line. layers: those of images that are built, by the
    images' names (image.foresee)."""
    if plan.is_empty and not plan.drift:
        return no_changes(files)
    blocks: list[str] = []
    if plan.drift:
        lines = [style("Changed outside envkit:", "bold")]
        for change in plan.drift:
            lines += _change_lines(change, style, base, symbol="!")
        blocks.append("\n".join(lines))
    if plan.effective:
        lines = [style("Will change:", "bold")]
        for change in plan.effective:
            lines += _change_lines(change, style, base, symbol=change.action.symbol)
            if change.address.kind == "image" and layers:
                lines += [_layer_line(row, style) for row in layers.get(change.address.name, ())]
        blocks.append("\n".join(lines))
    if lost := [line for change in plan.effective for line in _lost_files(change, style)]:
        blocks.append("\n".join([style("Files written into a container's own layer will be lost:", "yellow"), *lost]))
    if plan.partial:
        blocks.append(style(f"This plan is partial: only {', '.join(plan.partial)}.", "yellow"))
    blocks.append(style(totals(plan), "bold"))
    return "\n\n".join(blocks)


def no_changes(files: Sequence[str]) -> str:
    """The one line that says that there is nothing to do."""
    name = " and ".join(file.rpartition("/")[2] for file in files) or "its files"
    return f"No changes. The environment matches {name}."


def totals(plan: Plan) -> str:
    """`Plan: 2 to create, 1 to replace. 1 drifted.`"""
    parts = [f"{plan.count(word)} to {word}" for word in ("create", "update", "replace", "delete") if plan.count(word)]
    text = f"Plan: {', '.join(parts)}." if parts else "Plan: nothing to change."
    if plan.drift:
        text += f" {len(plan.drift)} drifted."
    if plan.loses_data:
        from envkit.views.table import content_text

        losing = [change for change in plan.changes if change.loses_data]
        held = [_held(change) for change in losing if _is_counted(change)]
        much = f": {content_text(sum(size for size, _ in held), sum(files for _, files in held))}" if held else ""
        text += f" {len(losing)} would lose data{much}."
    return text


def _held(change: Change) -> tuple[int, int]:
    """(bytes, files) that are lost, or kept as a snapshot."""
    facts = change.observed.attributes if change.observed else {}
    return int(facts["bytes"]), int(facts["files"])


def _is_counted(change: Change) -> bool:
    return change.observed is not None and "bytes" in change.observed.attributes


def _alarm(change: Change, style: Style) -> str:
    """What becomes of the data, where it does not stay."""
    if not (change.loses_data or change.snapshot):
        return ""
    from envkit.views.table import content_text

    much = f": {content_text(*_held(change))}" if _is_counted(change) else ""
    if change.snapshot:
        return "  " + style(f"KEEPS ITS DATA AS A SNAPSHOT{much}", "yellow")
    return "  " + style(f"LOSES DATA{much}", "bold", "red")


def _change_lines(change: Change, style: Style, base: str, symbol: str) -> Iterable[str]:
    colour = "cyan" if symbol == "!" else _COLOUR[change.action.word]
    reason = f"  {style('# ' + shorten(change.reason, base), 'dim')}" if change.reason else ""
    title = f"  {style(symbol.rjust(3), 'bold', colour)} {style(str(change.address), 'bold')}"
    yield f"{title}{_alarm(change, style)}{reason}"
    if change.action is Action.CREATE and symbol != "!":
        return
    width = max((len(item.path) for item in change.attributes), default=0)
    for item in change.attributes:
        yield _attribute_line(item, width, style, base)


def _lost_files(change: Change, style: Style) -> Iterable[str]:
    """The files that die with an instance which is replaced or deleted."""
    from envkit.plan.encode import lost_files

    files = lost_files(change)
    shown = [str(item) for item in files[:_MOST_FILES]]
    if files:
        more = ["…"] if len(files) > len(shown) else []
        hint = style(f"# envkit diff {change.address.name} shows all", "dim")
        yield f"    {change.address}: {', '.join([*shown, *more])}  {hint}"


def _layer_line(row: Mapping[str, Any], style: Style) -> str:
    """One layer of an image: kept, or made and why."""
    title = row["title"] if len(row["title"]) <= _LONGEST_TITLE else row["title"][: _LONGEST_TITLE - 1] + "…"
    if row["cached"]:
        return style(f"        = layer {row['number']}: {title}", "dim")
    return f"        {style('+', 'green')} layer {row['number']}: {title}  {style('# ' + row['reason'], 'dim')}"


def _attribute_line(item: AttributeChange, width: int, style: Style, base: str) -> str:
    notes = [note for note in (shorten(item.source, base), _effect_text(item.effect)) if note]
    note = f"  {style('# ' + ', '.join(notes), 'dim')}" if notes else ""
    before, after = _value(item.before), _value(item.after)
    sign = "+" if item.before is None else "-" if item.after is None else "~"
    arrow = after if item.before is None else before if item.after is None else f"{before} -> {after}"
    return f"        {style(sign, 'yellow')} {item.path.ljust(width)}  {arrow}{note}"


def _effect_text(effect: Effect) -> str:
    return {Effect.REPLACE: "forces replacement", Effect.RESTART: "restarts", Effect.IN_PLACE: "in place"}.get(
        effect, ""
    )


def _value(value: Any) -> str:
    if isinstance(value, str) and value.startswith("(") and value.endswith(")"):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def shorten(text: str, base: str) -> str:
    """File names below base without it."""
    return text.replace(base.rstrip("/") + "/", "") if base else text
