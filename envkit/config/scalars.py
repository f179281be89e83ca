"""YAML scalars as Compose reads and prints them.

Compose loads YAML with go-yaml: YAML 1.2 core types, and 1.1's octals, underscores and timestamps; `22:22`, `yes` and
`on` are strings. Values that end up in a string place are formatted as Go's fmt package does.
"""

from __future__ import annotations

from envkit.lean import pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SPECIAL_FLOATS = {
    ".inf": float("inf"), ".Inf": float("inf"), ".INF": float("inf"), "+.inf": float("inf"), "+.Inf": float("inf"),
    "+.INF": float("inf"), "-.inf": float("-inf"), "-.Inf": float("-inf"), "-.INF": float("-inf"),
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
}  # fmt: skip
_FLOAT = pattern(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TIMESTAMP = pattern(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:(?P<sep>[Tt ])(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d+))?(Z|[-+]\d\d:\d\d)?)?"
)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_BASES = {"0x": 16, "0X": 16, "0o": 8, "0O": 8, "0b": 2, "0B": 2}
_BASE64_SPACE = str.maketrans("", "", " \n\r\t")


class Timestamp(str):
    """A YAML timestamp: as text, what Compose writes in a string place; rfc3339 is its JSON form."""

    __slots__ = ("rfc3339",)
    rfc3339: str


def resolve(text: str) -> Any:
    """The value of a plain scalar without a tag."""
    if not text:
        return None
    first = text[0]
    if first not in "0123456789+-.tTfFnN~":
        return text
    if first in "tTfF":
        return _BOOLS.get(text, text)
    if first in "nN~":
        return None if text in _NULLS else text
    if first == ".":
        return _SPECIAL_FLOATS[text] if text in _SPECIAL_FLOATS else _float(text)
    return _number(text)


def resolve_tagged(tag: str, text: str, plain: bool) -> Any:
    """The value of a scalar with an explicit tag. Raises ValueError when text is no such thing."""
    short = tag.removeprefix("tag:yaml.org,2002:")
    if short == "binary":
        import binascii

        return binascii.a2b_base64(text.translate(_BASE64_SPACE), strict_mode=True).decode("utf-8", "replace")
    if short not in ("int", "float", "bool", "null", "timestamp"):
        return text if short == "str" or not plain or tag != "?" else resolve(text)
    value: Any = resolve(text)
    kinds: tuple[type, ...] = {
        "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),), "timestamp": (Timestamp,),
    }[short]  # fmt: skip
    if not isinstance(value, kinds) or (isinstance(value, bool) and short != "bool"):
        raise ValueError(f"{text!r} is not of the type !!{short}")
    return float(text) if short == "float" and isinstance(value, int) else value


def _number(text: str) -> Any:
    if text in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[text]
    if text[4:5] == "-" and (stamp := _timestamp(text)) is not None:
        return stamp
    digits = text.replace("_", "") if "_" in text else text
    value = parse_int(digits)
    if value is not None:
        return -0.0 if digits == "-0" else value
    return _float(text, digits)


def parse_int(text: str) -> int | None:
    """An integer as Go's strconv.ParseInt(text, 0, 64) or ParseUint read it; None when it is none of 64 bits."""
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    base = _BASES.get(unsigned[:2])
    if base is not None:
        body = unsigned[2:]
    elif unsigned[:1] == "0" and len(unsigned) > 1:
        base, body = 8, unsigned[1:]
    else:
        base, body = 10, unsigned
    if not body or not body.isascii() or not body.isalnum():
        return None
    try:
        value = int(body, base)
    except ValueError:
        return None
    if text[0] == "-":
        value = -value
    return value if -(1 << 63) <= value < 1 << 64 else None


def _float(text: str, digits: str = "") -> Any:
    digits = digits or text.replace("_", "")
    if not _FLOAT.fullmatch(digits):
        return text
    value = float(digits)
    return text if value in (float("inf"), float("-inf")) else value


def _timestamp(text: str) -> Timestamp | None:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, sep, hour, minute, second, fraction, zone = match.groups()
    if sep == " " and zone:
        return None
    if sep in ("T", "t") and not zone:
        return None
    if not 1 <= int(month) <= 12 or not 1 <= int(day) <= _MONTH_DAYS[int(month) - 1]:
        return None
    if int(hour or 0) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        return None
    fraction = (fraction or "").rstrip("0")
    date = f"{year}-{month:0>2}-{day:0>2}"
    time = f"{hour or '0':0>2}:{minute or '0':0>2}:{second or '0':0>2}" + (f".{fraction}" if fraction else "")
    offset = "+0000 UTC" if zone in (None, "Z") else f"{zone.replace(':', '')} {zone.replace(':', '')}"
    stamp = Timestamp(f"{date} {time} {offset}")
    stamp.rfc3339 = f"{date}T{time}{zone or 'Z'}"
    return stamp


def go_format(value: Any) -> str:
    """A scalar as Go's fmt.Sprint prints it: `true`, `<nil>`, `1e+06`."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_format(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_format, value)) + "]"
    return str(value)


def format_float(value: float) -> str:
    """A float in the shortest form that reads back equal, with an exponent below 1e-4 and from 1e6 on (Go's %v)."""
    text = repr(value)
    if text in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[text]
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = len(whole) - 1 + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0") or "0"
    if digits == "0":
        return f"{sign}0"
    if power < -4 or power >= 6:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    rest = digits[power + 1 :]
    return f"{sign}{digits[: power + 1].ljust(power + 1, '0')}{'.' if rest else ''}{rest}"
