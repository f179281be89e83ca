"""Bad input, one file each: tests/cases/config/bad-*.yaml, loaded as an envkit.yaml.

The comment block at a file's end is what must be reported, in this order, one line each:
    # error LINE:COLUMN code: detail | hint
DIR stands for the project's directory.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from envkit.config.compile import compile_environment
from envkit.config.load import load_model
from envkit.config.options import LoadOptions
from envkit.diagnostics import Diagnostic
from envkit.errors import InputError
from envkit.host.home import Home

CASES = Path(__file__).parents[2] / "cases/config"
MINE = sorted(path for kind in ("schema", "image", "compile") for path in CASES.glob(f"bad-{kind}-*.yaml"))


def reported(text: str, directory: Path) -> list[str]:
    (directory / "envkit.yaml").write_text(text)
    (directory / "Dockerfile").write_text("FROM scratch\n")
    try:
        compile_environment(load_model(LoadOptions(str(directory))), Home(str(directory / "home")))
    except InputError as error:
        return [line(item, directory) for item in error.diagnostics]
    return []


def line(item: Diagnostic, directory: Path) -> str:
    place = f"{item.source.line}:{item.source.column}" if item.source else "-"
    text = f"# {item.severity} {place} {item.code}: {item.detail} | {item.hint}"
    return text.replace(str(directory), "DIR").rstrip(" |")


@pytest.mark.parametrize("path", MINE, ids=lambda path: path.stem)
def test_every_problem_is_reported_with_its_place_and_the_way_out(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    expected = [row for row in text.splitlines() if row.startswith(("# error", "# warning"))]
    assert expected, "the case has no expectation"
    assert reported(text, tmp_path) == expected
