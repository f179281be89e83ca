"""Phase: the merged tree is bound to the tables of fields.py: the canonical model, as Compose prints it.

Values get the types of their places, zeros and extension keys (`x-*`) below the top level are left out, keys come in
the order of the tables. Keys that no table knows stay as they are: those of envkit.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envkit.config.kinds import OMIT, Kind, Slot
from envkit.config.scalars import Timestamp
from envkit.config.tree import Map, Seq
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Fields = Mapping[str, Kind]


def struct(fields: Callable[[], Fields] | Fields, always: tuple[str, ...] = ()) -> Kind:
    """A mapping with known keys. always: keys that are printed even when they are not there (as {} or null)."""

    def kind(value: Any, slot: Slot) -> Any:
        if value is None:
            return OMIT
        return record(value, fields() if callable(fields) else fields, slot, always)

    return kind


def record(value: Any, fields: Fields, slot: Slot, always: tuple[str, ...] = ()) -> Map:
    """The canonical form of one mapping with known keys."""
    if not isinstance(value, Map):
        raise ValueError("must be a mapping")
    made = Map()
    for key, kind in fields.items():
        if key in value:
            below = slot.below(value, key)
            item = convert(kind, value[key], below)
            if item is not OMIT:
                made.put(key, item, value.at.get(key))
                continue
            if key in value.at:
                made.at[key] = value.at[key]  # written, though left out: `read_only: false` overrides a default
        if key in always:
            item = convert(kind, Map(), slot) if key not in ("command", "entrypoint") else None
            made[key] = item
    for key, item in value.items():
        if key not in fields:
            if not key.startswith("x-"):
                made.put(key, item, value.at.get(key))
                continue
            if made.extensions is None:
                made.extensions = Map()
            made.extensions[key] = item
    if made.extensions:
        made.extensions = printable(made.extensions)
    return made


def convert(kind: Kind, value: Any, slot: Slot) -> Any:
    """The value as kind; a wrong type is collected and left out."""
    try:
        return kind(value, slot)
    except ValueError as error:
        slot.problems.error(
            "value-type", "The value has the wrong type", f"`{slot.path}`: {error}",
            slot.origin.position if slot.origin else None)  # fmt: skip
        return OMIT


def capitals(kind: Kind, **zeros: object) -> Kind:
    """The same mapping with its keys capitalised; zeros: what is printed for keys that are left out."""

    def renamed(value: Any, slot: Slot) -> Any:
        found = kind(value, slot)
        made = Map()
        for key, zero in zeros.items():
            made.put(key.capitalize(), found.get(key, zero), found.at.get(key))
        return made

    return renamed


def printable(value: Any) -> Any:
    """Extension data as Compose prints it: sorted, timestamps in RFC 3339."""
    if isinstance(value, Map):
        made = Map()
        for key in sorted(value):
            made.put(key, printable(value[key]), value.at.get(key))
        return made
    if isinstance(value, Seq):
        value[:] = [printable(item) for item in value]
    return value.rfc3339 if isinstance(value, Timestamp) else value


def items(kind: Kind, *, keep_empty: bool = False) -> Kind:
    """A list of kind, left out when empty."""

    def listed(value: Any, slot: Slot) -> Any:
        if value is None:
            return OMIT
        if not isinstance(value, Seq):
            raise ValueError("must be a list")
        made = Seq()
        for index, item in enumerate(value):
            converted = convert(kind, item, slot.below(value, index))
            if converted is not OMIT:
                made.add(converted, value.at[index])
        return made if made or keep_empty else OMIT

    return listed


def table(kind: Kind, *, null: bool = False) -> Kind:
    """A mapping of kind by name, sorted, left out when empty. null: a name may stand without a value."""

    def mapped(value: Any, slot: Slot) -> Any:
        if value is None:
            return OMIT
        if not isinstance(value, Map):
            raise ValueError("must be a mapping")
        made = Map()
        for name in sorted(value):
            item = value[name]
            converted = None if item is None and null else convert(kind, item, slot.below(value, name))
            if converted is not OMIT:
                made.put(name, converted, value.at.get(name))
        return made or OMIT

    return mapped


def bind(document: Map, fields: Fields, problems: Diagnostics) -> Map:
    """The canonical model of a normalised document."""
    made = Map()
    for key in sorted(document):
        value = document[key]
        if key.startswith("x-"):
            value = printable(value)
        elif key in fields:
            value = convert(fields[key], value, Slot(None, "", problems).below(document, key))
        if value is not OMIT:
            made.put(key, value, document.at.get(key))
    return made
