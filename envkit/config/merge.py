"""Phase: a later file is merged over what came before (Compose Specification, 13-merge.md).

Mappings merge key by key, lists append, scalars are replaced; the table names the places that do otherwise. Positions
come along: a value that replaces another remembers it (tree.Origin.shadowed).
"""

from __future__ import annotations

from collections.abc import Callable

from envkit.config.rules import Rules
from envkit.config.scalars import go_format
from envkit.config.tree import Map, Origin, Seq, as_map, origin_of
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Sides:
    """One place to merge: the earlier value and the later one, with their origins."""

    __slots__ = ("base", "base_at", "node", "over", "over_at", "path")

    def __init__(
        self, base: Any, base_at: Origin | None, over: Any, over_at: Origin | None, path: str,
        node: Rules | None,
    ) -> None:  # fmt: skip
        self.base = base
        self.base_at = base_at
        self.over = over
        self.over_at = over_at
        self.path = path
        self.node = node


Merger = Callable[["Merge", Sides], "Any"]


class Merge:
    """Merges trees; what cannot be merged goes to problems."""

    def __init__(self, problems: Diagnostics) -> None:
        self.problems = problems

    def documents(self, base: Map, over: Map) -> Map:
        """over on top of base, from which what over resets has been removed. Both are used up."""
        return self.mappings(base, over, "", TABLE)

    def services(self, base: Map, over: Map, name: str) -> Map:
        """A service on top of the one it extends. Both are used up."""
        untag(base, over)
        node = TABLE.at("services")
        merged = self.mappings(base, over, f"services.{name}", node.at(name) if node else None)
        merged.tags = over.tags
        return merged

    def mappings(self, base: Map, over: Map, path: str, node: Rules | None) -> Map:
        for key, value in over.items():
            over_at = over.at.get(key)
            if key not in base:
                base.put(key, value, over_at)
            else:
                below = node.at(key) if node is not None else None
                merged, origin = self.values(
                    Sides(base[key], base.at.get(key), value, over_at, f"{path}.{key}" if path else key, below)
                )
                base.put(key, merged, origin)
        return base

    def values(self, sides: Sides) -> tuple[Any, Origin | None]:
        """The merged value and its origin."""
        base, over, node = sides.base, sides.over, sides.node
        origin = sides.over_at.over(base, sides.base_at) if sides.over_at else sides.base_at
        if node is not None and node.rule is not None:
            return node.rule(self, sides), origin
        if over is None:
            return base, sides.base_at
        if isinstance(base, dict):
            if isinstance(over, Map) and isinstance(base, Map):
                return self.mappings(base, over, sides.path, node), sides.base_at
            return self._mismatch(sides, "a mapping"), sides.base_at
        if isinstance(base, list):
            if isinstance(over, Seq) and isinstance(base, Seq):
                return unite(base, over), sides.base_at
            return self._mismatch(sides, "a list"), sides.base_at
        return over, origin

    def _mismatch(self, sides: Sides, kind: str) -> Any:
        self.problems.error(
            "merge-type", "Two files disagree on the form of a value",
            f"`{sides.path}` is {kind} in the earlier file and something else here",
            sides.over_at.position if sides.over_at else None, f"write it as {kind}, or replace it with `!override`",
            (sides.base_at.position,) if sides.base_at else ())  # fmt: skip
        return sides.base


def untag(base: Any, over: Any) -> None:
    """Remove from base what over marks with `!reset` or `!override`, at any depth."""
    if not isinstance(base, Map) or not isinstance(over, Map):
        return
    for key in over.tags or ():
        base.drop(key)
    for key, value in over.items():
        if key in base and isinstance(value, dict):
            untag(base[key], value)


def resets(document: Any) -> list[tuple[str, ...]]:
    """The paths of the keys that a document marks with `!reset` or `!override`."""
    found: list[tuple[str, ...]] = []
    if isinstance(document, Map):
        found.extend((key,) for key in document.tags or ())
        for key, value in document.items():
            if isinstance(value, (dict, list)):
                found.extend((key, *path) for path in resets(value))
    return found


def remove(document: Any, path: tuple[str, ...]) -> None:
    """Remove the key at path; an absent one is fine."""
    for key in path[:-1]:
        if not isinstance(document, Map) or key not in document:
            return
        document = document[key]
    if isinstance(document, Map):
        document.drop(path[-1])


def append(base: Seq, over: Seq) -> Seq:
    """The items of over behind those of base, keys and all."""
    base.extend(over)
    base.at.extend(over.at)
    return base


def unite(base: Seq, over: Seq) -> Seq:
    """The items of over that base does not have, behind those of base."""
    for item, origin in zip(over, over.at, strict=True):
        if not any(item == other and type(item) is type(other) for other in base):
            base.add(item, origin)
    return base


def sequence(value: Any, at: Origin | None) -> Seq:
    """A mapping as the list of its `key=value`, sorted; a string as a list of one; a list as it is."""
    if isinstance(value, Seq):
        return value
    made = Seq()
    if isinstance(value, Map):
        pairs: list[tuple[str, Origin | None]] = []
        for key, item in value.items():
            origin = value.at.get(key, at)
            if item is None:
                pairs.append((key, origin))
            elif isinstance(item, list):
                pairs.extend((f"{key}={go_format(each)}", origin_of(item, i) or origin) for i, each in enumerate(item))
            else:
                pairs.append((f"{key}={go_format(item)}", origin))
        for text, origin in sorted(pairs, key=lambda pair: pair[0]):
            made.add(text, origin)
    elif isinstance(value, str):
        made.add(value, at)
    return made


def mapping(value: Any, at: Origin | None, default: dict[str, Any] | None) -> Map:
    """A list of names as a mapping of each to default; a mapping as it is."""
    if isinstance(value, Map):
        return value
    made = Map()
    if isinstance(value, Seq):
        for index, name in enumerate(value):
            origin = value.at[index] or at
            made.put(go_format(name), as_map(default, origin) if default is not None else None, origin)
    return made


def _replace(_: Merge, sides: Sides) -> Any:
    return sides.over


def _sequences(_: Merge, sides: Sides) -> Any:
    return append(sequence(sides.base, sides.base_at), sequence(sides.over, sides.over_at))


def _hosts(_: Merge, sides: Sides) -> Any:
    base, over = sequence(sides.base, sides.base_at), sequence(sides.over, sides.over_at)
    return unite(base, over)


def _named(merge: Merge, sides: Sides, default: dict[str, Any] | None) -> Any:
    """Both sides by name; one name may stand alone."""
    made: list[Map] = []
    for value, at in ((sides.base, sides.base_at), (sides.over, sides.over_at)):
        if value is not None and not isinstance(value, (Map, Seq, str)):
            merge.problems.error(
                "merge-type", "A value cannot be merged", f"`{sides.path}` is {go_format(value)}, which names nothing",
                at.position if at else None, "write a list of names, or a mapping")  # fmt: skip
        made.append(mapping(sequence(value, at) if isinstance(value, str) else value, at, default))
    base, over = made
    return merge.mappings(base, over, sides.path, sides.node)


def _depends_on(merge: Merge, sides: Sides) -> Any:
    return _named(merge, sides, {"condition": "service_started", "required": True})


def _networks(merge: Merge, sides: Sides) -> Any:
    return _named(merge, sides, None)


def _build(merge: Merge, sides: Sides) -> Any:
    def long(value: Any, at: Origin | None) -> Map:
        return value if isinstance(value, Map) else as_map({"context": value} if isinstance(value, str) else {}, at)

    return merge.mappings(long(sides.base, sides.base_at), long(sides.over, sides.over_at), sides.path, sides.node)


def _logging(merge: Merge, sides: Sides) -> Any:
    """Options belong to a driver: another driver drops them."""
    base, over = sides.base, sides.over
    if not isinstance(base, Map) or not isinstance(over, Map):
        if over is None or base is None:
            at = sides.over_at if over is None else sides.base_at
            merge.problems.error(
                "merge-type", "A value cannot be merged", f"`{sides.path}` is empty", at.position if at else None,
                "write a mapping, or remove it with `!reset null`")  # fmt: skip
        return over if over is not None else base
    if "driver" in base and "driver" in over and base["driver"] != over["driver"]:
        return over
    return merge.mappings(base, over, sides.path, sides.node)


def _ulimit(merge: Merge, sides: Sides) -> Any:
    if isinstance(sides.base, Map) and isinstance(sides.over, Map):
        return merge.mappings(sides.base, sides.over, sides.path, sides.node)
    return sides.over


def _ipam(merge: Merge, sides: Sides) -> Any:
    """Pools with equal subnets merge; other subnets replace what was there. Compose's own loop, which with two pools
    on each side mixes them up; kept so that a file means the same."""
    if not isinstance(sides.base, Seq) or not isinstance(sides.over, Seq):
        return sides.over if sides.over is not None else sides.base
    made = Seq()
    for index, pool in enumerate(sides.base):
        for other_index, other in enumerate(sides.over):
            other_at = sides.over.at[other_index]
            if other.get("subnet") != pool.get("subnet") and _pool_index(made, other) < 0:
                made.add(other, other_at)
                continue
            merged = merge.mappings(pool, other, sides.path, None)
            at = _pool_index(made, merged)
            if at >= 0:
                made[at] = merged
            else:
                made.add(merged, sides.base.at[index])
    return made


def _pool_index(pools: Seq, wanted: Map) -> int:
    """The index of the pool with the same subnet, -1 when there is none."""
    return next((index for index, pool in enumerate(pools) if pool.get("subnet") == wanted.get("subnet")), -1)


TABLE: Rules = Rules.of(
    {
        "networks.*.ipam.config": _ipam, "networks.*.labels": _sequences, "volumes.*.labels": _sequences,
        "services.*.annotations": _sequences, "services.*.build": _build, "services.*.build.args": _sequences,
        "services.*.build.additional_contexts": _sequences, "services.*.build.extra_hosts": _hosts,
        "services.*.build.labels": _sequences, "services.*.command": _replace, "services.*.depends_on": _depends_on,
        "services.*.deploy.labels": _sequences, "services.*.dns": _sequences, "services.*.dns_opt": _sequences,
        "services.*.dns_search": _sequences, "services.*.entrypoint": _replace, "services.*.env_file": _sequences,
        "services.*.label_file": _sequences, "services.*.environment": _sequences, "services.*.extra_hosts": _hosts,
        "services.*.healthcheck.test": _replace, "services.*.labels": _sequences, "services.*.logging": _logging,
        "services.*.models": _networks, "services.*.networks": _networks, "services.*.sysctls": _sequences,
        "services.*.tmpfs": _sequences, "services.*.ulimits.*": _ulimit,
    }
)  # fmt: skip
