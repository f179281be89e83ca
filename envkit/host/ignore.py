"""What a `.dockerignore` or `.envkitignore` leaves out, by Docker's rules.

A pattern is rooted at the directory, matches whole paths or one of their parents, and the last one that matches wins.
`*` and `?` stop at a slash, `**` does not, `!` takes back. Source: Docker documentation, "Build context", .dockerignore
files (Go's filepath.Match and filepath.Clean).
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable

from envkit.errors import HostError
from envkit.lean import pattern as later
from envkit.values import value

FILES = (".envkitignore", ".dockerignore")
_WILD = later(r"[*?\[\\]")


@value
class _Pattern:
    text: str
    takes_back: bool
    expression: re.Pattern[str]
    literal: str  # what stands before the first wildcard


class Ignore:
    """A list of patterns. Paths are relative to the directory, with slashes and without a leading one."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [pattern for line in patterns if (pattern := _parse(line))]
        self._takes_back = [pattern for pattern in self._patterns if pattern.takes_back]

    @classmethod
    def from_file(cls, path: str) -> Ignore:
        """The patterns of a file; none when there is no such file."""
        try:
            with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return cls()
        return cls(line for line in lines if not line.startswith("#"))

    @classmethod
    def of_directory(cls, directory: str) -> Ignore:
        """The patterns that hold in a directory: its .envkitignore, else its .dockerignore, else none."""
        for name in FILES:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                return cls.from_file(path)
        return cls()

    def __bool__(self) -> bool:
        return bool(self._patterns)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns in canonical form, for fingerprints."""
        return tuple(("!" if pattern.takes_back else "") + pattern.text for pattern in self._patterns)

    def matches(self, path: str) -> bool:
        """Whether path is left out."""
        ignored = False
        candidates = _with_parents(path)
        for pattern in self._patterns:
            # A pattern that would say what already holds need not be tried.
            if pattern.takes_back == ignored and any(map(pattern.expression.match, candidates)):
                ignored = not pattern.takes_back
        return ignored

    def prunes(self, directory: str) -> bool:
        """Whether a directory and certainly everything below it are left out, so that a walk need not enter."""
        if not self.matches(directory):
            return False
        below = directory + "/"
        return not any(
            item.literal.startswith(below) or (item.literal != item.text and below.startswith(item.literal))
            for item in self._takes_back
        )


class _Below(Ignore):
    """The rules of a directory, for the tree at place below it, and further ones of that tree's own."""

    def __init__(self, rules: Ignore, place: str, own: Ignore) -> None:
        super().__init__(())
        self._rules, self._place, self._own = rules, place, own

    def __bool__(self) -> bool:
        return bool(self._rules) or bool(self._own)

    def matches(self, path: str) -> bool:
        return self._own.matches(path) or self._rules.matches(self._place + path)

    def prunes(self, directory: str) -> bool:
        return self._own.prunes(directory) or self._rules.prunes(self._place + directory)


def rules_for(directory: str, source: str, exclude: Iterable[str] = (), rules: Ignore | None = None) -> Ignore:
    """What is left out of the tree at source: by the ignore file of directory (when source is in it), whose patterns
    are rooted there, or by exclude, rooted at source. rules: instead of the ignore file's."""
    relative = os.path.relpath(source, directory)
    if relative.startswith(".."):
        return _Below(Ignore(), "", Ignore(exclude))
    project = Ignore.of_directory(directory) if rules is None else rules
    return below(project, "" if relative == "." else relative, exclude)


def below(rules: Ignore, place: str, exclude: Iterable[str] = ()) -> Ignore:
    """The rules of a directory for the tree at place in it ("": itself), and further patterns rooted there."""
    return _Below(rules, place + "/" if place else "", Ignore(exclude))


def of_dockerfile(context: str, dockerfile: str) -> str:
    """The ignore file that holds for a Dockerfile's context: the Dockerfile's own (NAME.dockerignore beside it), else
    the context's; "" when there is none."""
    places = ([dockerfile + ".dockerignore"] if dockerfile else []) + [os.path.join(context, name) for name in FILES]
    return next((path for path in places if os.path.isfile(path)), "")


def _parse(line: str) -> _Pattern | None:
    text = line.strip()
    takes_back = text.startswith("!")
    if takes_back:
        text = text[1:].strip()
        if not text:
            raise HostError("an ignore pattern is wrong", "a lone `!` takes nothing back", "write `!PATTERN`")
    if not text:
        return None
    text = posixpath.normpath(text)
    text = text.lstrip("/") or "."
    if text == ".":
        return None  # Docker: the directory itself is never left out
    wild = _WILD.search(text)
    literal = text[: wild.start()] if wild else text
    try:
        return _Pattern(text, takes_back, re.compile(expression(text), re.DOTALL), literal)
    except re.error as error:
        raise HostError("an ignore pattern is wrong", f"{text!r}: {error}") from error


def expression(text: str) -> str:
    """A pattern as a regular expression for the whole of a path. Raises re.error."""
    out = []
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*" and text[position : position + 1] == "*":
            position += 1
            if text[position : position + 1] == "/":
                position += 1
            out.append("(?:.*/)?" if position < len(text) else ".*")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\":
            out.append(re.escape(text[position : position + 1] or "\\"))
            position += 1
        elif char == "[":
            inside, position = _class(text, position)
            out.append(inside)
        else:
            out.append(re.escape(char))
    return "".join(out) + r"\Z"


def _class(text: str, start: int) -> tuple[str, int]:
    """A bracket expression of filepath.Match: [a-z], [^a-z], with backslash escapes; never a slash."""
    position = start + (text[start : start + 1] == "^")
    while position < len(text) and text[position] != "]":
        position += 2 if text[position] == "\\" else 1
    if position >= len(text) or position == start + (text[start : start + 1] == "^"):
        raise re.error("a `[` without its `]`, or with nothing in between")
    inside = text[start:position].replace("[", r"\[").replace("&&", r"&\&").replace("||", r"|\|").replace("~~", r"~\~")
    return f"(?!/)[{inside}]", position + 1


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]
