"""A change while it is being thought about: what has been found out about one address so far."""

from __future__ import annotations

from envkit.plan import reasons
from envkit.plan.effects import strongest
from envkit.plan.model import Action, Change, Effect
from envkit.values import field, struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from envkit.address import Address
    from envkit.observed.state import ObservedResource
    from envkit.plan.model import AttributeChange
    from envkit.spec.environment import Dependency, Resource

_ACTIONS = {
    Effect.NONE: Action.NOOP,
    Effect.IN_PLACE: Action.UPDATE,
    Effect.RESTART: Action.UPDATE,
    Effect.REPLACE: Action.REPLACE,
}


@struct
class Draft:
    """attributes: what will change (before: now). drift: what changed outside. because: why, for people; completed: a
    job that has done its work, which nothing restarts; start_first: a replacement is there before the old one goes."""

    address: Address
    resource: Resource | None
    observed: ObservedResource | None
    action: Action = Action.NOOP
    because: str = ""
    attributes: list[AttributeChange] = field(default_factory=list)
    drift: list[AttributeChange] = field(default_factory=list)
    requires: list[Dependency] = field(default_factory=list)
    loses_data: bool = False
    snapshot: int = 0
    completed: bool = False
    start_first: bool = False

    @property
    def restarts(self) -> bool:
        """Whether carrying it out interrupts or begins the life of the thing."""
        if self.action is Action.UPDATE:
            return strongest(self.attributes) in (Effect.RESTART, Effect.REPLACE)
        return self.action not in (Action.NOOP, Action.DELETE)

    def settle(self, attributes: Iterable[AttributeChange]) -> None:
        """Add attributes (of paths not there yet) and choose the action that all of them together need."""
        known = {item.path for item in self.attributes}
        self.attributes += [item for item in attributes if item.path not in known]
        if self.action in (Action.CREATE, Action.DELETE) or self.action.replaces:
            return
        action = _ACTIONS[strongest(self.attributes)]
        self.action = Action.REPLACE_START_FIRST if action is Action.REPLACE and self.start_first else action

    def replace(self, because: str) -> None:
        """It must be made anew whatever its attributes say."""
        self.action = Action.REPLACE_START_FIRST if self.start_first else Action.REPLACE
        self.because = because

    def divergence(self) -> Change:
        """The drift, as an entry of its own, with the action that mends it."""
        facts = self.observed.attributes if self.observed else {}
        because = reasons.divergence(self.drift, facts.get("exit_code"), facts.get("desired") == "stopped")
        return Change(self.address, self.action, because, tuple(self.drift), self.resource, self.observed)

    def change(self) -> Change:
        idle = self.action is Action.NOOP
        return Change(
            self.address, self.action, self.because, () if idle else tuple(self.attributes), self.resource,
            self.observed, tuple(dict.fromkeys(self.requires)), self.loses_data,
            snapshot=self.snapshot,
        )  # fmt: skip
