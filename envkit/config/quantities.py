"""Values of the model as the numbers of canonical specs: seconds, bytes, modes, flags."""

from __future__ import annotations

from envkit.config.units import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def seconds(value: Any) -> float:
    """A duration (`1m30s`) in seconds. Raises ValueError."""
    return parse_duration(str(value)) / 1e9


def size(value: Any) -> int:
    """A size in bytes: a number, or a number with a unit. Raises ValueError."""
    return int(value) if isinstance(value, (int, float)) else parse_size(str(value))


def mode(value: Any) -> int:
    """Permissions: an octal text (`0440`), or the number that a YAML parser made of it. Raises ValueError."""
    return int(value) if isinstance(value, (int, float)) else int(str(value), 8)


def is_true(value: Any) -> bool:
    """A flag as the vocabulary allows it: a boolean, or its text."""
    return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "on", "y", "1"))
