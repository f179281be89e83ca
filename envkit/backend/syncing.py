"""`sync_to` for runtimes that offer no more than commands in a container and tar streams into it."""

from __future__ import annotations

import posixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_AT_ONCE = 500
"""Paths of one command: the kernel bounds what a command line takes."""


def sync_by_commands(
    target: str, removed: Sequence[str], tar: Iterator[bytes], *, run: Callable[[tuple[str, ...]], int],
    unpack: Callable[[str, Iterator[bytes]], None],
) -> None:  # fmt: skip
    """See backend.base.Backend.sync_to. run: a command as root in the container, its exit code; unpack: copy_to of the
    instance. The container needs `rm` and `mkdir`, and where its root is read-only, target must be a writable mount."""
    paths = [posixpath.join(target, path) for path in removed]
    for start in range(0, len(paths), _AT_ONCE):
        run(("rm", "-rf", "--", *paths[start : start + _AT_ONCE]))
    run(("mkdir", "-p", "--", target))
    unpack(target, tar)
