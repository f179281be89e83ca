"""What one round of watching did. Values only."""

from __future__ import annotations

from envkit.values import field, struct, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.errors import EnvkitError


@value
class Act:
    """verb: create, update, replace, delete (of a plan), sync, restart or exec. files: how many were put in or taken
    away by a sync. detail: why, or what."""

    verb: str
    address: str
    files: int = 0
    detail: str = ""


@struct
class Round:
    """acts: in the order in which they were done. problems: what kept something from being done. seconds: from the
    first look to the end. mended: the files are valid again."""

    acts: list[Act] = field(default_factory=list)
    problems: list[EnvkitError] = field(default_factory=list)
    seconds: float = 0.0
    mended: bool = False

    def __bool__(self) -> bool:
        return bool(self.acts or self.problems or self.mended)
