"""Which ids a container may use, and what overlayfs needs for it: as root every id is itself.

Inside the engine namespace nothing is ever translated; the map answers questions and writes messages.
"""

from __future__ import annotations

import os
from typing import Literal

from envkit.values import value


@value
class IdMap:
    """form: identity (root), mapped (a range of subordinate ids), single (only the user's own id, as 0).

    ranges: (inside, outside, count) of each range, empty for identity.
    """

    form: Literal["identity", "mapped", "single"]
    ranges: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def current(cls) -> IdMap:
        """The map of this process's user namespace (user_namespaces(7), uid_map)."""
        with open("/proc/self/uid_map", encoding="ascii") as file:
            rows = [tuple(map(int, line.split())) for line in file]
        if [row[:2] for row in rows] == [(0, 0)] and rows[0][2] == 2**32 - 1:
            return cls("identity")
        ranges = tuple((row[0], row[1], row[2]) for row in rows)
        total = sum(count for _, _, count in ranges)
        return cls("single" if total == 1 else "mapped", ranges)

    def has(self, number: int) -> bool:
        """Whether a file can be owned by, or a process run as, id number of the container."""
        return self.form == "identity" or any(first <= number < first + count for first, _, count in self.ranges)

    def outside(self, number: int) -> int:
        """The host's id behind the container's, for messages. Raises ValueError when it has none."""
        if self.form == "identity":
            return number
        for first, host, count in self.ranges:
            if first <= number < first + count:
                return host + number - first
        raise ValueError(f"id {number} is not mapped")

    @property
    def overlay_options(self) -> tuple[str, ...]:
        """For mounts.overlay: without userxattr a rootless overlay cannot delete a lower directory (EIO)."""
        return () if self.form == "identity" else ("userxattr",)

    @property
    def overlay_prefix(self) -> str:
        """The prefix of overlayfs's own extended attributes in an upperdir."""
        return "trusted.overlay." if self.form == "identity" else "user.overlay."

    @property
    def has_devices(self) -> bool:
        """Whether device nodes other than whiteouts can be made."""
        return self.form == "identity"

    @property
    def has_groups(self) -> bool:
        """Whether further groups (setgroups, devpts gid=5) work."""
        return self.form != "single"

    def describe(self) -> str:
        """One phrase for messages."""
        if self.form == "identity":
            return "every id"
        return ", ".join(f"ids {first}-{first + count - 1}" for first, _, count in self.ranges)


def is_root() -> bool:
    """Whether this process is root of the machine, or of its engine namespace."""
    return os.geteuid() == 0
