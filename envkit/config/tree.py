"""The tree that a YAML file becomes: ordinary dicts and lists that remember where each of their values was written.

A `Map` is a dict and a `Seq` is a list, so every rule of the pipeline reads and writes plain data; next to its values
a container keeps their origins. Scalars are str, int, float, bool, None. Origins are never changed in place, so
containers may share them. Standard library only; knows nothing of YAML or Compose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envkit.diagnostics import Position

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Tag = Literal["reset", "override"]



class Origin:
    """Where a value was written, and what it replaced.

    line and column count from 1; width is the number of characters to underline; key is the (line, column, width) of
    the mapping key that the value belongs to; shadowed is what the same place held in an earlier file; variables are
    the names that interpolation replaced in it.
    """

    __slots__ = ("column", "file", "key", "line", "shadowed", "variables", "width")

    def __init__(
        self, file: str, line: int, column: int, width: int = 0, key: tuple[int, int, int] | None = None,
        shadowed: Shadow | None = None, variables: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.file = file
        self.line = line
        self.column = column
        self.width = width
        self.key = key
        self.shadowed = shadowed
        self.variables = variables

    @property
    def position(self) -> Position:
        """The value's own place."""
        return Position(self.file, self.line, self.column, self.width)

    @property
    def key_position(self) -> Position:
        """The place of the key it belongs to; the value's own place in a list."""
        if self.key is None:
            return self.position
        line, column, width = self.key
        return Position(self.file, line, column, width)

    def over(self, value: Any, origin: Origin | None) -> Origin:
        """This origin, remembering that it replaced value (written at origin) after what it already replaced."""
        if origin is None or origin is self:
            return self
        below = self.shadowed
        shadow = Shadow(below.value, below.origin.over(value, origin)) if below else Shadow(value, origin)
        return Origin(self.file, self.line, self.column, self.width, self.key, shadow, self.variables)

    def using(self, variables: tuple[str, ...]) -> Origin:
        """This origin, remembering that variables were interpolated."""
        return Origin(self.file, self.line, self.column, self.width, self.key, self.shadowed, variables)


class Shadow:
    """A value that a later file replaced. It may itself have replaced one: `origin.shadowed`."""

    __slots__ = ("origin", "value")

    def __init__(self, value: Any, origin: Origin) -> None:
        self.value = value
        self.origin = origin


class Map(dict[str, "Any"]):
    """A mapping. at: key -> origin of its value (absent: envkit filled it in); a key that was written but is left out
    of the mapping, being empty or the default, keeps its origin. tags: keys that the file wrote with `!reset` (which
    are then not in the mapping) or `!override`. extensions: the `x-*` keys that the canonical model leaves out."""

    __slots__ = ("at", "extensions", "tags")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at: dict[str, Origin] = {}
        self.tags: dict[str, Tag] | None = None
        self.extensions: Map | None = None

    def put(self, key: str, value: Any, origin: Origin | None) -> None:
        """Set a value together with its origin."""
        self[key] = value
        if origin is None:
            self.at.pop(key, None)
        else:
            self.at[key] = origin

    def drop(self, key: str) -> None:
        """Remove a key and its origin; an absent one is fine."""
        self.pop(key, None)
        self.at.pop(key, None)

    def tag(self, key: str, tag: Tag) -> None:
        if self.tags is None:
            self.tags = {}
        self.tags[key] = tag


class Seq(list["Any"]):
    """A list. at[i] is the origin of self[i]; both lists have the same length."""

    __slots__ = ("at",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.at: list[Origin | None] = [None] * len(self)

    def add(self, value: Any, origin: Origin | None) -> None:
        """Append a value together with its origin."""
        self.append(value)
        self.at.append(origin)


def origin_of(container: Any, key: Any) -> Origin | None:
    """The origin of container[key], None when there is none or container is no Map or Seq."""
    if isinstance(container, Map):
        return container.at.get(key)
    if isinstance(container, Seq):
        return container.at[key] if key < len(container.at) else None
    return None


def clone(value: Any) -> Any:
    """A deep copy; origins are shared."""
    if isinstance(value, Map):
        copy = Map()
        for key, item in value.items():
            copy[key] = clone(item) if isinstance(item, (dict, list)) else item
        copy.at = dict(value.at)
        copy.tags = dict(value.tags) if value.tags else None
        copy.extensions = value.extensions
        return copy
    if isinstance(value, Seq):
        items = Seq(clone(item) if isinstance(item, (dict, list)) else item for item in value)
        items.at = list(value.at)
        return items
    return value


def as_map(value: dict[str, Any], origin: Origin | None) -> Map:
    """A Map of plain data whose every value has the same origin: what a short syntax becomes."""
    made = Map()
    for key, item in value.items():
        made[key] = as_map(item, origin) if isinstance(item, dict) else as_seq(item, origin) if isinstance(
            item, list) else item  # fmt: skip
        if origin is not None:
            made.at[key] = origin
    return made


def as_seq(value: list[Any], origin: Origin | None) -> Seq:
    """A Seq of plain data whose every item has the same origin."""
    made = Seq()
    for item in value:
        made.add(as_map(item, origin) if isinstance(item, dict) else item, origin)
    return made


def plain(value: Any) -> Any:
    """The tree as dicts, lists and scalars without origins."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any, Origin]]:
    """(path, value, origin) of everything below value that has an origin, parents first: `services.web.ports[0]`."""
    if isinstance(value, dict):
        for key, item in value.items():
            below = f"{path}.{key}" if path else key
            origin = origin_of(value, key)
            if origin is not None:
                yield below, item, origin
            if isinstance(item, (dict, list)):
                yield from walk(item, below)
        if isinstance(value, Map) and len(value.at) > len(value.keys() & value.at.keys()):
            for key, origin in value.at.items():
                if key not in value:
                    yield f"{path}.{key}" if path else key, None, origin
    elif isinstance(value, list):
        for index, item in enumerate(value):
            below = f"{path}[{index}]"
            origin = origin_of(value, index)
            if origin is not None:
                yield below, item, origin
            if isinstance(item, (dict, list)):
                yield from walk(item, below)


class Origins(Mapping[str, Position]):
    """path -> Position of the value written there, for a whole tree; made on first use.

    `key(path)` is the place of the key itself: what a message about an unknown or misplaced key should underline.
    """

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._made: dict[str, Origin] | None = None

    @property
    def _origins(self) -> dict[str, Origin]:
        if self._made is None:
            self._made = {path: origin for path, _, origin in walk(self._tree)}
        return self._made

    def __getitem__(self, path: str) -> Position:
        return self._origins[path].position

    def key(self, path: str) -> Position | None:
        origin = self._origins.get(path)
        return origin.key_position if origin else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._origins)

    def __len__(self) -> int:
        return len(self._origins)
