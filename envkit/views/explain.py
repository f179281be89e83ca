"""One resource for people: what it is, where each value was written and who did it, when it was last made anew."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from envkit.lean import json
from envkit.plan.sensitive import mask
from envkit.reconcile.blame import Blame
from envkit.views.plan import shorten
from envkit.views.terminal import Style

_LONGEST_VALUE = 60


def leaves(spec: Mapping[str, Any], path: str = "", parents: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(path, value) of every value of a canonical spec that is not empty; secrets masked."""
    for key, item in spec.items():
        below = f"{path}.{key}" if path else str(key)
        yield from _values(below, parents, str(key), item)


def _values(path: str, parents: tuple[str, ...], name: str, item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Mapping):
        yield from leaves(item, path, (*parents, name))
    elif isinstance(item, list) and any(isinstance(each, Mapping) for each in item):
        for number, each in enumerate(item):
            yield from _values(f"{path}[{number}]", parents, name, each)
    elif item not in (None, "", [], ()):
        yield path, mask(parents, name, item, item)[0]


def explain_json(
    address: str, facts: Mapping[str, Any], values: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The same as data: values have path, value, source and commit (null outside of a repository)."""
    return {"address": address, "now": dict(facts), "values": list(values), "history": list(entries)}


def commit_json(item: Blame | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {"id": item.commit if item.is_committed else None, "author": item.author, "time": item.time,
            "summary": item.summary}  # fmt: skip


def render_explanation(explained: Mapping[str, Any], style: Style, *, base: str) -> str:
    """What explain_json says."""
    blocks = [style(str(explained["address"]), "bold")]
    width = max((len(key) for key in explained["now"]), default=0)
    blocks += [f"  {key.ljust(width)}  {value}" for key, value in explained["now"].items()]
    blocks.append("")
    if explained["values"]:
        blocks.append(style("Set by:", "bold"))
        width = max(len(row["path"]) for row in explained["values"])
        blocks += [_value_line(row, width, style, base) for row in explained["values"]]
        blocks.append("")
    blocks.append(style("What apply did to it:", "bold"))
    blocks += [_entry_line(entry, style, base) for entry in explained["history"]] or ["  nothing that is remembered"]
    return "\n".join(blocks)


def _value_line(row: Mapping[str, Any], width: int, style: Style, base: str) -> str:
    text = row["value"] if isinstance(row["value"], str) else json.dumps(row["value"], ensure_ascii=False)
    if len(text) > _LONGEST_VALUE:
        text = text[: _LONGEST_VALUE - 1] + "…"
    notes = [shorten(row["source"], base) or "a default"]
    if commit := row["commit"]:
        day = time.strftime("%Y-%m-%d", time.gmtime(commit["time"]))
        notes.append(f"{commit['id'][:8]} {commit['author']} {day}: {commit['summary']}" if commit["id"]
                     else "not committed yet")  # fmt: skip
    return f"  {row['path'].ljust(width)}  {text}  {style('# ' + ', '.join(notes), 'dim')}"


def _entry_line(entry: Mapping[str, Any], style: Style, base: str) -> str:
    who = f"{entry['who']}, generation {entry['generation']}"
    return f"  {entry['time']}  {entry['action']} {entry['result']}: {shorten(entry['reason'], base)}" + style(
        f"  # {who}", "dim"
    )
