"""What happened, as values: emitted by backends and the reconciler, shown by views. Standard library only."""

from __future__ import annotations

from envkit.values import StrEnum, field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias


class EventKind(StrEnum):
    """The life of one change or wait, in this order; LOG and WARNING may come at any time."""

    STARTED = "started"
    PROGRESS = "progress"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    LOG = "log"
    WARNING = "warning"


@value
class Event:
    """address: whose event (text form; empty: the environment's); action: of the Change (`create`, …) or of a command
    (`stop`); message: for people, one line; data: plain JSON values for machines, never secrets."""

    kind: EventKind
    address: str = ""
    action: str = ""
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


Emit: TypeAlias = "Callable[[Event], None]"


def ignore(event: Event) -> None:
    """An Emit for callers that show nothing."""
