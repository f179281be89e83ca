"""The words of a plan: Action, AttributeChange, Change, Plan. Pure values, standard library only."""

from __future__ import annotations

from envkit.values import Enum, StrEnum, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.address import Address
    from envkit.diagnostics import Diagnostic
    from envkit.observed.state import ObservedResource
    from envkit.spec.environment import Dependency, Resource


class Action(Enum):
    """What is done; the value is (name in JSON, symbol)."""

    NOOP = ("noop", " ")
    CREATE = ("create", "+")
    UPDATE = ("update", "~")
    REPLACE = ("replace", "-/+")
    REPLACE_START_FIRST = ("replace", "+/-")
    DELETE = ("delete", "-")

    @property
    def word(self) -> str:
        return self.value[0]

    @property
    def symbol(self) -> str:
        return self.value[1]

    @property
    def replaces(self) -> bool:
        return self in (Action.REPLACE, Action.REPLACE_START_FIRST)


class Effect(StrEnum):
    """What changing one attribute costs its object."""

    NONE = "none"
    IN_PLACE = "in-place"
    RESTART = "restart"
    REPLACE = "replace"


@value
class AttributeChange:
    """before and after are plain JSON values; None stands for absent; secrets are "(sensitive value)".
    source: "file:line:col" that sets `after`, "" when nothing in the YAML does."""

    path: str
    before: Any
    after: Any
    source: str = ""
    effect: Effect = Effect.REPLACE


@value
class Change:
    """One address's way from observed to desired.

    reason is for people alone and no input to any decision. resource is what must be (None: DELETE); observed is what
    is (None: CREATE). requires: what must hold before it starts (for deletions: what must be deleted first, condition
    "applied"). loses_data: carrying it out destroys data that nothing else holds. timeout: seconds of grace before a
    kill, instead of what the spec says. snapshot: what would be lost is kept as a snapshot, and so many of those that
    were made like this stay (0: nothing is kept). renew: what an image is made of and must be made or looked up again
    whatever is remembered: `layers`, `bases`. image_digest: the image that a service is made from, whatever the name
    in its spec means now. A CREATE has no attributes: its resource is all of them.
    """

    address: Address
    action: Action
    reason: str = ""
    attributes: tuple[AttributeChange, ...] = ()
    resource: Resource | None = None
    observed: ObservedResource | None = None
    requires: tuple[Dependency, ...] = ()
    loses_data: bool = False
    timeout: float | None = None
    start: bool = True
    drop_anonymous: bool = False
    snapshot: int = 0
    renew: frozenset[str] = frozenset()
    image_digest: str = ""


@value
class Plan:
    """changes: every address once, NOOPs included, in an order in which they can be carried out. drift: what differs
    from the last apply, reported apart from intent (before: what that apply left, after: what is now). basis: digest
    of the observed state the plan was made from. partial and replace: the addresses of --only and --replace. destroy:
    everything (or, with partial, that alone) is taken down."""

    environment: str
    changes: tuple[Change, ...]
    drift: tuple[Change, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    basis: str = ""
    partial: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    destroy: bool = False

    @property
    def effective(self) -> tuple[Change, ...]:
        """The changes that do something."""
        return tuple(change for change in self.changes if change.action is not Action.NOOP)

    @property
    def is_empty(self) -> bool:
        return not self.effective

    @property
    def loses_data(self) -> bool:
        return any(change.loses_data for change in self.changes)

    def count(self, word: str) -> int:
        """How many changes have this action word (`create`, `update`, `replace`, `delete`, `noop`)."""
        return sum(1 for change in self.changes if change.action.word == word)
