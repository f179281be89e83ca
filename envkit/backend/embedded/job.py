"""One service change on its way through a session."""

from __future__ import annotations

from envkit.values import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.backend.embedded.picture import Picture
    from envkit.backend.embedded.record import Record
    from envkit.plan.model import Change


@struct
class Job:
    """One change on its way. old: the instance that goes; record: the one that is to run afterwards (the same object
    for a restart in place); fresh: record is a new instance; beside: which is there before the old one goes."""

    change: Change
    old: Record | None = None
    record: Record | None = None
    fresh: bool = False
    beside: bool = False
    picture: Picture | None = None
    error: BaseException | None = None

    @property
    def is_open(self) -> bool:
        return self.error is None

    @property
    def wants_ports(self) -> bool:
        """Whether its host ports have to be chosen."""
        return self.fresh or any(item.path.startswith("ports") for item in self.change.attributes)

    @property
    def is_watched(self) -> bool:
        """Whether it is not done before the new instance has shown that it may be relied on."""
        spec = self.record.spec if self.record is not None else {}
        return self.beside or (self.fresh and self.change.start and self.change.action.replaces and "update" in spec)
