"""A proposed envkit.yaml: what became of what, and what envkit's defaults change, service by service."""

from __future__ import annotations

from envkit.config.propose.differences import text_of
from envkit.views.table import render_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.config.propose.differences import Difference
    from envkit.config.propose.proposal import Proposal
    from envkit.views.terminal import Style

_MARKS = {"changed": ("~", "yellow"), "kept": ("=", "dim"), "check": ("?", "cyan"), "left out": ("-", "red")}
_LONGEST = 60


def render_proposal(proposal: Proposal, style: Style) -> str:
    """The remarks, then the table of differences; "" when there is nothing to say."""
    blocks = []
    if proposal.notes:
        order = list(_MARKS)
        rows = [f"  {style(*_MARKS[note.kind])} {style(note.subject, 'bold')} {note.text}"
                for note in sorted(proposal.notes, key=lambda note: order.index(note.kind))]  # fmt: skip
        title = style("What became of it (~ written anew, = kept, ? look at it, - left out):", "bold")
        blocks.append("\n".join([title, *rows]))
    if proposal.secrets:
        names = ", ".join(f"./{path}" for path in proposal.secrets)
        blocks.append(f"Secrets lie in {names}, readable by you alone and ignored by git.")
    if proposal.differences:
        shown = [[service, item.field, _short(item.before), _short(item.after)]
                 for service, item in _grouped(list(proposal.differences))]  # fmt: skip
        blocks.append(style("What the defaults of an envkit.yaml change:", "bold") + "\n" + render_table(
            ["SERVICE", "FIELD", "BEFORE", "AFTER"], shown, style))
    return "\n\n".join(blocks)


def proposal_json(proposal: Proposal) -> dict[str, Any]:
    """Plain values; no secret's content."""
    return {
        "text": proposal.text, "secrets": list(proposal.secrets),
        "notes": [{"kind": note.kind, "subject": note.subject, "text": note.text} for note in proposal.notes],
        "differences": [item.as_dict() for item in proposal.differences],
    }  # fmt: skip


def _grouped(rows: list[Difference]) -> list[tuple[str, Difference]]:
    """Rows that all services share as one, before the others."""
    services = {row.service for row in rows}
    holders: dict[str, list[Difference]] = {}
    for row in rows:
        holders.setdefault(repr((row.field, row.before, row.after)), []).append(row)
    shared = [items[0] for items in holders.values() if len(services) > 1 and len(items) == len(services)]
    keys = {(item.field, repr(item.before), repr(item.after)) for item in shared}
    own = [row for row in rows if (row.field, repr(row.before), repr(row.after)) not in keys]
    return [("(every one)", item) for item in shared] + [(row.service, row) for row in own]


def _short(value: Any) -> str:
    text = text_of(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
