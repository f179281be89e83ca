"""What the kernel says about links, addresses and routes of the calling thread's network namespace (rtnetlink(7))."""

from __future__ import annotations

import struct
import sys

from envkit.host.netlink_wire import IFLA, attributes, dump, link_header, number, unpacked
from envkit.lean import socket
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_GETLINK, _GETADDR, _GETROUTE = 18, 22, 26
_UP = 1
_ZERO = b"\0\0\0\0"
_ADDRESS, _NAME, _MTU, _LINK, _MASTER, _LINKINFO, _GROUP = (
    IFLA[key] for key in ("address", "name", "mtu", "link", "master", "linkinfo", "group")
)
_KIND = struct.pack("=H", 1)  # IFLA_INFO_KIND, the first inside of IFLA_LINKINFO as a rule
_int = struct.Struct("=I").unpack


@value
class Link:
    """A network interface. kind: "bridge", "veth", … or ""; master: index of its bridge or 0; peer: index of the other
    end of a veth (in its namespace) or 0; mac: lower case with colons."""

    ifindex: int
    name: str
    kind: str
    master: int
    group: int
    mtu: int
    mac: str
    up: bool
    peer: int


@value
class Route:
    """A unicast route of the main table. destination: "10.0.0.0/8", or "" for the default; gateway: "" when on link;
    device: an interface's index; family: socket.AF_INET or AF_INET6."""

    destination: str
    gateway: str
    device: int
    family: int
    metric: int


def index_of(name: str) -> int:
    """The index of an interface; 0 when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def links() -> list[Link]:
    """Every interface."""
    found = []
    for body in dump(_GETLINK, link_header() + number(IFLA["ext_mask"], 8)):  # RTEXT_FILTER_SKIP_STATS
        _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
        of = attributes(body[16:])
        info = of.get(_LINKINFO, b"")
        kind = info[4 : int.from_bytes(info[:2], sys.byteorder)] if info[2:4] == _KIND else attributes(info).get(1, b"")
        found.append(Link(
            index, _text(of[_NAME]), _text(kind), _int(of.get(_MASTER, _ZERO))[0], _int(of.get(_GROUP, _ZERO))[0],
            _int(of.get(_MTU, _ZERO))[0], of.get(_ADDRESS, b"").hex(":"), bool(flags & _UP),
            _int(of.get(_LINK, _ZERO))[0],
        ))  # fmt: skip
    return found


def addresses() -> list[tuple[int, str]]:
    """(interface index, "ADDRESS/PREFIX"), link-local ones included."""
    found = []
    for body in dump(_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        _, prefix, _, _, index = struct.unpack_from("=BBBBI", body)
        of = attributes(body[8:])
        found.append((index, f"{unpacked(of.get(2) or of[1])}/{prefix}"))
    return found


def routes() -> list[Route]:
    """The unicast routes of the main table, both families."""
    found = []
    for body in dump(_GETROUTE, struct.pack("=BBBBBBBBI", 0, 0, 0, 0, 0, 0, 0, 0, 0)):
        family, length, _, _, table, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", body)
        if table != 254 or kind != 1:
            continue
        of = attributes(body[12:])
        destination = f"{unpacked(of[1])}/{length}" if 1 in of else ""
        gateway = unpacked(of[5]) if 5 in of else ""
        device, metric = (struct.unpack("=I", of.get(key, _ZERO))[0] for key in (4, 6))
        found.append(Route(destination, gateway, device, family, metric))
    return found


def default_route(known: Iterable[Route]) -> Route | None:
    """The IPv4 (else IPv6) default route of these."""
    defaults = (route for route in known if not route.destination and route.device)
    return min(defaults, key=lambda route: (route.family, route.metric), default=None)


def default_link() -> str:
    """The name of the interface with the IPv4 (else IPv6) default route; "" when there is none."""
    default = default_route(routes())
    return socket.if_indextoname(default.device) if default else ""


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
