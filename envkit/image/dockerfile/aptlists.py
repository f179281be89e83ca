"""apt's package lists between the RUNs of a stage: `apt-get update` in one serves `apt-get install` in the next.

They name this machine's mirrors and so never become part of a layer: kept below HOME/cache/build/lists by the chain of
the layers that they belong to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from envkit.host import files
from envkit.host.lock import Lock
from envkit.image.manifest import LayerInfo
from envkit.image.step import Step

_KEPT = 4  # sets of lists; each may be tens of megabytes
_NO_LISTS = frozenset({"lock", "partial", "auxfiles"})


def restore(step: Step, below: Sequence[LayerInfo]) -> None:
    """Lay the lists of the nearest layer below that has some where the command sees them."""
    target = step.space.directory("apt-lists")
    with _lock(step):
        for layer in reversed(below):
            path = os.path.join(_directory(step), _name(layer))
            if os.path.isdir(path):
                files.remove_tree(target)
                files.copy_tree(path, target)
                os.utime(path)
                return


def keep(step: Step, made: LayerInfo) -> None:
    """Remember the lists that a command left, for what is built on the layer that it made."""
    left = step.space.directory("apt-lists")
    if _NO_LISTS.issuperset(os.listdir(left)):
        return
    with _lock(step):
        target = os.path.join(_directory(step), _name(made))
        files.remove_tree(target)
        files.copy_tree(left, target)
        with os.scandir(_directory(step)) as entries:
            kept = sorted((entry.stat().st_mtime, entry.path) for entry in entries if entry.is_dir())
        for _, path in kept[:-_KEPT]:
            files.remove_tree(path)


def _lock(step: Step) -> Lock:
    files.make_directory(_directory(step), 0o700)
    return Lock(os.path.join(_directory(step), "lock"), {"purpose": "package lists of builds"})


def _directory(step: Step) -> str:
    return os.path.join(step.context.home.cache, "build", "lists")


def _name(layer: LayerInfo) -> str:
    return layer.chain_id.rpartition(":")[2]
