"""YAML text -> trees, with the position of every value.

libyaml turns the text into events; the tree is built from them in one pass, with Compose's rules: go-yaml's scalars
(scalars.py), mapping keys are strings and unique, `<<` merges, aliases are copies, `!reset` and `!override` become tags
of the mapping (tree.py). Hostile text ends in a diagnostic: nesting is bounded, and so is what aliases expand to.
"""

from __future__ import annotations

from envkit.config import colons, libyaml
from envkit.config.scalars import resolve, resolve_tagged
from envkit.config.tree import Map, Origin, Seq, clone
from envkit.diagnostics import Diagnostics, Position

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 100
MAX_COLONS = 100  # of `{KEY:,}`, each of which takes one more look at the file
MAX_ALIASED = 200_000  # values that aliases may add to one document
_MERGE_TAG = "tag:yaml.org,2002:merge"


class _Stop(Exception):
    """The rest of the text cannot be understood; the reason has been collected."""


def parse(data: bytes | str, file: str, problems: Diagnostics) -> list[tuple[Any, Origin]]:
    """The documents of a YAML text: each root value with its origin; what is wrong goes to problems.

    A document that cannot be understood ends the list; duplicate keys and the like are collected and parsing goes on.
    """
    found = Diagnostics()
    documents = _Builder(data, "", file, found).documents()
    if any(item.detail.startswith(colons.REFUSAL) for item in found) and (hidden := colons.hide(data)):
        text, sign = hidden
        for _ in range(MAX_COLONS):
            found = Diagnostics()
            documents = _Builder(text, sign, file, found).documents()
            refused = next((item.source for item in found if item.detail.startswith(colons.REFUSAL)), None)
            if refused is None or not (parted := colons.part(text, refused.line, refused.column)):
                break
            text = parted
    problems.items.extend(found)
    return documents


class _Builder:
    def __init__(self, data: bytes | str, colon: str, file: str, problems: Diagnostics) -> None:
        self.file = file
        self.problems = problems
        self.data = data
        self.colon = colon
        self.next = libyaml.CParser(data).get_event
        self.anchors: dict[str, tuple[Any, Origin]] = {}
        self.open: set[str] = set()
        self.aliased = 0
        self.overriding = False  # inside `!override`, where further tags mean nothing

    def documents(self) -> list[tuple[Any, Origin]]:
        found: list[tuple[Any, Origin]] = []
        try:
            while True:
                event = self.next()
                kind = type(event)
                if kind is libyaml.StreamEndEvent:
                    return found
                if kind is libyaml.DocumentStartEvent:
                    self.anchors, self.open, self.aliased = {}, set(), 0
                    found.append(self.value(self.next(), 0))
        except libyaml.YAMLError as error:
            self._syntax_error(error)
        except _Stop:
            pass
        return found

    def value(self, event: Any, depth: int) -> tuple[Any, Origin]:
        kind = type(event)
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if kind is libyaml.ScalarEvent:
            end = event.end_mark
            width = end.column - mark.column if end.line == mark.line else 0
            origin = Origin(self.file, line, column, width)
            text = event.value.replace(self.colon, ":") if self.colon else event.value
            tag = event.tag
            if tag is None or tag == "!":
                made: Any = resolve(text) if event.implicit[0] and tag is None else text
            else:
                made = self._tagged(tag, text, event.implicit[0], origin)
            if made.__class__ is float and made - made != 0:
                self.problems.error(
                    "yaml-number", "The number has no JSON form", f"`{text}`", origin.position, "quote it")
            if event.anchor is not None:
                self.anchors[event.anchor] = (made, origin)
            return made, origin
        origin = Origin(self.file, line, column, 1)
        if kind is libyaml.AliasEvent:
            return self._alias(event, origin)
        if depth >= MAX_DEPTH:
            self.problems.error(
                "yaml-depth", "The YAML is nested too deeply", f"more than {MAX_DEPTH} levels", origin.position
            )
            raise _Stop
        anchor = event.anchor
        if anchor is not None:
            self.open.add(anchor)
        made = self._mapping(depth) if kind is libyaml.MappingStartEvent else self._sequence(depth)
        if anchor is not None:
            self.open.discard(anchor)
            self.anchors[anchor] = (made, origin)
        return made, origin

    def _mapping(self, depth: int) -> Map:
        made = Map()
        merges: list[tuple[Any, Origin]] = []
        while True:
            event = self.next()
            if type(event) is libyaml.MappingEndEvent:
                break
            key, at = self.value(event, depth + 1)
            plain = type(event) is libyaml.ScalarEvent and event.implicit[0]
            event = self.next()
            tag = None if self.overriding else getattr(event, "tag", None)
            if tag == "!override":
                self.overriding = True
                value, origin = self.value(event, depth + 1)
                self.overriding = False
            else:
                value, origin = self.value(event, depth + 1)
            if (plain and key == "<<") or getattr(event, "tag", None) == _MERGE_TAG:
                if merges:
                    self._duplicate("<<", at, merges[0][1])
                merges.append((value, at))
                continue
            if not isinstance(key, str) or type(key) is not str:
                self._bad_key(key, at)
                continue
            if key in made.at:
                self._duplicate(key, at, made.at[key])
                continue
            origin = Origin(self.file, origin.line, origin.column, origin.width, (at.line, at.column, at.width))
            made.at[key] = origin
            if tag == "!reset":
                made.tag(key, "reset")
                continue
            if tag == "!override":
                made.tag(key, "override")
            made[key] = value
        for value, at in merges:
            self._merge(made, value, at)
        return made

    def _sequence(self, depth: int) -> Seq:
        made = Seq()
        items, places = made, made.at
        while True:
            event = self.next()
            if type(event) is libyaml.SequenceEndEvent:
                return made
            value, origin = self.value(event, depth + 1)
            if not self.overriding and getattr(event, "tag", None) == "!reset":
                continue
            items.append(value)
            places.append(origin)

    def _merge(self, made: Map, value: Any, at: Origin) -> None:
        """YAML 1.1 merge key: keys of the mapping itself win, then the earlier of several merged mappings."""
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, Map):
                self.problems.error(
                    "yaml-merge", "A merge key needs a mapping",
                    "the value of `<<` is a mapping, an alias of one, or a list of them", at.position)  # fmt: skip
                return
            for key, origin in item.at.items():
                if key in made.at:
                    continue
                made.at[key] = origin
                if key in item:
                    made[key] = item[key]
                if item.tags and key in item.tags:
                    made.tag(key, item.tags[key])

    def _alias(self, event: Any, origin: Origin) -> tuple[Any, Origin]:
        name = event.anchor
        if name in self.open:
            self.problems.error(
                "yaml-recursion", "An alias refers to the value it is part of", f"`*{name}` is inside `&{name}`",
                origin.position)  # fmt: skip
            raise _Stop
        if name not in self.anchors:
            from envkit.config.suggest import did_you_mean

            self.problems.error(
                "yaml-alias", "The alias has no anchor", f"there is no `&{name}` before `*{name}`", origin.position,
                did_you_mean(name, self.anchors))  # fmt: skip
            return None, origin
        value, at = self.anchors[name]
        if isinstance(value, (dict, list)):
            self.aliased += _size(value, MAX_ALIASED - self.aliased)
            if self.aliased >= MAX_ALIASED:
                self.problems.error(
                    "yaml-aliases", "The aliases expand to too much", f"more than {MAX_ALIASED:,} values",
                    origin.position, "write the values out, or split the file")  # fmt: skip
                raise _Stop
            value = clone(value)
        return value, at

    def _tagged(self, tag: str, text: str, plain: bool, origin: Origin) -> Any:
        if tag in ("!reset", "!override"):
            return resolve(text) if plain else text
        try:
            return resolve_tagged(tag, text, plain)
        except ValueError as error:
            self.problems.error("yaml-tag", "The value does not fit its tag", str(error), origin.position)
            return text

    def _duplicate(self, key: str, at: Origin, first: Origin) -> None:
        self.problems.error(
            "duplicate-key", "The key is written twice in one mapping",
            f"`{key}` is already set in line {first.key_position.line}", at.position,
            "remove one of the two", (first.key_position,))  # fmt: skip

    def _bad_key(self, key: Any, at: Origin) -> None:
        kind = "a list or mapping" if isinstance(key, (dict, list)) else f"`{'null' if key is None else key}`"
        self.problems.error(
            "key-type", "A key must be a string", f"{kind} is not one", at.position, "put the key in quotes"
        )

    def _syntax_error(self, error: Any) -> None:
        mark = getattr(error, "problem_mark", None)  # a ReaderError of ruamel.yaml itself has none
        if mark is not None and isinstance(error.problem, str) and hasattr(mark, "line"):
            place = Position(self.file, mark.line + 1, mark.column + 1)
            detail = f"{error.problem} {error.context}" if error.context else error.problem
            hint = ""
            if "cannot start any token" in error.problem and self._at(mark) == "\t":
                detail, hint = "a tab indents the line", "indent with spaces"
            elif "mapping values are not allowed" in error.problem:
                hint = "quote a value that contains `: `, and check the indentation"
            related = error.context_mark
            others = (Position(self.file, related.line + 1, related.column + 1),) if hasattr(related, "line") else ()
            self.problems.error("yaml-syntax", "The file is not valid YAML", detail, place, hint, others)
            return
        data = self.data if isinstance(self.data, bytes) else self.data.encode("utf-8", "surrogatepass")
        offset = error.position if hasattr(error, "position") else error.context_mark
        reason = error.reason if hasattr(error, "reason") else error.note
        before = data[: offset if isinstance(offset, int) else 0]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        self.problems.error(
            "yaml-encoding", "The file is not UTF-8 text", f"{reason} at byte {len(before)}",
            Position(self.file, line, column, 1), "save the file as UTF-8")  # fmt: skip

    def _at(self, mark: Any) -> str:
        text = self.data.decode("utf-8", "replace") if isinstance(self.data, bytes) else self.data
        lines = text.split("\n")
        return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""


def _size(value: Any, most: int) -> int:
    """The number of values in a tree, at most `most`."""
    count, left = 0, [value]
    while left and count < most:
        item = left.pop()
        count += 1
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    return count
