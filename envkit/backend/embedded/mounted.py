"""Two mount tables of one container compared: as the runtime left it, and as it is. Pure.

Source: proc(5), /proc/PID/mountinfo.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Facts(Protocol):
        def differ(self, path: str, before: Any, now: Any) -> None: ...


class _Row:
    """What of a line counts: not its numbers, which are new with every mount."""

    def __init__(self, line: bytes) -> None:
        first, _, last = line.decode(errors="surrogateescape").partition(" - ")
        _, _, self.device, self.root, self.target, options, *self.propagation = first.split(" ")
        self.kind, _, self.superblock = (*last.split(" "), "", "")[:3]
        self.options = options.split(",")
        self.depth = 1  # how many are mounted at this place

    @property
    def identity(self) -> tuple[str, str, int]:
        """What tells one from another; file systems without a device are new ones in every container."""
        return self.kind if self.device.startswith("0:") else self.device, self.root, self.depth

    @property
    def read_only(self) -> bool:
        return "ro" in self.options

    @property
    def what(self) -> str:
        """What is mounted, for people."""
        return f"{self.kind} {self.root}" if self.root != "/" else self.kind


def compare_mounts(facts: Facts, before: bytes, after: bytes, *, may_mount: bool) -> None:
    """Say what differs: `root.read_only`, `mounted[TARGET]` and its `source`, `read_only` or `options`.

    may_mount: the container can mount by itself, so that further mounts are its own affair.
    """
    old, new = _tops(before), _tops(after)
    follows = [target for target, row in old.items() if any("master:" in tag or "shared:" in tag
                                                          for tag in row.propagation)]  # fmt: skip
    for target, row in old.items():
        path = "root" if target == "/" else f"mounted[{target}]"
        now = new.get(target)
        if now is None:
            facts.differ(path, row.what, "missing")
        elif now.identity != row.identity:
            covered = now.depth != row.depth
            if not (covered and may_mount):
                facts.differ(f"{path}.source", row.what, f"covered by {now.what}" if covered else now.what)
        elif now.read_only != row.read_only:
            facts.differ(f"{path}.read_only", row.read_only, now.read_only)
        elif target == "/" and not row.read_only and "ro" in now.superblock.split(","):
            facts.differ(f"{path}.read_only", False, True)
        elif now.options != row.options:
            facts.differ(f"{path}.options", ",".join(row.options), ",".join(now.options))
    for target, row in new.items():
        below = any(target.startswith(top.rstrip("/") + "/") for top in follows)
        if target not in old and not may_mount and not below:
            facts.differ(f"mounted[{target}]", None, row.what)


def lowers_of(table: bytes) -> tuple[str, ...]:
    """The lower directories of the overlay that is the root, top first; () when it is none."""
    row = _tops(table).get("/")
    options = row.superblock.split(",") if row is not None and row.kind == "overlay" else []
    return tuple(item.partition("=")[2] for item in options if item.startswith(("lowerdir+=", "lowerdir=")))


def _tops(table: bytes) -> dict[str, _Row]:
    """Target -> the mount that is seen there: of several at one place the last."""
    found: dict[str, _Row] = {}
    for row in map(_Row, table.splitlines()):
        if row.target in found:
            row.depth = found[row.target].depth + 1
        found[row.target] = row
    return found
