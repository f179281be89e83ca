"""How much an archive may ask for before it is called hostile."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """bytes: all files of a layer together, holes included. entries: of one layer. ratio: uncompressed to compressed,
    looked at once a layer has more than ratio_floor bytes (gzip cannot exceed 1032; real layers rarely reach 20).
    metadata: bytes of one extended header or long name. segments: data segments of one sparse file."""

    bytes: int = 64 << 30
    entries: int = 2_000_000
    ratio: int = 200
    ratio_floor: int = 1 << 30
    metadata: int = 1 << 20
    segments: int = 1 << 16


DEFAULT = Limits()
