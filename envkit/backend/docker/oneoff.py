"""What is different about a one-off. Pure."""

from __future__ import annotations

from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


@value
class OneOff:
    """name: its container's; aliases: whether it answers to the service's names; labels: the request's own."""

    name: str
    aliases: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
