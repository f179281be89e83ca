"""Which files of the context a build can read at all, so that an image depends on nothing else.

Over-estimates where a name has a variable or a pattern; an image must never be taken for up to date when it is not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

from envkit.spec.dockerfile.check import sources_and_target
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.parse import Instruction, heredoc_name
from envkit.spec.dockerfile.stages import Stage

_WILD = re.compile(r"[*?\[\\]")


def context_paths(stages: Iterable[Stage], escape: str = "\\") -> list[str]:
    """Paths below the context ("" for all of it) that the stages read, none below another."""
    paths = {path for stage in stages for item in stage.instructions for path in _paths(item, escape)}
    if "" in paths:
        return [""]
    return sorted(path for path in paths if not any(path.startswith(other + "/") for other in paths))


def _paths(item: Instruction, escape: str) -> Iterator[str]:
    if item.keyword in ("COPY", "ADD") and item.flag("from") is None:
        for source in sources_and_target(item, escape)[0]:
            if not heredoc_name(source) and not is_remote(source.strip("\"'")):
                yield _static(source.strip("\"'"))
    for text in item.all_flags("mount"):
        if "$" in text:
            yield ""
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


def _static(source: str) -> str:
    """The part of a path before its first wildcard or variable, as whole components."""
    if "$" in source or "\\" in source:
        return ""
    path = posixpath.normpath("/" + source).lstrip("/")
    wild = _WILD.search(path)
    return path[: wild.start()].rpartition("/")[0] if wild else path
