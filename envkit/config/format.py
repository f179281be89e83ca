"""Format YAML: two blanks a level, lists indented below their keys, comments where they belong; nothing else changes.

The text is taken apart into events and put together again (YAML 1.2.2, section 3.1: parse and present), so that every
scalar keeps its spelling, every anchor, alias and tag its place. A second parse proves it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from envkit.diagnostics import Diagnostics, Position
from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIDE = 1 << 20
_GAP = 2
"""Blanks before a comment that follows something on its line."""


def formatted(text: str, name: str) -> str:
    """The text in its canonical layout. Raises InputError for what is no YAML (name: the file, for messages), and
    EnvkitError where a comment or a value would not survive; a text in that layout comes back as it is."""
    if not text.strip():
        return ""
    before = _events(text, name)
    meaning = list(_meaning(before))
    out = io.StringIO()
    for event in before:
        _prepare(event)
    _writer().emit(before, out)
    result = _laid_out(out.getvalue(), name)
    after = _events(result, name)
    if meaning != list(_meaning(after)) or _comments(text, name) != _comments(result, name):
        raise EnvkitError(
            "A file cannot be formatted without a loss", f"{name}: a comment stands where none can be kept",
            "move comments out of [ ] and { } that span lines, to lines of their own",
        )  # fmt: skip
    return result


def _writer() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.width = _WIDE
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _events(text: str, name: str) -> list[Any]:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return list(_writer().parse(text))
    except MarkedYAMLError as error:
        problems = Diagnostics()
        mark = error.problem_mark or error.context_mark
        place = Position(name, mark.line + 1, mark.column + 1) if mark else None
        problems.error("yaml-syntax", "This is not YAML", str(error.problem or error.context or ""), place)
        problems.raise_if_errors()
        raise
    except YAMLError as error:
        raise EnvkitError("This is not YAML", f"{name}: {error}") from error


def _prepare(event: Any) -> None:
    """Make a parser's event one that the writer takes as it is, comments right behind what they follow."""
    from ruamel.yaml.tag import Tag

    for item in getattr(event, "comment", None) or ():
        if item is not None and not isinstance(item, list):
            item.start_mark.column = 0
    if getattr(event, "value", None) is not None:
        event.implicit = (*event.implicit[:2], bool(event.style))
        if event.value == "" and event.ctag is None:  # the writer asks for its tag's handle
            event.ctag = Tag(suffix="tag:yaml.org,2002:str" if event.style else "tag:yaml.org,2002:null")
            event.style = event.style or "-"


def _meaning(events: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """What events say, without their layout."""
    for event in events:
        tag = getattr(event, "ctag", None)
        yield (
            type(event).__name__, getattr(event, "anchor", None), str(tag) if tag is not None else "",
            getattr(event, "value", None), getattr(event, "style", None), getattr(event, "flow_style", None),
            getattr(event, "explicit", None),
        )  # fmt: skip


def _comments(text: str, name: str) -> list[str]:
    """Every comment, in order."""
    inside = _verbatim(text, name)
    found = []
    for number, line in enumerate(text.splitlines()):
        if number not in inside and (place := _comment_at(line)) >= 0:
            found.append(line[place:].rstrip())
    return found


def _comment_at(line: str) -> int:
    """Where a line's comment begins, -1 for none: at a # that follows a blank, outside quotes."""
    quote = ""
    for position, char in enumerate(line):
        if quote:
            if char == quote and not (quote == '"' and line[position - 1] == "\\"):
                quote = ""
        elif char in "\"'" and (position == 0 or line[position - 1] in " [{,:-"):
            quote = char
        elif char == "#" and (position == 0 or line[position - 1].isspace()):
            return position
    return -1


def _verbatim(text: str, name: str) -> set[int]:
    """The lines (from 0) that lie inside of a scalar of several lines, empty ones behind it where it keeps them."""
    found: set[int] = set()
    lines = text.splitlines()
    for event in _events(text, name):
        value = getattr(event, "value", None)
        if value is None or event.end_mark.line <= event.start_mark.line:
            continue
        end = event.end_mark.line + (event.end_mark.column > 0)
        while end > event.start_mark.line + 1 and not lines[end - 1].strip() and not value.endswith("\n\n"):
            end -= 1
        found |= set(range(event.start_mark.line + 1, end))
    return found


def _laid_out(text: str, name: str) -> str:
    """Comments of their own line where the next line stands, one empty line at most, none at the ends."""
    inside = _verbatim(text, name)
    rows: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if number in inside:
            rows.append(line)
        elif not line.strip():
            if rows and rows[-1]:
                rows.append("")
        elif line.lstrip().startswith("#"):
            rows.append(" " * _depth_below(lines, number, inside) + line.strip())
        else:
            rows.append(_spaced(line))
    while rows and not rows[-1]:
        rows.pop()
    return "\n".join(rows) + "\n"


def _spaced(line: str) -> str:
    place = _comment_at(line)
    return line.rstrip() if place <= 0 else line[:place].rstrip() + " " * _GAP + line[place:].rstrip()


def _depth_below(lines: Sequence[str], number: int, inside: set[int]) -> int:
    """The indentation of the next line that says something; at the end, that of the comment itself where the text above
    is as deep, else none."""
    for later in range(number + 1, len(lines)):
        line = lines[later].strip()
        if later not in inside and line and not line.startswith("#"):
            return len(lines[later]) - len(lines[later].lstrip())
    return 0
