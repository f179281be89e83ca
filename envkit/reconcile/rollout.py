"""How the replicas of a service are updated one after the other (`deploy.update_config`): the pause between them, what
a failure does to the rest, and the way back. Decides from changes and their outcomes; no clock, no threads.

Source: Compose Deploy Specification, update_config; the order is the plan's (`plan.requires`).
"""

from __future__ import annotations

from envkit.plan.model import Action, Change
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from envkit.address import Address


class Rollouts:
    """The updates of one batch of changes."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._by_service: dict[str, list[Change]] = {}
        for change in changes:
            if _rolls(change):
                self._by_service.setdefault(change.address.name, []).append(change)
        self._failed: dict[str, list[Address]] = {}
        self._ended: dict[Address, float] = {}

    def note(self, change: Change, now: float, *, failed: bool) -> None:
        """The change has been carried out, or has failed, now."""
        self._ended[change.address] = now
        if failed and _rolls(change):
            self._failed.setdefault(change.address.name, []).append(change.address)

    def halted(self, change: Change) -> str:
        """Why the change is not begun: too many of its service have failed; "" while it may be."""
        if not _rolls(change) or (because := self._over(change.address.name)) is None:
            return ""
        word = "rolled back" if _update(change).get("failure_action") == "rollback" else "paused"
        return f"the update is {word}: {because} failed"

    def due(self, change: Change) -> float:
        """The moment from which it may begin: `delay` seconds after the ones that it waits for."""
        delay = float(_update(change).get("delay") or 0) if _rolls(change) else 0.0
        if not delay:
            return 0.0
        ahead = [
            self._ended[item.address] for item in change.requires
            if item.address in self._ended and item.address.name == change.address.name
        ]  # fmt: skip
        return max(ahead) + delay if ahead else 0.0

    def _over(self, name: str) -> Address | None:
        """The first that failed, where that is more than may fail."""
        failed, rolling = self._failed.get(name), self._by_service[name]
        update = _update(rolling[0])
        if not failed or update.get("failure_action") == "continue":
            return None
        share = len(failed) / len(rolling)
        return failed[0] if share > float(update.get("max_failure_ratio") or 0) else None

    def way_back(self, done: Collection[Address]) -> list[Change]:
        """The changes that bring back what was there before, where an update with `failure_action: rollback` has
        failed: the old spec and the old image, for every instance that has been replaced."""
        back = []
        for name, rolling in self._by_service.items():
            because = self._over(name)
            if because is None or _update(rolling[0]).get("failure_action") != "rollback":
                continue
            for change in rolling:
                gone = change.address in self._failed[name] and change.action is Action.REPLACE
                if change.address in done or gone:
                    back.append(_reversed(change, because))
        return back


def _update(change: Change) -> Mapping[str, Any]:
    return (change.resource.spec.get("update") if change.resource else None) or {}


def _rolls(change: Change) -> bool:
    """Whether it is a replacement that `update_config` is about."""
    return change.action.replaces and change.resource is not None and "update" in change.resource.spec


def _reversed(change: Change, because: Address) -> Change:
    old, new = change.observed, change.resource
    assert old is not None and new is not None
    order = (new.spec.get("rollback") or {}).get("order")
    beside = order != "stop-first" and change.action is Action.REPLACE_START_FIRST
    return replace(
        change, action=Action.REPLACE_START_FIRST if beside else Action.REPLACE, attributes=(), requires=(),
        reason=f"rolled back because {because} failed", image_digest=old.image_digest,
        resource=replace(new, spec=old.spec, fingerprint=old.fingerprint),
    )  # fmt: skip
