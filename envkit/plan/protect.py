"""What `volumes.X.protect` makes of a change that would lose data: a snapshot first, or no plan at all. Pure."""

from __future__ import annotations

from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from envkit.diagnostics import Diagnostic, Position
    from envkit.plan.draft import Draft


def holds_data(spec: Mapping[str, Any]) -> bool:
    """Whether a volume's content is in envkit's keeping (and not in a bound directory, an export or memory)."""
    options = spec.get("driver_opts", {})
    return not options.get("device") and not options.get("type")


def guard(draft: Draft, spec: Mapping[str, Any]) -> None:
    """A draft that loses data keeps it as a snapshot, where spec says so."""
    protect = spec.get("protect") or {}
    if draft.loses_data and protect.get("snapshot"):
        draft.loses_data, draft.snapshot = False, int(protect["keep"])


def refusals(drafts: Iterable[Draft]) -> list[Diagnostic]:
    """An error for every volume that would lose its data and may not: `protect: {snapshot: false}`."""
    found = []
    for draft in drafts:
        if draft.loses_data and draft.address.kind == "volume":
            spec = draft.resource.spec if draft.resource else draft.observed.spec if draft.observed else {}
            if (spec.get("protect") or {}).get("snapshot") is False:
                verb = "deleted" if draft.action is Action.DELETE else "made anew"
                from envkit.diagnostics import Diagnostic, Severity

                written = draft.resource.origin("protect") if draft.resource else ""
                found.append(Diagnostic(
                    Severity.ERROR, "protected", "A protected volume would lose its data",
                    f"{draft.address} is {verb}: {draft.because}", _position(written),
                    "take `protect` away, or write `protect: true` to keep the data as a snapshot",
                ))  # fmt: skip
    return found


def _position(text: str) -> Position | None:
    from envkit.diagnostics import Position

    file, _, rest = text.rpartition(":")
    file, _, line = file.rpartition(":")
    return Position(file, int(line), int(rest)) if line.isdigit() and rest.isdigit() else None
