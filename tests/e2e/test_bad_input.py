"""What users get wrong (cases/e2e/bad-input.yaml): a clear message with the place and the way out, exit code 1, no
traceback, nothing half done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

CASES = YAML(typ="safe").load(Path(__file__).parents[1] / "cases" / "e2e" / "bad-input.yaml")
pytestmark = pytest.mark.root


@pytest.mark.parametrize("case", CASES, ids=[case["name"].replace(" ", "-") for case in CASES])
def test_bad_input(case, project, home):
    there = project(case["files"])
    outcome = there.run(*case.get("run", ["apply"]))
    outcome.assert_code(case.get("code", 1)).assert_text(*case["says"]).assert_no_text("Traceback", "bug in envkit")
    assert not outcome.stdout, "an error goes to stderr"
    assert "help:" in outcome.stderr, f"no way out\n{outcome}"
    assert there.run("ps", "--json", "-p", "bad").json == []
    assert not os.path.isdir(f"{home}/environments/bad")
