"""What must wait for what among the changes of a plan. Pure; read by the planner for the order and by the executor."""

from __future__ import annotations

from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envkit.address import Address
    from envkit.plan.model import Change
    from envkit.spec.environment import Dependency


def targets(changes: Sequence[Change]) -> Callable[[Change, Dependency], list[Address]]:
    """(change, one of its requirements) -> the addresses of the changes that fulfil it.

    A requirement means every replica (`service.db`), those that scaling down takes away included, since whoever waits
    for a service looks at all that there are. One that names a deletion, or another replica of the change's own
    service, means that one alone.
    """
    replicas: dict[tuple[str, str], list[Address]] = {}
    deleted: set[Address] = set()
    for change in changes:
        if change.action is Action.DELETE:
            deleted.add(change.address)
        replicas.setdefault((change.address.kind, change.address.name), []).append(change.address)

    def find(change: Change, dependency: Dependency) -> list[Address]:
        address = dependency.address
        if address in deleted:
            return [address]
        if (address.kind, address.name) == (change.address.kind, change.address.name):
            return [address] if address != change.address else []
        return replicas.get((address.kind, address.name), [])

    return find


def edges(changes: Sequence[Change]) -> dict[Address, set[Address]]:
    """Address -> the addresses of the changes that must have been carried out before it."""
    find = targets(changes)
    return {
        change.address: {address for dependency in change.requires for address in find(change, dependency)}
        for change in changes
        if change.requires
    }
