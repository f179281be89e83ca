"""What each apply did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envkit.views.table import render_table
from envkit.views.terminal import Style


def render_history(entries: Sequence[Mapping[str, Any]], style: Style) -> str:
    """A row per apply, the latest last."""
    rows = [
        [
            str(entry.get("generation", "")), str(entry.get("time", "")), str(entry.get("who", "")),
            str(entry.get("commit") or "-")[:10], str(entry.get("command", "apply")), str(entry.get("summary", "")),
            str(entry.get("result", "")),
        ]
        for entry in entries
    ]  # fmt: skip
    return render_table(["GENERATION", "WHEN", "WHO", "COMMIT", "COMMAND", "PLAN", "RESULT"], rows, style)
