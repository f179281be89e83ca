"""How an apply ended."""

from __future__ import annotations

from envkit.views.terminal import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.reconcile.apply import Outcome


def render_outcome(outcome: Outcome, seconds: float, style: Style, *, base: str = "") -> str:
    """The failures with their logs, then one line of totals."""
    blocks = []
    if outcome.errors:
        from envkit.views.diagnostics import render_error

        blocks = [render_error(error, style, base=base) for error in outcome.errors]
    done = f"{len(outcome.done)} done" if outcome.done else "nothing done"
    if outcome.failed:
        skipped = f", {len(outcome.skipped)} skipped" if outcome.skipped else ""
        blocks.append(
            style(f"Failed: {len(outcome.failed)} failed{skipped}, {done} in {seconds:.1f} s.", "bold", "red")
        )
        blocks.append("The rest is as it was. Mend the cause and run envkit apply again.")
    else:
        blocks.append(
            style(f"Done: {len(outcome.done)} change{'s' * (len(outcome.done) != 1)} in {seconds:.1f} s.", "bold")
        )
    return "\n".join(blocks)


def outcome_json(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The last line of the JSON stream."""
    from envkit.views.diagnostics import error_json

    return {
        "type": "outcome",
        "done": [str(item) for item in outcome.done],
        "failed": [str(item) for item in outcome.failed],
        "skipped": [str(item) for item in outcome.skipped],
        "seconds": round(seconds, 3),
        "errors": [error_json(error) for error in outcome.errors],
    }
