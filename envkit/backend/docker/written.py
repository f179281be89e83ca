"""The files that containers have written into their own layers: they die with them."""

from __future__ import annotations

from envkit.backend import ownership
from envkit.backend.docker import files, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.engine_api import Engine

_KINDS = {0: "changed", 1: "added", 2: "deleted"}
_OWN = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv", "/run/.containerenv",
                  "/dev/console", "/etc/mtab"})  # fmt: skip
SHOWN = 50
"""So many are named by a plan."""


def written(engine: Engine, items: Sequence[Mapping[str, Any]]) -> list[list[tuple[str, str]]]:
    """Per inspection, ("added", "changed" or "deleted"; path) of every file, sorted by path.

    Mount points, and the files of secrets and configs, are envkit's own doing.
    """
    answers = engine.get_all(*(f"/containers/{item['Id']}/changes" for item in items))
    return [_of(item, rows or ()) for item, rows in zip(items, answers, strict=True)]


def first_written(engine: Engine, items: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Id -> the paths of the first files, with the last one "…" where there are more."""
    asked = list(items)
    found = {}
    for item, rows in zip(asked, written(engine, asked), strict=True):
        paths = [path for _, path in rows]
        found[str(item["Id"])] = [*paths[:SHOWN], "…"] if len(paths) > SHOWN else paths
    return found


def _of(item: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    owner = ownership.owner_of(look.labels_of(item))
    own = {str(row["Destination"]) for row in item.get("Mounts") or ()} | _OWN
    own |= set((item.get("HostConfig") or {}).get("Tmpfs") or {})
    own |= {str(row["target"]) for _, row in files.mounted(owner.spec)} if owner else set()
    found = [(_KINDS[int(row["Kind"])], str(row["Path"])) for row in rows]
    return sorted(_told(found, own), key=lambda pair: pair[1])


def _told(found: Sequence[tuple[str, str]], own: set[str]) -> Iterator[tuple[str, str]]:
    """Without directories that are there, or changed, only for what is in them."""
    above = {path[:place] for path in own for place in range(1, len(path) + 1) if path[place : place + 1] in ("/", "")}
    parents = {path.rpartition("/")[0] for _, path in found}
    for kind, path in found:
        if path in above or (kind == "changed" and path in parents):
            continue
        yield kind, path
