"""The text of a Dockerfile -> instructions with their places.

Source: Dockerfile reference ("Format", "Parser directives", "Here-documents", "Escape"); BuildKit's frontend
(parser/parser.go) where the reference is silent: a comment inside a continued line is left out, white space before an
instruction does not count, an empty continued line is skipped.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from envkit.diagnostics import Diagnostics, Position
from envkit.spec.dockerfile.words import split_words
from envkit.values import value

KEYWORDS = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
})  # fmt: skip
_FLAGS = frozenset({"ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"})
_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVE = re.compile(r"#\s*(?P<name>[a-zA-Z][a-zA-Z0-9]*)\s*=\s*(?P<value>.+?)\s*$")
_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"""\d*<<(?P<chomp>-?)\s*(?P<quote>["']?)(?P<name>[a-zA-Z_][a-zA-Z0-9_.]*)(?P=quote)$""")
_FLAG = re.compile(r"--(?P<name>[a-z][a-z-]*)(?:=(?P<value>.*))?$", re.DOTALL)


class Heredoc(NamedTuple):
    """A here-document: its name, its content, and whether `$` counts in it (its name is not quoted)."""

    name: str
    content: str
    expands: bool


class Flag(NamedTuple):
    """`--name=value`; value None: nothing follows the name."""

    name: str
    value: str | None


@value
class Instruction:
    """One instruction. rest: what follows keyword and flags, continued lines joined; text: the same as one line for
    people; line and column count from 1. of: the instruction that an ONBUILD holds."""

    keyword: str
    rest: str
    flags: tuple[Flag, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    file: str = "Dockerfile"
    line: int = 1
    column: int = 1
    source: str = ""  # its first line, as written

    @property
    def position(self) -> Position:
        return Position(self.file, self.line, self.column, len(self.keyword))

    def at(self, word: str) -> Position:
        """The place of a word of it, when the first line has it."""
        found = self.source.find(word) if word else -1
        return Position(self.file, self.line, found + 1, len(word)) if found >= 0 else self.position

    @property
    def text(self) -> str:
        """`RUN --network=none make`, on one line."""
        flags = [f"--{flag.name}" + (f"={flag.value}" if flag.value is not None else "") for flag in self.flags]
        return " ".join(" ".join([self.keyword, *flags, self.rest]).split())

    def flag(self, name: str) -> str | None:
        """The last value of a flag, "" for one without a value, None when it is not given."""
        return next((flag.value or "" for flag in reversed(self.flags) if flag.name == name), None)

    def all_flags(self, name: str) -> list[str]:
        return [flag.value or "" for flag in self.flags if flag.name == name]

    def is_set(self, name: str) -> bool:
        """Whether a flag of yes or no is given and not false."""
        value = self.flag(name)
        return value is not None and value.lower() not in ("false", "0")

    def json(self) -> list[str] | None:
        """The exec form, when rest is a JSON list of texts."""
        if not self.rest.startswith("["):
            return None
        try:
            value = json.loads(self.rest)
        except ValueError:
            return None
        return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


@value
class Dockerfile:
    """escape: the escape character; syntax: the frontend that `# syntax=` asks for."""

    file: str
    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    syntax: str = ""


def parse(text: str, file: str, found: Diagnostics) -> Dockerfile:
    """The instructions of text; file: its path for messages. What is wrong is added to found."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    directives = _directives(lines, file, found)
    escape = directives.get("escape", "\\")
    reader = _Reader(lines, file, escape, found)
    instructions = tuple(reader.instructions())
    if not instructions and not found.has_errors:
        found.error("empty-dockerfile", "A Dockerfile has no instruction", file, Position(file, 1, 1),
                    "start it with FROM")  # fmt: skip
    return Dockerfile(file, instructions, escape, directives.get("syntax", ""))


def _directives(lines: list[str], file: str, found: Diagnostics) -> dict[str, str]:
    made: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.strip())
        name = match["name"].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            break
        if name in made:
            found.error("duplicate-directive", "A parser directive is given twice", f"`# {name}=` stands here again",
                        Position(file, number, 1), "take one of them away")  # fmt: skip
        if name == "escape" and match["value"] not in ("\\", "`"):
            found.error("invalid-escape", "An escape character is not valid", f"it is {match['value']!r}",
                        Position(file, number, line.find(match["value"]) + 1), "it is \\ or `")  # fmt: skip
            continue
        made[name] = match["value"]
    return made


class _Reader:
    def __init__(self, lines: list[str], file: str, escape: str, found: Diagnostics) -> None:
        self._lines, self._file, self._escape, self._found = lines, file, escape, found
        mark = re.escape(escape)
        self._continued = re.compile(rf"(?P<kept>^|.*[^{mark}]){mark}[ \t]*$", re.DOTALL)
        self._place = 0

    def instructions(self) -> list[Instruction]:
        made = []
        while self._place < len(self._lines):
            line = self._lines[self._place]
            if not line.strip() or line.lstrip().startswith("#"):
                self._place += 1
                continue
            first = self._place
            made.append(self._instruction(self._logical_line(), first))
        return [item for item in made if item is not None]

    def _logical_line(self) -> str:
        """The line here and those that continue it."""
        text = ""
        while self._place < len(self._lines):
            line = self._lines[self._place]
            self._place += 1
            if text and (not line.strip() or line.lstrip().startswith("#")):
                continue
            match = self._continued.match(line)
            if not match:
                return (text + line).strip()
            text += match["kept"] or " "
        return text.strip()

    def _instruction(self, text: str, first: int) -> Instruction | None:
        source = self._lines[first]
        column = len(source) - len(source.lstrip()) + 1
        keyword, rest = _cut(text)
        made = self._made(keyword, rest, first + 1, column, source)
        if made is not None and made.keyword == "ONBUILD":
            inner_keyword, inner = _cut(made.rest)
            if inner_keyword.upper() in ("FROM", "ONBUILD", "MAINTAINER"):
                detail = f"ONBUILD {inner_keyword.upper()} is not allowed"
                place = made.at(inner_keyword)
                self._found.error("invalid-trigger", "An instruction cannot be a trigger", detail, place)
            elif self._made(inner_keyword, inner, first + 1, column, source) is None:
                return None
        return made

    def _made(self, keyword: str, rest: str, line: int, column: int, source: str) -> Instruction | None:
        name = keyword.upper()
        place = Position(self._file, line, max(1, source.find(keyword) + 1), len(keyword))
        if name not in KEYWORDS:
            from difflib import get_close_matches

            near = get_close_matches(name, KEYWORDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"a line goes on when {self._escape} is its end"
            self._found.error("unknown-instruction", "An instruction is not known", keyword, place, hint)
            return None
        flags: list[Flag] = []
        while name in _FLAGS and rest.startswith("--"):
            word, after = _first_word(rest, self._escape)
            match = _FLAG.match(word)
            if word == "--" or match is None:
                rest = after if word == "--" else rest
                break
            flags.append(Flag(match["name"], match["value"]))
            rest = after
        if not rest and not (name == "HEALTHCHECK" and flags):
            self._found.error("no-argument", "An instruction has no argument", f"{name} needs one", place)
            return None
        heredocs = self._heredocs(name, rest, place) if name in _HEREDOCS and "<<" in rest else ()
        return Instruction(name, rest, tuple(flags), heredocs, self._file, line, column, source)

    def _heredocs(self, name: str, rest: str, place: Position) -> tuple[Heredoc, ...]:
        made: list[Heredoc] = []
        for word in split_words(rest, self._escape):
            match = _HEREDOC.match(word)
            if match is None or (name == "RUN" and rest.startswith("[")):
                continue
            lines: list[str] = []
            while True:
                if self._place >= len(self._lines):
                    self._found.error("open-heredoc", "A here-document has no end", f"there is no line {match['name']}",
                                      place, f"end it with a line that is {match['name']} alone")  # fmt: skip
                    return tuple(made)
                line = self._lines[self._place]
                self._place += 1
                if match["chomp"]:
                    line = line.lstrip("\t")
                if line == match["name"]:
                    break
                lines.append(line + "\n")
            made.append(Heredoc(match["name"], "".join(lines), not match["quote"]))
        return tuple(made)


def heredoc_name(word: str) -> str:
    """The name of the here-document that a word stands for, "" when it is an ordinary word."""
    match = _HEREDOC.match(word)
    return match["name"] if match else ""


def _cut(text: str) -> tuple[str, str]:
    parts = text.split(None, 1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def _first_word(text: str, escape: str) -> tuple[str, str]:
    """The first word, its quotes taken away, and the rest."""
    word, quote, place = "", "", 0
    while place < len(text):
        char = text[place]
        if quote:
            if char == quote:
                quote = ""
            elif char == escape and quote == '"' and place + 1 < len(text):
                place += 1
                word += text[place]
            else:
                word += char
        elif char in " \t":
            break
        elif char in "\"'":
            quote = char
        elif char == escape and place + 1 < len(text):
            place += 1
            word += text[place]
        else:
            word += char
        place += 1
    return word, text[place:].lstrip()
