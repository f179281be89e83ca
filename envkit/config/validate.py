"""Holds a document against its shipped schema and reports every problem, each with its place and the way out.

A walker over the subset of JSON Schema that `spec/schema.py` writes: type, properties, patternProperties,
additionalProperties, required, items, uniqueItems, enum, pattern, minimum, maximum, format, if/then/else, anyOf over
`required`, $ref. No pydantic, no jsonschema: a valid document of 100 services takes some milliseconds, and what words
are made of is imported for the first problem only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from envkit.config.suggest import did_you_mean
from envkit.diagnostics import Diagnostic, Position, Severity
from envkit.lean import json
from envkit.lean import pattern as later
from envkit.resources import schema_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float), "object": (dict,),
    "array": (list,), "null": (type(None),),
}  # fmt: skip
_WORDS = {
    "string": "text", "boolean": "true or false", "integer": "a whole number", "number": "a number",
    "object": "a mapping", "array": "a list", "null": "nothing",
}  # fmt: skip
_NUMBER = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
DURATION = later(rf"[-+]?(0|({_NUMBER}(ns|us|µs|μs|ms|s|m|h|d|w))+)")
BYTES = later(rf"[-+]?{_NUMBER}(e[-+]?[0-9]+)? ?(b|[kmgtp](i?b)?)?", re.IGNORECASE)
_FORMATS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "duration": (DURATION.fullmatch, "a duration", 'write a number and a unit, like "500ms", "30s" or "1h30m"'),
    "bytes": (BYTES.fullmatch, "a size", 'write a number and a unit, like "64m" or "1.5g"'),
}


def check(
    value: Any, origins: Mapping[str, Position], schema_name: str, at: str = "",
    doubtful: list[Diagnostic] | None = None,
) -> list[Diagnostic]:  # fmt: skip
    """All problems of value (a whole document, or what is at the path `at`), in the document's order.

    origins: path (`services.web.ports[0]`) -> place of the value; when it has a method `key`, that gives the place of
    the key. schema_name: environment or compose. Text may still hold `${…}`: it counts as any text. doubtful: takes
    the texts that are no duration or size, which a later file may still replace; without it they are problems.
    """
    return _Walker(load_schema(schema_name), origins, doubtful).run(value, at)


@lru_cache(maxsize=4)
def load_schema(name: str) -> dict[str, Any]:
    """The schema as data."""
    schema: dict[str, Any] = json.loads(schema_text(name))
    return schema


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name]) or (name == "integer" and isinstance(value, float) and value.is_integer())


class _Walker:
    def __init__(
        self, root: Schema, origins: Mapping[str, Position], doubtful: list[Diagnostic] | None = None
    ) -> None:
        self.doubtful = doubtful
        self.root = root
        self.definitions: Schema = root.get("definitions", {})
        self.origins = origins
        self.found: list[Diagnostic] = []

    def run(self, value: Any, at: str) -> list[Diagnostic]:
        schema: Schema = self.root
        for step in at.split(".") if at else ():
            schema = self._below(schema, step)
        self.node(value, schema, at)
        return self.found

    def _below(self, schema: Schema, step: str) -> Schema:
        schema = self._resolved(schema)
        found = schema.get("properties", {}).get(step)
        for pattern, item in schema.get("patternProperties", {}).items():
            if found is None and _pattern(pattern).search(step):
                found = item
        return found or {}

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].rpartition("/")[2]]
        return schema

    def node(self, value: Any, schema: Schema, path: str) -> None:
        """Report everything that is wrong at path and below."""
        if "$ref" in schema:
            schema = self._resolved(schema)
        wanted = schema.get("type")
        if wanted is not None and not (
            _is(value, wanted) if isinstance(wanted, str) else any(_is(value, name) for name in wanted)
        ):
            self._wrong_type(value, wanted, schema, path)
            return
        if "if" in schema:
            branch = schema.get("then" if self._holds(value, schema["if"]) else "else")
            if branch is not None:
                self.node(value, branch, path)
        if "enum" in schema and value not in schema["enum"]:
            self._not_one_of(str(value), schema["enum"], path)
        if isinstance(value, dict):
            self._mapping(value, schema, path)
        elif isinstance(value, list):
            self._list(value, schema, path)
        elif isinstance(value, str):
            self._text(value, schema, path)
        elif "minimum" in schema or "maximum" in schema:
            self._range(value, schema, path)

    @staticmethod
    def _holds(value: Any, condition: Schema) -> bool:
        if "required" in condition:
            return isinstance(value, dict) and all(name in value for name in condition["required"])
        return _is(value, condition["type"])

    def _mapping(self, value: dict[str, Any], schema: Schema, path: str) -> None:
        known: Schema = schema.get("properties", {})
        patterns: Schema = schema.get("patternProperties", {})
        rest = schema.get("additionalProperties", True)
        missing = [[name] for name in schema.get("required", ()) if name not in value]
        if "anyOf" in schema and not any(name in value for option in schema["anyOf"] for name in option["required"]):
            missing.append([name for option in schema["anyOf"] for name in option["required"]])
        meant: set[str] = set()
        for name, item in value.items():
            below = f"{path}.{name}" if path else name
            if name in known:
                self.node(item, known[name], below)
                continue
            for pattern, each in patterns.items():
                if _pattern(pattern).search(name):
                    self.node(item, each, below)
                    break
            else:
                if rest is False:
                    meant.add(self._unknown(name, schema, path, below))
                elif rest is not True:
                    self.node(item, rest, below)
        for names in missing:
            if not meant.intersection(names):  # a misspelt key is one mistake, not two
                self._missing(names, path)

    def _list(self, value: list[Any], schema: Schema, path: str) -> None:
        if each := schema.get("items"):
            for index, item in enumerate(value):
                self.node(item, each, f"{path}[{index}]")
        if schema.get("uniqueItems") and len(value) > 1:
            seen: dict[str, int] = {}
            for index, item in enumerate(value):
                text = item if isinstance(item, str) else json.dumps(item, sort_keys=True, default=str)
                kind = f"{'s' if isinstance(item, str) else 'o'}{text}"
                if kind in seen:
                    below = f"{path}[{index}]"
                    first = self._place(f"{path}[{seen[kind]}]")
                    self._report(
                        "duplicate-entry", "An entry is written twice", f"{path} has {text} more than once", below,
                        "take one of them away", related=(first,) if first else (),
                    )  # fmt: skip
                seen.setdefault(kind, index)

    def _text(self, value: str, schema: Schema, path: str) -> None:
        if (pattern := schema.get("pattern")) and not _pattern(pattern).search(value):
            words = schema.get("patternErrorMessage") or f"must match {pattern}"
            self._report("invalid-value", "A value is not valid", f"{path} is {value!r}; it {words}", path,
                         _example_hint(schema))  # fmt: skip
        elif "format" in schema and (form := _FORMATS.get(schema["format"])) and "$" not in value:
            matches, what, hint = form
            if not matches(value):
                self._report("invalid-value", "A value is not valid", f"{path} is {value!r}, not {what}", path, hint)
                if self.doubtful is not None:
                    self.doubtful.append(self.found.pop())

    def _range(self, value: float, schema: Schema, path: str) -> None:
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            span = f"at least {low}" if high is None else f"between {low} and {high}"
            self._report("invalid-value", "A value is not valid", f"{path} is {value}, but must be {span}", path)

    def _wrong_type(self, value: Any, wanted: str | list[str], schema: Schema, path: str) -> None:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        # Beside a number or a flag, text is there for `${VARIABLE}` only.
        hidden = {"null", "string"} if {"boolean", "integer", "number"} & {*names} else {"null"}
        words = [_WORDS[name] for name in names if name not in hidden or len(names) == 1]
        expected = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
        where = path or "the document"
        if value is None:
            self._report("wrong-type", "A value has the wrong type", f"{where} has no value; it must be {expected}",
                         path, "write a value, or take the key away", key=True)  # fmt: skip
            return
        hint = _example_hint(schema)
        if isinstance(value, (bool, int, float)) and names == ["string"]:
            hint = f'put quotes around it: "{json.dumps(value)}"'
        elif isinstance(value, str) and names == ["array"]:
            hint = f"make it a list: [{value}]"
        self._report("wrong-type", "A value has the wrong type",
                     f"{where} is {_describe(value)}; it must be {expected}", path, hint)  # fmt: skip

    def _not_one_of(self, value: str, allowed: list[Any], path: str) -> None:
        close = did_you_mean(value, [str(item) for item in allowed])
        hint = close or f"write one of {', '.join(str(item) for item in allowed)}"
        self._report("invalid-value", "A value is not valid", f"{path} is {value!r}, which is not one of the possible "
                     "values", path, hint)  # fmt: skip

    def _missing(self, names: list[str], path: str) -> None:
        where = path or "the document"
        if len(names) == 1:
            detail, hint = f"{where} needs the key {names[0]!r}", f"add `{names[0]}:`"
        else:
            detail = f"{where} needs one of the keys {', '.join(names)}"
            hint = f"add one of them, like `{names[0]}:`"
        self._report("missing-key", "A key is missing", detail, path, hint, key=True)

    def _unknown(self, name: str, schema: Schema, path: str, below: str) -> str:
        """Report a key that is not known; the key that was meant, "" when none is near."""
        known = list(schema.get("properties", ()))
        patterns = [item for item in schema.get("patternProperties", ()) if item != "^x-"]
        where = path or "the document"
        if not known and patterns:
            words, example = _NAMES[patterns[0]]
            self._report("invalid-name", "A name is not valid", f"{name!r} below {where} {words}", below,
                         f'for example: "{example(name)}"', key=True)  # fmt: skip
            return ""
        hint = did_you_mean(name, known)
        meant = hint.split('"')[1] if hint else ""
        if not hint and known and len(known) <= 12:
            hint = f"the keys here are {', '.join(sorted(known))}"
        hint = hint or "see `envkit schema` for the keys here; keys of your own begin with x-"
        self._report("unknown-key", "A key is not known", f"{where} has no key {name!r}", below, hint, key=True)
        return meant

    def _place(self, path: str, key: bool = False) -> Position | None:
        find: Callable[[str], Position | None] = getattr(self.origins, "key", self.origins.get) if key else (
            self.origins.get)  # fmt: skip
        while True:
            found = find(path)
            if found is not None or not path:
                return found
            find = self.origins.get
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""

    def _report(
        self, code: str, summary: str, detail: str, path: str, hint: str = "", *, key: bool = False,
        related: tuple[Position, ...] = (),
    ) -> None:  # fmt: skip
        self.found.append(Diagnostic(Severity.ERROR, code, summary, detail, self._place(path, key), hint, related))


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return f"the text {value!r}" if isinstance(value, str) else json.dumps(value)


def _example_hint(schema: Schema) -> str:
    examples = schema.get("examples")
    return f"for example: {json.dumps(examples[0], ensure_ascii=False)}" if examples else ""


def _letters(name: str, allowed: str = "[^a-zA-Z0-9._-]+") -> str:
    return re.sub(allowed, "-", name).strip("-") or "app"


_NAMES: dict[str, tuple[str, Callable[[str], str]]] = {
    r"^[a-zA-Z0-9._-]+$": ("may only have letters, digits, `.`, `_` and `-`", _letters),
    r"^[a-z0-9]+([._-][a-z0-9]+)*$": (
        "may only have lower-case letters and digits, with `.`, `_` or `-` between them",
        lambda name: _letters(name.lower(), "[^a-z0-9]+"),
    ),
    r"^[/$]": ("must be an absolute path, beginning with `/`", lambda name: f"/{name}"),
}
"""What the pattern of a name asks for, in words that follow "X …", and the name that was perhaps meant."""
