"""What `envkit explain CODE` says: one lesson for each code that a diagnostic can have.

The lessons are the TOML files beside this one; the first digit pair of a number is its file's. A text of several files
has a line `# NAME` before each but the first, which is envkit.yaml when it has none; one that begins with `$` is of
commands. Nothing here is loaded unless somebody asks.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from envkit.values import value
from envkit.views.terminal import Style

_DIRECTORY = os.path.dirname(os.path.abspath(__file__))
_NUMBER = re.compile(r"[eE](\d{4})")
_WORD = re.compile(r"[a-z]+(-[a-z]+)+")
_FILE = re.compile(r"# ([\w./-]*(?:Dockerfile|\.\w+))")


@value
class Lesson:
    """code: a name, or the beginning of several and `*`; number: stable, never used again; run: the command that shows
    it; checked: the wrong example is found by loading it alone (the tests do); read: pages of the documentation."""

    code: str
    number: int
    summary: str
    means: str
    why: str
    wrong: str
    right: str
    read: tuple[str, ...]
    run: str = "plan"
    checked: bool = True

    @property
    def id(self) -> str:
        return f"E{self.number:04}"


@cache
def lessons() -> Mapping[str, Lesson]:
    """Code -> lesson, in the order of their numbers."""
    found = []
    for name in os.listdir(_DIRECTORY):
        if name.endswith(".toml"):
            with open(os.path.join(_DIRECTORY, name), "rb") as file:
                found += [_lesson(code, row) for code, row in tomllib.load(file).items()]
    return {item.code: item for item in sorted(found, key=lambda item: item.number)}


def _lesson(code: str, row: dict[str, Any]) -> Lesson:
    wrong, right = row.pop("wrong").strip("\n"), row.pop("right").strip("\n")
    checked = row.pop("checked", not wrong.startswith("$"))
    return Lesson(code=code, wrong=wrong, right=right, read=tuple(row.pop("read")), checked=checked, **row)


def lesson(word: str) -> Lesson | None:
    """The lesson of a code (`unknown-key`) or of a number (`E0301`)."""
    known = lessons()
    if number := _NUMBER.fullmatch(word):
        return next((item for item in known.values() if item.number == int(number[1])), None)
    if word in known:
        return known[word]
    return next((item for code, item in known.items() if code.endswith("*") and word.startswith(code[:-1])), None)


def is_number(word: str) -> bool:
    """Whether a word has the form of a number, `E0301`."""
    return _NUMBER.fullmatch(word) is not None


def near(word: str) -> list[str]:
    """Codes that were perhaps meant."""
    return difflib.get_close_matches(word, lessons(), 3, 0.8) if _WORD.fullmatch(word) else []


def files_of(text: str) -> dict[str, str]:
    """An example's files, name -> content; {} for commands."""
    if text.startswith("$"):
        return {}
    found: dict[str, list[str]] = {}
    name = "envkit.yaml"
    for line in text.splitlines():
        if head := _FILE.fullmatch(line):
            name = head[1]
        else:
            found.setdefault(name, []).append(line)
    return {name: "\n".join(lines) + "\n" for name, lines in found.items()}


def lesson_json(item: Lesson, code: str = "") -> dict[str, Any]:
    """The same as data."""
    return {
        "code": code or item.code, "number": item.id, "summary": item.summary, "means": item.means, "why": item.why,
        "wrong": item.wrong, "right": item.right, "read": [f"docs/{name}.md" for name in item.read],
        "backends": _backends(code),
    }  # fmt: skip


def _backends(code: str) -> dict[str, str]:
    """Backend -> what it says of the key that an `unsupported-…` names."""
    if not code.startswith("unsupported-"):
        return {}
    from envkit.backend.features import BY_ID, code_of
    from envkit.backend.select import declarations

    return {
        declaration.title: f"{limit.severity}: {limit.why}" for declaration in declarations()
        for key, limit in declaration.limits.items() if code_of(BY_ID[key]) == code
    }  # fmt: skip


def render_lesson(item: Lesson, style: Style, *, code: str = "", width: int = 80) -> str:
    """The whole explanation as text."""
    data = lesson_json(item, code)
    lines = [f"{style(data['code'], 'bold')} ({item.id}): {item.summary}", ""]
    lines += [*_wrapped(item.means, width), "", *_wrapped(f"Why envkit insists: {item.why}", width)]
    for title, colour, text in (("Wrong:", "red", item.wrong), ("Right:", "green", item.right)):
        lines += ["", style(title, "bold", colour), *(f"  {line}" for line in text.splitlines())]
    for backend, said in data["backends"].items():
        lines += ["", f"{style(backend, 'bold')}: {said}"]
    return "\n".join([*lines, "", f"{style('Read on:', 'bold')} {', '.join(data['read'])}"])


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, min(width, 100), break_long_words=False, break_on_hyphens=False)


def render_list(style: Style) -> str:
    """A line for each code."""
    width = max(map(len, lessons()))
    rows = lessons().items()
    return "\n".join(f"{item.id}  {style(code.ljust(width), 'bold')}  {item.summary}" for code, item in rows)


_PARTS = {1: "Files and YAML", 2: "Variables and several files", 3: "Keys and values", 4: "Services",
          5: "Images and builds", 6: "Dockerfiles", 7: "Machines and backends"}  # fmt: skip


def page() -> str:
    """docs/reference/diagnostics.md."""
    return "\n".join(_page()).rstrip("\n") + "\n"


def _page() -> Iterator[str]:
    yield "# Diagnostics\n"
    yield "What envkit says about files that it cannot take as they are, generated from what the program knows. Each"
    yield (
        "has a code, which stands in the message (`error[unknown-key]`), and a number; neither ever changes its "
        "meaning."
    )
    yield "`envkit explain unknown-key` and `envkit explain E0301` print the same in the terminal, and"
    yield "`envkit explain --list` one line for each.\n"
    part = 0
    for item in lessons().values():
        if item.number // 100 != part:
            part = item.number // 100
            yield f"## {_PARTS[part]}\n"
        yield f"### {item.code}\n"
        yield f"*{item.id}: {item.summary}.* {item.means}\n"
        yield f"{item.why}\n"
        for title, text in (("Wrong", item.wrong), ("Right", item.right)):
            kind = "console" if text.startswith("$") else "text" if "Dockerfile" in files_of(text) else "yaml"
            yield f"{title}:\n\n```{kind}\n{text}\n```\n"
        links = (f"[{name.rpartition('/')[2].replace('-', ' ')}](../{name}.md)" for name in item.read)
        yield f"Read on: {', '.join(links)}.\n"
