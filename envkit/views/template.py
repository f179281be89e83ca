"""`--format`: table, json, a Go template, or `table TEMPLATE`.

Of Go's text/template: fields (`.Name`, `.Labels.tier`), texts, numbers, pipelines, `if`/`else`/`end`, trim marks, and
the functions json, upper, lower, title, join, split, println, len, eq, ne, not and truncate. `\\t` and `\\n` are
written as in Docker's --format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envkit.views.table import render_table
from envkit.views.terminal import Style

_WORD = re.compile(r'\s*("(?:[^"\\]|\\.)*"|`[^`]*`|\||\(|\)|[^\s|()"`]+)')

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda item: json.dumps(item, ensure_ascii=False, separators=(",", ":")),
    "upper": lambda item: str(item).upper(),
    "lower": lambda item: str(item).lower(),
    "title": lambda item: str(item).title(),
    "join": lambda items, by: str(by).join(map(str, items)),
    "split": lambda item, by: str(item).split(str(by)),
    "println": lambda *items: " ".join(map(_text, items)) + "\n",
    "len": len,
    "eq": lambda one, *others: any(one == other for other in others),
    "ne": lambda one, other: one != other,
    "not": lambda item: not item,
    "truncate": lambda item, length: str(item)[: int(length)],
}  # fmt: skip


def formatted(form: str, rows: Sequence[Mapping[str, Any]], style: Style, columns: Sequence[str]) -> str:
    """The rows in a form. columns: the fields of a plain table. One line per row, none for no rows (but for the head of
    a table). Raises ValueError for a template that cannot be read."""
    if form == "json":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    if form in ("", "table"):
        head = [_heading(name) for name in columns]
        return render_table(head, [[_text(row.get(name, "")) for name in columns] for row in rows], style)
    tabled = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    lines = [template.render(row) for row in rows]
    if not tabled:
        return "\n".join(lines)
    head = Template(text).heading().split("\t")
    table = [line.split("\t") for line in lines]
    width = max([len(head), *map(len, table)])
    head, *table = [[*row, *[""] * (width - len(row))] for row in (head, *table)]
    return render_table(head, table, style)


class Template:
    """A parsed template. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self._parts = _split(text)
        self._at = 0
        self._nodes = self._block(())
        if self._at < len(self._parts):
            raise ValueError("{{end}} without {{if}}")

    def render(self, data: Any) -> str:
        """The text for one row. Raises ValueError for a field that it has not."""
        return _render(self._nodes, data)

    def heading(self) -> str:
        """The template with the names of fields in place of their values."""
        return "".join(_heading_of(kind, what) for kind, what in self._parts)

    def _block(self, ends: Sequence[str]) -> list[Any]:
        nodes: list[Any] = []
        while self._at < len(self._parts):
            kind, what = self._parts[self._at]
            if kind == "text":
                self._at += 1
                nodes.append(("text", what))
                continue
            words = _words(what)
            if not words:
                raise ValueError("an empty {{}}")
            if words[0] in ("else", "end"):
                if words[0] not in ends:
                    break
                return nodes
            self._at += 1
            if words[0] == "if":
                nodes.append(self._condition(words[1:]))
            elif words[0] in ("range", "with", "define", "template", "block"):
                raise ValueError(f"{{{{{words[0]}}}}} is not understood here")
            else:
                nodes.append(("value", words))
        if ends:
            raise ValueError("{{if}} without {{end}}")
        return nodes

    def _condition(self, test: list[str]) -> Any:
        then = self._block(("else", "end"))
        other: list[Any] = []
        if _words(self._parts[self._at][1])[0] == "else":
            self._at += 1
            other = self._block(("end",))
        self._at += 1
        return ("if", test, then, other)


def _split(text: str) -> list[tuple[str, str]]:
    """(text or action, content) in order; trim marks are applied."""
    parts: list[tuple[str, str]] = []
    while text:
        start = text.find("{{")
        if start < 0:
            parts.append(("text", text))
            break
        before, rest = text[:start], text[start + 2 :]
        end = rest.find("}}")
        if end < 0:
            raise ValueError("{{ without }}")
        action, text = rest[:end], rest[end + 2 :]
        if action.startswith("-"):
            action, before = action[1:], before.rstrip()
        if action.endswith("-"):
            action, text = action[:-1], text.lstrip()
        if before:
            parts.append(("text", before))
        parts.append(("action", action.strip()))
    return parts


def _words(action: str) -> list[str]:
    found, at = [], 0
    while at < len(action):
        match = _WORD.match(action, at)
        if match is None:
            break
        found.append(match[1])
        at = match.end()
    return found


def _render(nodes: Sequence[Any], data: Any) -> str:
    pieces = []
    for node in nodes:
        if node[0] == "text":
            pieces.append(node[1])
        elif node[0] == "value":
            pieces.append(_text(_evaluate(node[1], data)))
        else:
            pieces.append(_render(node[2] if _evaluate(node[1], data) else node[3], data))
    return "".join(pieces)


def _evaluate(words: Sequence[str], data: Any) -> Any:
    """A pipeline: each command gets the value of the one before as its last argument."""
    value: list[Any] = []
    command: list[str] = []
    for word in [*words, "|"]:
        if word != "|":
            command.append(word)
            continue
        if not command:
            raise ValueError("an empty command in a pipeline")
        value = [_call(command, value, data)]
        command = []
    return value[0]


def _call(command: Sequence[str], last: Sequence[Any], data: Any) -> Any:
    head, *rest = command
    if head in _FUNCTIONS:
        try:
            return _FUNCTIONS[head](*[_operand(word, data) for word in rest], *last)
        except TypeError as error:
            raise ValueError(f"{head}: {error}") from error
    if rest or last:
        raise ValueError(f"function {head!r} is not defined")
    return _operand(head, data)


def _operand(word: str, data: Any) -> Any:
    if word == ".":
        return data
    if word.startswith("."):
        return _field(word, data)
    if word.startswith('"'):
        return json.loads(word)
    if word.startswith("`"):
        return word[1:-1]
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    if word in ("true", "false"):
        return word == "true"
    raise ValueError(f"function {word!r} is not defined")


def _field(word: str, data: Any) -> Any:
    for name in word[1:].split("."):
        if not isinstance(data, Mapping) or name not in data:
            known = f"; there is {', '.join(sorted(data))}" if isinstance(data, Mapping) else ""
            raise ValueError(f"there is no field {word}{known}")
        data = data[name]
    return data


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{_text(value[key])}' for key in sorted(value))}]"
    return "" if value is None else str(value)


def _heading_of(kind: str, what: str) -> str:
    if kind == "text":
        return what
    field = next((word for word in _words(what) if word.startswith(".") and len(word) > 1), "")
    return _heading(field.rpartition(".")[2])


def _heading(name: str) -> str:
    """`ExitCode` -> EXIT CODE."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).upper()
