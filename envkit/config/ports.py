"""The short syntax of `ports:` (Compose Specification, 05-services.md#short-syntax-3)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_port(text: str) -> list[dict[str, Any]]:
    """`[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]` as entries of the long syntax, one per target of a range.

    A range of published ports for one target stays a range to pick from. Raises ValueError.
    """
    parts = text.split(":")
    target = parts[-1]
    published = parts[-2] if len(parts) > 1 else ""
    host = ":".join(parts[:-2])
    target, _, protocol = target.partition("/")
    protocol = protocol.lower() or "tcp"
    if not target:
        raise ValueError(f"{text!r} names no container port")
    if protocol not in _PROTOCOLS:
        raise ValueError(f"{text!r}: unknown protocol {protocol!r}; use tcp, udp or sctp")
    if host.startswith("["):
        if not host.endswith("]"):
            raise ValueError(f"{text!r}: invalid IP address {host!r}")
        host = host[1:-1]
    if host and not is_address(host):
        raise ValueError(f"{text!r}: invalid IP address {host!r}")
    first, last = _range(target, text)
    host_first, host_last = _range(published, text) if published else (0, 0)
    if published and last - first != host_last - host_first and last != first:
        raise ValueError(f"{text!r}: the ranges of published and container ports differ in length")
    made = []
    for offset in range(last - first + 1):
        entry: dict[str, Any] = {"mode": "ingress", "target": first + offset, "protocol": protocol}
        if published:
            to = f"-{host_last}" if last == first and host_last != host_first else ""
            entry["published"] = f"{host_first + offset}{to}"
        if host:
            entry["host_ip"] = host
        made.append(entry)
    return sorted(made, key=lambda entry: str(entry["target"]))


def is_address(text: str) -> bool:
    """Whether text is an IPv4 or IPv6 address."""
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _range(text: str, whole: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start = _port(first, whole)
    end = _port(last, whole) if dash else start
    if end < start:
        raise ValueError(f"{whole!r}: the range {text} runs backwards")
    return start, end


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(f"{whole!r}: {text!r} is not a port number")
    return int(text)
