"""What an apply has done against what its plan said, by the live objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envkit.observed.state import ObservedState
from envkit.plan.model import Action, Change
from envkit.reconcile.outcome import Outcome

BUG = "This is a bug in envkit."


def differences(changes: Iterable[Change], outcome: Outcome, after: ObservedState) -> list[str]:
    """A sentence for every change that was carried out and is not so.

    changes: as they were carried out; after: what is there now.
    """
    done = set(outcome.done)
    return [text for change in changes if change.address in done for text in _of(change, after)]


def _of(change: Change, after: ObservedState) -> Iterator[str]:
    address, now = change.address, after.resources.get(change.address)
    if change.action is Action.DELETE:
        if now is not None and not now.missing and not now.spec.get("external"):
            yield f"{address} was to be deleted and is there"
        return
    if now is None or now.missing:
        yield f"{address} was to be there ({change.action.word}) and is not"
        return
    if change.resource is not None and now.fingerprint != change.resource.fingerprint:
        yield f"{address} was to have the fingerprint {change.resource.fingerprint} and has {now.fingerprint}"
    if not now.complete:
        yield f"{address} was to be finished and is not"
    before = change.observed.attributes.get("id") if change.observed is not None else None
    if before and "id" in now.attributes:
        same = now.attributes["id"] == before
        if change.action.replaces and same:
            yield f"{address} was to be replaced and is the same instance"
        if change.action is Action.UPDATE and not same:
            yield f"{address} was to be updated in place and is another instance"
