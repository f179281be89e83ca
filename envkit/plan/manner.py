"""How changes are carried out, beyond what they change: started or only made, with what grace, keeping what. Pure."""

from __future__ import annotations

from envkit.plan.model import Action
from envkit.spec.environment import Dependency
from envkit.values import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.plan.model import Change


@value
class Manner:
    """start: False: instances are made and not started, and those that are there are left as they are. timeout: seconds
    of grace for every instance that goes or is restarted, None: what its spec says. drop_anonymous: the anonymous
    volumes of every instance that goes are removed with it. exact: nothing is made that the plan has not foreseen,
    though it vanished meanwhile (a saved plan)."""

    start: bool = True
    timeout: float | None = None
    drop_anonymous: bool = False
    exact: bool = False


def in_manner(changes: Sequence[Change], manner: Manner) -> Sequence[Change]:
    """The changes as the manner wants them."""
    if manner == Manner():
        return changes
    return [_one(change, manner) for change in changes]


def _one(change: Change, manner: Manner) -> Change:
    if change.address.kind != "service" or change.action is Action.NOOP:
        return change
    if manner.timeout is not None:
        change = replace(change, timeout=manner.timeout)
    if manner.drop_anonymous:
        change = replace(change, drop_anonymous=True)
    if change.action is Action.REPLACE_START_FIRST and (manner.drop_anonymous or not manner.start):
        change = replace(change, action=Action.REPLACE)  # both would have the same volumes; nothing shows itself good
    if manner.start or change.action is Action.DELETE:
        return change
    if change.action is Action.UPDATE:
        return replace(change, action=Action.NOOP, attributes=(), requires=())
    requires = tuple(Dependency(item.address, "applied", item.required) for item in change.requires)
    return replace(change, start=False, requires=requires)
