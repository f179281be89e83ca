"""Every code that a diagnostic can have is explained, and each example does what the explanation says of it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from envkit.backend.features import BY_ID, code_of
from envkit.cli.flags import parse
from envkit.config.environment import load_environment
from envkit.config.options import LoadOptions
from envkit.errors import InputError
from envkit.host.home import Home
from envkit.views.lessons import Lesson, files_of, lesson, lessons, page
from envkit.views.terminal import Style

ROOT = Path(__file__).parents[3]
SAYERS = {"error", "warning", "Diagnostic", "_say", "_report"}
MENTIONS = re.compile(r"\b(?:error|warning|Diagnostic|_say|_report)\(")
CODE = re.compile(r"[a-z]+(-[a-z]+)*")
CHECKED = [item for item in lessons().values() if item.checked]


@cache
def places() -> list[tuple[str, ast.expr]]:
    return list(found_places())


def found_places() -> Iterator[tuple[str, ast.expr]]:
    """Where the source makes a diagnostic, and what it gives as the code: the argument before the summary."""
    for path in sorted((ROOT / "envkit").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if MENTIONS.search(text) else ():
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            at = {"Diagnostic": 1, "_say": 2}.get(name, 0)
            if name in SAYERS and len(node.args) > at + 1:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.args[at]


@cache
def codes() -> dict[str, str]:
    """Code -> a place that says it. Codes made of parts are followed to what the parts can be."""
    from envkit.config import consistency

    found = {f"unknown-{word}": "consistency" for word in consistency._KINDS.values()}
    found |= {code_of(feature): "features" for feature in BY_ID.values()}
    for place, given in places():
        if isinstance(given, ast.Constant) and isinstance(given.value, str) and CODE.fullmatch(given.value):
            found[given.value] = place
    return found


def test_the_scan_finds_what_it_should():
    assert {"unknown-key", "wrong-type", "missing-tool", "protected", "lan-ports", "no-stage"} <= set(codes())
    assert len(codes()) > 110


def test_every_code_is_explained():
    assert [f"{code} ({place})" for code, place in codes().items() if lesson(code) is None] == []


def test_every_explanation_is_of_a_code():
    said = codes()
    for code in lessons():
        assert any(item.startswith(code[:-1]) for item in said) if code.endswith("*") else code in said, code


def test_numbers_are_unique_and_of_four_digits():
    numbers = [item.number for item in lessons().values()]
    assert len(set(numbers)) == len(numbers) and all(100 < number < 800 for number in numbers)


@pytest.mark.parametrize("item", lessons().values(), ids=lambda item: item.code)
def test_a_lesson_is_whole(item: Lesson):
    for text in (item.summary, item.means, item.why, item.wrong, item.right):
        assert text.strip()
    assert not item.summary.endswith(".") and item.means.endswith(".") and item.why.endswith(".")
    assert max(len(line) for line in f"{item.wrong}\n{item.right}".splitlines()) <= 116
    for name in item.read:
        assert (ROOT / "docs" / f"{name}.md").is_file(), f"docs/{name}.md is not there"


def given(text: str, run: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The codes that an example gives."""
    files = files_of(text)
    if "Dockerfile" in files and not any(name.endswith("yaml") for name in files):
        files["envkit.yaml"] = "services: {app: {build: .}}\n"
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    _, options = parse(run.split())
    monkeypatch.chdir(directory)
    try:
        loaded = load_environment(
            LoadOptions(str(directory), target=options.target or "", environ={"LANG": "C"}),
            Home(str(directory / "home")),
        )
    except InputError as error:
        return {item.code for item in error.diagnostics}
    return {item.code for item in loaded.environment.warnings}


@pytest.mark.parametrize("item", CHECKED, ids=lambda item: item.code)
def test_the_wrong_one_gives_the_code_and_the_right_one_nothing(item: Lesson, tmp_path, monkeypatch):
    (tmp_path / "wrong").mkdir()
    (tmp_path / "right").mkdir()
    assert item.code in given(item.wrong, item.run, tmp_path / "wrong", monkeypatch)
    assert given(item.right, item.run, tmp_path / "right", monkeypatch) <= ALSO.get(item.code, set())


ALSO: dict[str, set[str]] = {}
"""Warnings that a right example may give: they are about something else."""


@pytest.mark.parametrize("item", [item for item in lessons().values() if not item.checked], ids=lambda item: item.code)
def test_commands_of_examples_are_understood(item: Lesson):
    for text in (item.wrong, item.right):
        for line in text.splitlines():
            if line.startswith("$ envkit "):
                parse(line.partition("#")[0].split()[2:])


def test_the_page_is_the_one_that_is_written_down():
    path = ROOT / "docs" / "reference" / "diagnostics.md"
    assert path.read_text() == page(), "python -m envkit.cli.reference docs/reference writes it anew"


def test_a_number_is_a_name():
    assert lesson("E0301") == lesson("e0301") == lesson("unknown-key")
    assert lesson("E0999") is None and lesson("unknown-kye") is None
    assert lesson("unsupported-tmpfs") == lessons()["unsupported-*"]


def test_a_shown_lesson_has_all_of_it():
    from envkit.views.lessons import render_lesson

    text = render_lesson(lessons()["unknown-key"], Style(False), width=70)
    assert "unknown-key (E0301)" in text and "enviroment" in text and "docs/reference/yaml.md" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert os.linesep * 3 not in text
