"""How much a plan would destroy: measured where a plan says that it loses data, and nowhere else."""

from __future__ import annotations

from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.backend.base import Backend
    from envkit.plan.model import Change, Plan


def measured(plan: Plan, backend: Backend) -> Plan:
    """The plan, whose changes that lose data, or keep it as a snapshot, know its `bytes` and `files` (attributes of
    what is observed). The volumes are read for it."""
    if not any(change.loses_data or change.snapshot for change in plan.changes):
        return plan
    paths = {row.name: row.path for row in backend.volumes(None)}
    return replace(plan, changes=tuple(_measured(change, paths) for change in plan.changes))


def _measured(change: Change, paths: dict[str, str]) -> Change:
    observed = change.observed
    path = paths.get(str(observed.spec.get("name") or ""), "") if observed else ""
    if observed is None or not path or not (change.loses_data or change.snapshot):
        return change
    from envkit.host.content import tree_content

    size, files = tree_content(path)
    return replace(change, observed=replace(observed, attributes={**observed.attributes, "bytes": size,
                                                                  "files": files}))  # fmt: skip
