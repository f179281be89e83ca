"""Cases of tests/cases/config/diagnostics: files in, the text of every diagnostic out, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from envkit.diagnostics import Diagnostic
from envkit.errors import InputError
from tests.support import judge

DIRECTORY = judge.CASES.parent / "diagnostics"
CASES = {case.name: case for path in sorted(DIRECTORY.glob("*.txt")) for case in judge.read(path)}


def line(item: Diagnostic, cwd: Path) -> str:
    text = f"{item.severity}[{item.code}] {item.source or '-'}: {item.detail} | {item.hint}".rstrip()
    return text.replace(f"{cwd}/", "").replace(str(cwd), ".")


def diagnostics(case: judge.Case, cwd: Path) -> list[Diagnostic]:
    try:
        return list(case.load(cwd).warnings)
    except InputError as error:
        return list(error.diagnostics)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    expected = case.files.pop("expect", "").strip().splitlines()
    cwd = case.write(tmp_path / "p")
    found = diagnostics(case, cwd)
    assert [line(item, cwd) for item in found] == expected
    case.files["expect"] = "\n".join(expected)


@pytest.mark.parametrize("name", CASES)
def test_summaries_are_constant(name: str, tmp_path: Path) -> None:
    """No name of the user's in a summary, no full stop, one line."""
    case = CASES[name]
    for item in diagnostics(case, case.write(tmp_path / "p")):
        assert item.summary and "\n" not in item.summary and not item.summary.endswith(".")
        assert not any(word in item.summary for word in ("web", "nope", "${", "/"))
