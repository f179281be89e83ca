"""The types of the Compose model's values: how each is read from the tree and written in the canonical model.

A kind is a function (value, Slot) -> the canonical value, or OMIT when the canonical model leaves the key out, as Go's
`omitempty` does for zeros. Raises ValueError when the value has the wrong type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from envkit.config.interpolate import to_bool, to_int, to_mode, to_number
from envkit.config.scalars import Timestamp, go_format
from envkit.config.tree import Map, Origin, Seq, origin_of
from envkit.config.units import format_duration, parse_duration, parse_size, split_command
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OMIT: Any = object()


class Slot:
    """Where a value stands: its origin and path, and where problems go."""

    __slots__ = ("origin", "path", "problems")

    def __init__(self, origin: Origin | None, path: str, problems: Diagnostics) -> None:
        self.origin = origin
        self.path = path
        self.problems = problems

    def below(self, container: Any, key: str | int) -> Slot:
        path = f"{self.path}[{key}]" if isinstance(key, int) else f"{self.path}.{key}" if self.path else key
        return Slot(origin_of(container, key) or self.origin, path, self.problems)


Kind = Callable[["Any", Slot], "Any"]


def text(value: Any, _: Slot) -> Any:
    if value is None or value == "":
        return OMIT
    if isinstance(value, (dict, list)):
        raise ValueError("must be a string")
    if isinstance(value, Timestamp):
        raise ValueError("is a date in YAML; put it in quotes")
    return go_format(value) if not isinstance(value, str) else value


def flag(value: Any, slot: Slot) -> Any:
    """A boolean that is left out when false."""
    return tristate(value, slot) or OMIT


def tristate(value: Any, _: Slot) -> Any:
    """A boolean that is printed when it was written."""
    if value is None:
        return OMIT
    if isinstance(value, str):
        return to_bool(value)
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def true_by_default(value: Any, slot: Slot) -> Any:
    """A boolean that is left out when true."""
    return OMIT if tristate(value, slot) in (True, OMIT) else False


def whole(value: Any, _: Slot) -> Any:
    """An integer that is printed when it was written."""
    if value is None:
        return OMIT
    if isinstance(value, str):
        return to_int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a whole number")
    return int(value)  # Compose cuts fractions off


def count(value: Any, slot: Slot) -> Any:
    """An integer that is left out when zero."""
    return whole(value, slot) or OMIT


def natural(value: Any, slot: Slot) -> Any:
    """An integer from zero on that is printed when it was written."""
    made = whole(value, slot)
    if made is not OMIT and made < 0:
        raise ValueError("cannot be negative")
    return made


def bits(width: int, kind: Kind = natural) -> Kind:
    """A natural number of that many bits, written without quotes; more bits are cut off, as in Compose."""

    def cut(value: Any, slot: Slot) -> Any:
        if isinstance(value, str):
            raise ValueError("must be a number without quotes")
        made = kind(value, slot)
        return made if made is OMIT else made & ((1 << width) - 1)

    return cut


def natural_or_none(value: Any, slot: Slot) -> Any:
    """An integer from zero on that is left out when zero."""
    return natural(value, slot) or OMIT


def device_count(value: Any, slot: Slot) -> Any:
    """A number of devices, -1 for all."""
    if isinstance(value, float):
        raise ValueError("must be a whole number, or all")
    return -1 if isinstance(value, str) and value.lower() == "all" else count(value, slot)


def number(value: Any, _: Slot) -> Any:
    """A 32-bit float, left out when zero: printed with the digits that tell it from its neighbours."""
    if value is None:
        return OMIT
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number")
    wide = to_number(value) if isinstance(value, str) else float(value)
    narrow = struct.unpack("f", struct.pack("f", wide))[0]
    if narrow == 0:
        return OMIT
    for precision in range(1, 10):
        short = float(f"{narrow:.{precision}g}")
        if struct.unpack("f", struct.pack("f", short))[0] == narrow:
            return int(short) if short.is_integer() else short
    return narrow


def size(value: Any, slot: Slot) -> Any:
    """Bytes, printed as a string of digits; left out when zero."""
    if value is None:
        return OMIT
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a size")
    if isinstance(value, (float, Timestamp)):  # Compose takes neither for a size, and says nothing
        slot.problems.warning(
            "size-ignored", "The size is ignored", f"`{slot.path}` is {go_format(value)}",
            slot.origin.position if slot.origin else None, "write whole bytes, or a text such as 1.5g")  # fmt: skip
        return OMIT
    made = parse_size(value) if isinstance(value, str) else value
    return str(made) if made else OMIT


def duration(value: Any, _: Slot) -> Any:
    """A duration, printed as Go does."""
    if value is None:
        return OMIT
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 1m30s")
    return format_duration(parse_duration(value))


def pause(value: Any, slot: Slot) -> Any:
    """A duration that is left out when zero."""
    made = duration(value, slot)
    return OMIT if made == "0s" else made


def mode(value: Any, _: Slot) -> Any:
    """File permissions, printed in octal; text is octal too."""
    if value is None:
        return OMIT
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("must be file permissions such as 0440")
    return f"0{to_mode(value) if isinstance(value, str) else value:o}"


def command(value: Any, slot: Slot) -> Any:
    """A command: a string is split into words; null stays (the image's own), empty stays (none at all)."""
    if value is None:
        return None
    made = Seq()
    if isinstance(value, str):
        for word in split_command(value):
            made.add(word, slot.origin)
        return made
    return _strings(value, slot)


def health_test(value: Any, slot: Slot) -> Any:
    """A string is run by the container's shell."""
    if isinstance(value, str):
        made = Seq(["CMD-SHELL", value])
        made.at = [slot.origin, slot.origin]
        return made
    return strings(value, slot)


def strings(value: Any, slot: Slot) -> Any:
    """A list of strings, left out when empty; a single string is a list of one."""
    if value is None:
        return OMIT
    if isinstance(value, str):
        made = Seq([value])
        made.at = [slot.origin]
        return made
    return _strings(value, slot) or OMIT


def _strings(value: Any, _: Slot) -> Seq:
    if not isinstance(value, Seq):
        raise ValueError("must be a list of strings")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            if isinstance(item, (dict, list, float)):
                raise ValueError("must be a list of strings")
            value[index] = "" if item is None else go_format(item)
        elif isinstance(item, Timestamp):
            raise ValueError("has a date in it; put it in quotes")
    return value


def _pairs(value: Any, slot: Slot, null: str | None) -> Map:
    made = Map()
    if isinstance(value, Map):
        for key in sorted(value):
            item = value[key]
            if not key:
                raise ValueError("has an empty name")
            made.put(key, null if item is None else go_format(item), value.at.get(key, slot.origin))
    elif isinstance(value, Seq):
        found: dict[str, tuple[str | None, Origin | None]] = {}
        for index, item in enumerate(value):
            key, equals, rest = go_format(item).partition("=")
            found[key] = (rest if equals else null, value.at[index])
        for key in sorted(found):
            made.put(key, *found[key])
    else:
        raise ValueError("must be a mapping, or a list of KEY=VALUE")
    return made


def mapping(value: Any, slot: Slot) -> Any:
    """Strings by name, left out when empty; also written as a list of `name=value`."""
    return OMIT if value is None else _pairs(value, slot, "") or OMIT


def environment(value: Any, slot: Slot) -> Any:
    """The same, where a name without a value stays null: it is taken from the environment."""
    for item in value if isinstance(value, Seq) else ():
        name = go_format(item).partition("=")[0]
        if name != name.rstrip():
            raise ValueError(f"the variable's name {name!r} ends in a space")
    return OMIT if value is None else _pairs(value, slot, None) or OMIT


def multi_options(value: Any, slot: Slot) -> Any:
    """Lists of strings by name."""
    if not isinstance(value, Map):
        return OMIT
    made = Map()
    for key in sorted(value):
        item = value[key]
        listed = Seq(map(go_format, item)) if isinstance(item, list) else Seq([go_format(item)])
        listed.at = [value.at.get(key, slot.origin)] * len(listed)
        made.put(key, listed, value.at.get(key, slot.origin))
    return made or OMIT


def hosts(value: Any, slot: Slot) -> Any:
    """`host=address` sorted; written with `=` or `:`, as a mapping, with several addresses, IPv6 in brackets or not."""
    found: list[tuple[str, Origin | None]] = []

    def add(host: str, addresses: list[str], origin: Origin | None) -> None:
        if not host or ":" in host or "=" in host:
            raise ValueError(f"{host!r} is not a host name")
        for address in addresses:
            bare = address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address
            found.append((f"{host}={bare}", origin))

    if value is None:
        return OMIT
    if isinstance(value, Map):
        for host, item in value.items():
            listed = [go_format(each) for each in item] if isinstance(item, list) else [
                "" if item is None else go_format(item)]  # fmt: skip
            add(host, listed, value.at.get(host, slot.origin))
    elif isinstance(value, Seq):
        for index, item in enumerate(value):
            entry = go_format(item)
            host, separator, address = entry.partition("=" if "=" in entry else ":")
            if not separator:
                raise ValueError(f"{entry!r} has no address; write host=address")
            add(host, address.split(","), value.at[index])
    else:
        raise ValueError("must be a mapping, or a list of host=address")
    made = Seq()
    for entry, origin in sorted(found, key=lambda pair: pair[0]):
        made.add(entry, origin)
    return made or OMIT


def ssh(value: Any, slot: Slot) -> Any:
    """SSH agents and keys for a build: `id` or `id=path`."""
    if not isinstance(value, Map):
        return OMIT
    made = Seq()
    for key in sorted(value):
        made.add(f"{key}={value[key]}" if value[key] else key, value.at.get(key, slot.origin))
    return made or OMIT


def ulimit(value: Any, slot: Slot) -> Any:
    """One number for both limits, or soft and hard."""
    if isinstance(value, float):
        raise ValueError("must be a whole number")
    if not isinstance(value, Map):
        return whole(value, slot) or Map()
    made = Map()
    for key in ("soft", "hard"):
        item = count(value.get(key), slot)
        if item is not OMIT:
            made.put(key, item, value.at.get(key, slot.origin))
    return made
