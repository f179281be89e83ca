"""`.env` and `env_file:` files: their grammar, and the variables that a project is interpolated with.

Grammar (Compose's, checked against docker-compose v5.6.1): `KEY=value`, `KEY: value`, `export KEY=value`, bare `KEY`
(taken from the environment, left out when it is not set there); `#` starts a comment at a line's start or after a
space; double quotes expand escapes and variables, single quotes nothing, both may span lines; unquoted text expands
variables. `format: raw` takes everything after the first `=` verbatim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from envkit.config.sources import Sources
from envkit.config.template import Lookup, MissingVariable, TemplateError, substitute
from envkit.config.tree import Origin
from envkit.diagnostics import Diagnostics, Position
from envkit.lean import pattern

_ESCAPE = pattern(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_SPACE = "\t\v\f\r \x85\xa0"
_EXPORT = pattern(r"export\s+")


class DotenvError(ValueError):
    """The text breaks the grammar; line counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str, lookup: Lookup, known: Mapping[str, str] | None = None) -> dict[str, tuple[str, int, int]]:
    """name -> (value, line, column of the name).

    A variable is looked up with lookup, then among the lines before, then in known. A later line wins.
    Raises DotenvError.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, tuple[str, int, int]] = {}

    def value_of(name: str) -> str | None:
        value = lookup(name)
        if value is not None:
            return value
        return found[name][0] if name in found else known.get(name) if known else None

    at = 0
    while (at := _statement(text, at)) < len(text):
        begin = at
        key, separator, at = _key(text, at)
        line, column = text.count("\n", 0, begin) + 1, begin - text.rfind("\n", 0, begin)
        if " " in key:
            raise DotenvError("a variable's name cannot contain a space", line)
        if separator in ("\n", ""):
            inherited = value_of(key)
            if inherited is not None and key:
                found[key] = (inherited, line, column)
            continue
        value, at = _value(text, at, value_of, line)
        found[key] = (value, line, column)
    return found


def parse_raw(text: str) -> dict[str, tuple[str, int, int]]:
    """The same for `format: raw` (docker's own --env-file): comments are whole lines, values are verbatim."""
    found: dict[str, tuple[str, int, int]] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        stripped = line.removesuffix("\r").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, separator, value = stripped.partition("=")
        if any(space in name for space in " \t") or not name:
            raise DotenvError(f"`{name}` is not a variable's name", number)
        if separator:
            found[name] = (value, number, len(line) - len(line.lstrip()) + 1)
    return found


def _statement(text: str, at: int) -> int:
    """The index of the next statement, past blank space and comment lines."""
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        else:
            break
    return at


def _key(text: str, at: int) -> tuple[str, str, int]:
    """(name, the character that ended it, index behind it)."""
    if match := _EXPORT.match(text, at):
        at = match.end()
    end = at
    while end < len(text):
        char = text[end]
        if char in "=:\n":
            break
        if char not in _SPACE and char not in "_.-[]" and not (char.isalpha() or char.isnumeric()):
            line = text.count("\n", 0, end) + 1
            raise DotenvError(f"unexpected character {char!r} in a variable's name", line)
        end += 1
    separator = text[end : end + 1]
    key = text[at:end].rstrip()
    end += 1
    if separator != "\n":
        while end < len(text) and text[end] in _SPACE:
            end += 1
    return key, separator, end


def _value(text: str, at: int, lookup: Lookup, line: int) -> tuple[str, int]:
    quote = text[at : at + 1]
    if quote not in ("'", '"') or not quote:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        value = text[at:end]
        return _expand(value.partition(" #")[0].rstrip(), lookup, line), end
    end = at + 1
    while end < len(text):
        if text[end] == "\\":
            end += 2
            continue
        if text[end] == quote:
            value = text[at + 1 : end]
            if quote == "'":
                return value.replace("\\'", "'"), end + 1
            return _expand(_ESCAPE.sub(_unescape, value), lookup, line), end + 1
        end += 1
    raise DotenvError(f"unterminated quoted value {text[at:].splitlines()[0]}", line)


def _unescape(match: re.Match[str]) -> str:
    body = match[0][1:]
    if body == "$":
        return "$$"
    if body[0] == "0":
        digits = body[1:]
        return chr(int(digits, 8)) if re.fullmatch("[0-3][0-7]{2}", digits) else f"\\{digits}"
    return _ESCAPES.get(body, match[0])


def _expand(value: str, lookup: Lookup, line: int) -> str:
    try:
        return substitute(value, lookup)
    except TemplateError:
        raise DotenvError(f"invalid variable in {value!r}", line) from None
    except MissingVariable as missing:
        reason = f": {missing.reason}" if missing.reason else ""
        raise DotenvError(f"required variable {missing.name} is missing a value{reason}", line) from None


def read(
    path: str, lookup: Lookup, sources: Sources, problems: Diagnostics, *, raw: bool = False,
    at: Position | None = None, known: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, Origin]]:  # fmt: skip
    """The variables of one file with their origins; what is wrong goes to problems (at: where the file was named)."""
    try:
        text = sources.read(path).decode("utf-8", "surrogateescape")
    except OSError as error:
        problems.error("env-file", "The env file cannot be read", f"{path}: {error.strerror}", at)
        return {}
    try:
        found = parse_raw(text) if raw else parse(text, lookup, known)
    except DotenvError as error:
        problems.error(
            "env-syntax", "The env file has a line that is not understood", str(error), Position(path, error.line, 1),
            related=(at,) if at else ())  # fmt: skip
        return {}
    return {name: (value, Origin(path, line, column, len(name))) for name, (value, line, column) in found.items()}


class Environ:
    """The variables that interpolation sees: the process's environment first, then those of the env files.

    `sources` tells where a variable came from: an Origin, or None for the process's environment.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values: dict[str, str] = dict(environ)
        self.sources: dict[str, Origin | None] = dict.fromkeys(self.values)
        self.shadowed: dict[str, list[tuple[str, Origin]]] = {}

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    def load(
        self, paths: list[str], sources: Sources, problems: Diagnostics, at: Position | None = None
    ) -> None:
        """Add the variables of env files, in order; a later file wins over an earlier one, none over what is set."""
        added: dict[str, tuple[str, Origin]] = {}

        def lookup(name: str) -> str | None:
            value = self.values.get(name)
            return added[name][0] if value is None and name in added else value

        for path in paths:
            for name, (value, origin) in read(path, lookup, sources, problems, at=at).items():
                if name in added:
                    self.shadowed.setdefault(name, []).append(added[name])
                added[name] = (value, origin)
        for name, (value, origin) in added.items():
            if name in self.values:
                self.shadowed.setdefault(name, []).append((value, origin))
            else:
                self.values[name] = value
                self.sources[name] = origin

    def copy(self) -> Environ:
        made = Environ({})
        made.values, made.sources = dict(self.values), dict(self.sources)
        made.shadowed = {name: list(values) for name, values in self.shadowed.items()}
        return made

    def source(self, name: str) -> str:
        """`the environment`, `.env:3:1`, or "" when it is not set."""
        if name not in self.values:
            return ""
        origin = self.sources.get(name)
        return str(origin.position) if origin else "the environment"
