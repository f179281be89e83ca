"""Lint and types as tests, so that `pytest` alone is the whole check."""

from __future__ import annotations

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def check(*words: str) -> None:
    """Run a tool of this interpreter's environment; its findings are the failure."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-8000:]}{done.stderr[-2000:]}"


def test_ruff() -> None:
    check("ruff", "check", "--output-format", "concise", "envkit", "tests")


def test_mypy() -> None:
    check("mypy", "--strict", "--no-error-summary")
