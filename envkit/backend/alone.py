"""What keeps two instances of one service from living side by side for a while, as start-first wants it. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_FIXED = ("ipv4_address", "ipv6_address", "mac_address", "link_local_ips")


def alone(spec: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """(path in the ServiceSpec, why) of everything that only one instance at a time can have."""
    return list(_reasons(spec))


def _reasons(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if spec.get("container_name"):
        yield "container_name", "a container name belongs to one instance"
    mode = str(spec.get("network_mode") or "")
    if mode == "host":
        yield "network_mode", "both would listen on the same ports of the host"
    elif mode.partition(":")[0] in ("service", "container"):
        yield "network_mode", "both would listen on the same ports of another instance's network"
    if spec.get("mac_address"):
        yield "mac_address", "an address belongs to one instance"
    for key, item in (spec.get("networks") or {}).items():
        for name in _FIXED:
            if (item or {}).get(name):
                yield f"networks.{key}.{name}", "an address belongs to one instance"
