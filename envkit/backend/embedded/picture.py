"""An image as instances need it."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.backend.embedded.layers import Stack
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@value
class Picture:
    """digest: of its manifest. config: the `config` object of its OCI configuration. trees: layers unpacked, bottom
    first; stack: the same, to look things up in."""

    digest: str
    config: Mapping[str, Any]
    trees: tuple[str, ...]
    stack: Stack
