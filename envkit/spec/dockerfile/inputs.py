"""Which files of the context a build can read at all, so that an image depends on nothing else.

Over-estimates where a name has a variable or a pattern; an image must never be taken for up to date when it is not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from envkit.spec.dockerfile.check import sources_and_target
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.parse import Instruction, heredoc_name
from envkit.spec.dockerfile.stages import Stage

_WILD = re.compile(r"[*?\[\\]")


class Read(NamedTuple):
    """A file or directory below the context ("" for all of it); pattern: only what matches it there."""

    path: str
    pattern: str = ""


def context_paths(stages: Iterable[Stage], escape: str = "\\") -> list[Read]:
    """What the stages read of the context, sorted."""
    return sorted({read for stage in stages for item in stage.instructions for read in _paths(item, escape)})


def _paths(item: Instruction, escape: str) -> Iterator[Read]:
    if item.keyword in ("COPY", "ADD") and item.flag("from") is None:
        for source in sources_and_target(item, escape)[0]:
            if not heredoc_name(source) and not is_remote(source.strip("\"'")):
                yield _static(source.strip("\"'"))
    for text in item.all_flags("mount"):
        if "$" in text:
            yield Read("")
            continue
        try:
            mount = parse_mount(text)
        except MountError:
            continue
        if mount.kind == "bind" and not mount.origin:
            yield _static(mount.source)


def is_remote(source: str) -> bool:
    """Whether ADD fetches it."""
    return source.startswith(("http://", "https://", "git://", "ssh://", "git@"))


def _static(source: str) -> Read:
    """A source as the directory before its first wildcard and the pattern below it; all for one with a variable."""
    if "$" in source or "\\" in source:
        return Read("")
    path = posixpath.normpath("/" + source).lstrip("/")
    wild = _WILD.search(path)
    if not wild:
        return Read(path)
    directory = path[: wild.start()].rpartition("/")[0]
    return Read(directory, path.removeprefix(directory).lstrip("/"))
