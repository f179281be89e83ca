"""How much an archive may ask for before it is called hostile."""

from __future__ import annotations

import os

from envkit.values import field_names, replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


VARIABLE = "ENVKIT_IMAGE_LIMITS"
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@value
class Limits:
    """bytes: all files of a layer together, holes included. entries: of one layer. ratio: uncompressed to compressed,
    looked at once a layer has more than ratio_floor bytes (gzip cannot exceed 1032; real layers rarely reach 20).
    metadata: bytes of one extended header or long name. segments: data segments of one sparse file."""

    bytes: int = 64 << 30
    entries: int = 2_000_000
    ratio: int = 200
    ratio_floor: int = 256 << 20
    metadata: int = 1 << 20
    segments: int = 1 << 16

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Limits:
        """The defaults, changed by ENVKIT_IMAGE_LIMITS: `bytes=200G,ratio=2000`. Raises UsageError."""
        text = environ.get(VARIABLE, "")
        changes = {}
        for item in text.split(",") if text else ():
            name, _, value = item.strip().partition("=")
            unit = _UNITS.get(value[-1:].upper(), 1)
            digits = value[:-1] if unit > 1 else value
            if name not in field_names(cls) or not digits.isascii() or not digits.isdigit():
                from envkit.errors import UsageError

                hint = f"write NAME=NUMBER, NAME one of {', '.join(field_names(cls))}"
                raise UsageError(f"{VARIABLE} cannot be understood", item, hint)
            changes[name] = int(digits) * unit
        return replace(cls(), **changes)


def way_out(name: str) -> str:
    """A hint for the error about a limit."""
    return f"if the image is to be trusted, raise the limit: {VARIABLE}={name}=NUMBER"


DEFAULT = Limits()
