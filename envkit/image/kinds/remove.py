"""Paths taken away. It depends on all that is below: what a pattern matches is decided there."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import Any

from envkit.host.beneath import open_beneath
from envkit.image.step import Step

_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def sees(step: Step) -> Any:
    return "everything"


def make(step: Step) -> Any:
    for pattern in step.args["paths"]:
        parts = [part for part in pattern.split("/") if part]
        removed = _remove(step.root, "", parts) if parts else 0
        if not removed:
            step.warn(f"nothing matches {pattern}")


def _remove(root: str, directory: str, parts: list[str]) -> int:
    """Remove what matches below directory; how many. Links on the way are followed inside the root, the last never."""
    try:
        descriptor = open_beneath(root, directory, _LISTED)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    try:
        hidden = parts[0].startswith(".")
        visible = (name for name in sorted(os.listdir(descriptor)) if hidden or not name.startswith("."))
        names = [name for name in visible if fnmatchcase(name, parts[0])]
        if len(parts) == 1:
            for name in names:
                _take(descriptor, name)
            return len(names)
    finally:
        os.close(descriptor)
    return sum(_remove(root, f"{directory}/{name}" if directory else name, parts[1:]) for name in names)


def _take(holder: int, name: str) -> None:
    """Remove one entry and all below it."""
    from envkit.host.files import remove_tree

    remove_tree(f"/proc/self/fd/{holder}/{name}")
