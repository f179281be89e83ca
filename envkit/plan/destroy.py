"""The plan of `down`: everything that is observed goes, in the reverse order of its making. Pure."""

from __future__ import annotations

from collections.abc import Collection

from envkit.address import Address
from envkit.observed.state import ObservedState
from envkit.plan import reasons
from envkit.plan.draft import Draft
from envkit.plan.model import Action, Change, Plan
from envkit.plan.planner import basis_of, in_order
from envkit.plan.protect import guard, holds_data, refusals
from envkit.plan.requires import require_removals
from envkit.spec.environment import Environment
from envkit.values import replace

_ORDER = ("service", "config", "secret", "network", "volume")


def make_destroy_plan(
    observed: ObservedState, *, volumes: bool = False, timeout: float | None = None,
    environment: Environment | None = None, only: Collection[Address] = (),
) -> Plan:  # fmt: skip
    """Delete every observed thing (or only these); images stay in the store.

    volumes: the volumes too, which loses their data (external ones are nobody's to delete). timeout: seconds of grace
    for every instance. environment: adds the order of `depends_on`, where the files are at hand.
    """
    drafts: list[Draft] = []
    for address in sorted(observed.resources, key=_rank):
        item = observed.resources[address]
        if address.kind not in _ORDER or (address.kind == "volume" and not volumes) or item.spec.get("external"):
            continue
        if only and address not in only:
            continue
        resource = environment.resources.get(address.replica(1)) if environment else None
        owner = item.attributes.get("owner", "")
        because = reasons.anonymous(owner) if owner else reasons.TAKEN_DOWN
        draft = Draft(address, resource, item, Action.DELETE, because)
        draft.loses_data = address.kind == "volume" and not item.missing and holds_data(item.spec)
        guard(draft, resource.spec if resource else item.spec)
        drafts.append(draft)
    require_removals(drafts)
    changes = [_deletion(draft, timeout) for draft in drafts]
    return Plan(
        observed.environment, tuple(in_order(changes)), diagnostics=tuple(refusals(drafts)), basis=basis_of(observed),
        partial=tuple(map(str, only)), destroy=True,
    )  # fmt: skip


def _deletion(draft: Draft, timeout: float | None) -> Change:
    return replace(draft.change(), resource=None, timeout=timeout if draft.address.kind == "service" else None)


def _rank(address: Address) -> tuple[int, str, int]:
    rank = _ORDER.index(address.kind) if address.kind in _ORDER else len(_ORDER)
    return (rank, address.name, -address.index)
