"""Change links, addresses and routes in one go: requests are collected and sent together (rtnetlink(7)).

Everything happens in the calling thread's network namespace. Addresses are text ("10.0.0.1/24"). Numbers are from
linux/rtnetlink.h, if_link.h and if_addr.h. Deleting links one by one costs 22 ms each; a whole group, that once.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from envkit.errors import HostError
from envkit.host import netlink_wire as wire
from envkit.host.links import index_of
from envkit.host.netlink_wire import CREATE, EXCL, IFLA, REPLACE, attribute, link_header, number, packed, text
from envkit.host.steps import step
from envkit.lean import socket
from envkit.values import value

_NEWLINK, _DELLINK, _SETLINK = 16, 17, 19
_NEWADDR, _DELADDR = 20, 21
_NEWROUTE, _DELROUTE = 24, 25
_UP = 1
_KIND, _DATA, _VETH_PEER = 1, 2, 1
_MODES = {"macvlan": struct.pack("=HHI", 8, 1, 4), "ipvlan": struct.pack("=HHHxx", 6, 1, 0)}
"""IFLA_MACVLAN_MODE: bridge; IFLA_IPVLAN_MODE: l2."""
_HAIRPIN, _ISOLATED = 4, 33
_NODAD = 0x02
_EEXIST, _ENODEV, _ESRCH, _EADDRNOTAVAIL = 17, 19, 3, 99


@value
class Peer:
    """The other end of a veth: in the namespace of netns_fd (-1: here), with this name and mac.

    Its index is the kernel's to choose: an asked one counts only when this end has one, too (veth_newlink)."""

    netns_fd: int
    name: str = "eth0"
    mac: str = ""


class Batch:
    """Requests for one send(). Each tolerates the errors that its contract names, so that repeating is harmless.

    Names are resolved when the kernel carries a request out, except bridges (add_veth), addresses and routes by link
    name, which must exist when the request is added.
    """

    def __init__(self) -> None:
        self._messages: list[tuple[bytes, str, tuple[int, ...]]] = []

    def __len__(self) -> int:
        return len(self._messages)

    def _add(self, kind: int, flags: int, body: bytes, what: str, *tolerated: int) -> None:
        self._messages.append((wire.message(kind, flags, len(self._messages) + 1, body), what, tolerated))

    def add_bridge(self, name: str, *, mtu: int = 0, mac: str = "", group: int = 0) -> None:
        """A bridge, up; an existing link of that name is fine."""
        body = link_header(flags=_UP, change=_UP) + text(IFLA["name"], name)
        body += _common(mtu, mac, group) + attribute(IFLA["linkinfo"], attribute(_KIND, b"bridge"))
        self._add(_NEWLINK, CREATE | EXCL, body, f"add bridge {name}", _EEXIST)

    def add_veth(
        self, name: str, peer: Peer, *, bridge: str | int = "", mtu: int = 0, mac: str = "", group: int = 0
    ) -> None:
        """A pair: name here (up, a port of bridge) and peer."""
        other = link_header() + text(IFLA["name"], peer.name) + _common(mtu, peer.mac, 0)
        if peer.netns_fd >= 0:
            other += number(IFLA["netns_fd"], peer.netns_fd)
        body = link_header(flags=_UP, change=_UP) + text(IFLA["name"], name) + _common(mtu, mac, group)
        if bridge:
            body += number(IFLA["master"], _index(bridge))
        pair = attribute(_KIND, b"veth") + attribute(_DATA, attribute(_VETH_PEER, other))
        self._add(_NEWLINK, CREATE | EXCL, body + attribute(IFLA["linkinfo"], pair), f"add veth {name}")

    def add_child(self, kind: str, parent: str | int, peer: Peer, *, mtu: int = 0) -> None:
        """A macvlan (in bridge mode) or ipvlan (l2) of parent, with its only end in the namespace of peer."""
        body = link_header() + text(IFLA["name"], peer.name) + _common(mtu, peer.mac if kind == "macvlan" else "", 0)
        body += number(IFLA["link"], _index(parent)) + number(IFLA["netns_fd"], peer.netns_fd)
        info = attribute(_KIND, kind.encode()) + attribute(_DATA, _MODES[kind])
        self._add(_NEWLINK, CREATE | EXCL, body + attribute(IFLA["linkinfo"], info), f"add {kind} {peer.name}")

    def set_port(self, index: int, *, hairpin: bool = False, isolated: bool = False) -> None:
        """Flags of a bridge port, by index.

        hairpin: frames may leave where they came in (a container that calls its own published port); isolated: no
        frames between isolated ports."""
        flags = attribute(_HAIRPIN, bytes([hairpin])) + attribute(_ISOLATED, bytes([isolated]))
        body = link_header(index, family=socket.AF_BRIDGE) + attribute(IFLA["protinfo"] | wire.NESTED, flags)
        self._add(_SETLINK, 0, body, f"set port {index}")

    def set_up(self, link: str | int) -> None:
        """Bring a link up, by name or index."""
        self._add(_NEWLINK, 0, _header(link, flags=_UP, change=_UP), f"set {link} up")

    def set_master(self, link: str | int, bridge: str | int) -> None:
        """Make a link a port of a bridge; a link that is absent is fine."""
        self._add(_NEWLINK, 0, _header(link) + number(IFLA["master"], _index(bridge)), f"set {link} master", _ENODEV)

    def set_group(self, link: str | int, group: int) -> None:
        """Move a link to a group, for a delete_group of exactly some; a link that is absent is fine."""
        self._add(_NEWLINK, 0, _header(link) + number(IFLA["group"], group), f"set {link} group", _ENODEV)

    def set_mtu(self, link: str | int, mtu: int) -> None:
        """Change the largest packet of a link, in bytes."""
        self._add(_NEWLINK, 0, _header(link) + number(IFLA["mtu"], mtu), f"set {link} mtu {mtu}")

    def add_address(self, link: str | int, address: str) -> None:
        """Give a link an address with its prefix; it may be there already. IPv6 is usable at once (no DAD)."""
        self._address(_NEWADDR, CREATE | REPLACE, link, address, _EEXIST)

    def delete_address(self, link: str | int, address: str) -> None:
        """Take an address away; absent is fine."""
        self._address(_DELADDR, 0, link, address, _EADDRNOTAVAIL)

    def _address(self, kind: int, flags: int, link: str | int, address: str, *tolerated: int) -> None:
        ip, _, length = address.partition("/")
        data, prefix = packed(ip), int(length)
        four = len(data) == 4
        family = socket.AF_INET if four else socket.AF_INET6
        body = struct.pack("=BBBBI", family, prefix, 0 if four else _NODAD, 0, _index(link))
        body += attribute(2, data) + attribute(1, data)
        if four and prefix < 31:
            last = int.from_bytes(data, "big") | ((1 << (32 - prefix)) - 1)
            body += attribute(4, last.to_bytes(4, "big"))
        verb = "add" if kind == _NEWADDR else "delete"
        self._add(kind, flags, body, f"{verb} address {address} on {link}", *tolerated)

    def add_route(self, destination: str, *, gateway: str = "", link: str | int = 0, metric: int = 0) -> None:
        """A route of the main table by gateway, link or both; it may be there already.

        destination: "10.0.0.0/8", or "" for the default route (of the gateway's family).
        """
        self._route(_NEWROUTE, CREATE | REPLACE, destination, gateway, link, metric)

    def delete_route(self, destination: str, *, gateway: str = "", link: str | int = 0, metric: int = 0) -> None:
        """Take a route away; absent is fine."""
        self._route(_DELROUTE, 0, destination, gateway, link, metric)

    def _route(self, kind: int, flags: int, destination: str, gateway: str, link: str | int, metric: int) -> None:
        adding = kind == _NEWROUTE
        target, _, length = destination.partition("/")
        six = ":" in (target or gateway)
        scope = 255 if not adding else 0 if gateway or six else 253  # nowhere, universe, link
        family = socket.AF_INET6 if six else socket.AF_INET
        body = struct.pack("=BBBBBBBBI", family, int(length or 0), 0, 0, 254, 4, scope, 1, 0)
        if target:
            body += attribute(1, packed(target))
        if gateway:
            body += attribute(5, packed(gateway))
        if link:
            body += number(4, _index(link))
        if metric:
            body += number(6, metric)
        what = f"{'add' if adding else 'delete'} route {destination or 'default'} by {gateway or link}"
        self._add(kind, flags, body, what, *((_EEXIST,) if adding else (_ESRCH, _ENODEV)))

    def delete_link(self, link: str | int) -> None:
        """Delete a link; absent is fine."""
        self._add(_DELLINK, 0, _header(link), f"delete link {link}", _ENODEV)

    def delete_group(self, group: int) -> None:
        """Delete every link of a group (never 0, which is everybody's) at the cost of one; none there is fine."""
        if group <= 0:
            raise ValueError("group 0 is everybody's")
        self._add(_DELLINK, 0, link_header() + number(IFLA["group"], group), f"delete link group {group}", _ENODEV)

    def send(self) -> None:
        """Carry all requests out, in order; the batch is empty afterwards.

        A failing request does not stop the others. Raises HostError naming the first that failed and their number.
        """
        messages, self._messages = self._messages, []
        if not messages:
            return
        step("netlink.send")
        failed: list[str] = []
        with wire.open_channel() as channel:
            for first, last in _chunks([len(data) for data, _, _ in messages]):
                parts = [data for data, _, _ in messages[first:last]]
                flags = struct.unpack_from("=H", parts[-1], 6)[0] | wire.ACK
                parts[-1] = parts[-1][:6] + struct.pack("=H", flags) + parts[-1][8:]
                channel.sendall(b"".join(parts))
                for position, error, words in wire.failures(channel, last):
                    _, what, tolerated = messages[position - 1]
                    if error not in tolerated:
                        failed.append(f"{what}: {os.strerror(error)}{f' ({words})' if words else ''}")
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise HostError("the network cannot be set up", failed[0] + more)


def has_kind(kind: str) -> bool:
    """Whether the kernel has links of a kind ("macvlan"), modules included. Nothing is made: the request lacks what
    every kind needs."""
    body = link_header() + attribute(IFLA["linkinfo"], attribute(_KIND, kind.encode()))
    with wire.open_channel() as channel:
        channel.sendall(wire.message(_NEWLINK, CREATE | EXCL | wire.ACK, 1, body))
        return all(error != errno.EOPNOTSUPP for _, error, _ in wire.failures(channel, 1))


def _common(mtu: int, mac: str, group: int) -> bytes:
    body = number(IFLA["mtu"], mtu) if mtu else b""
    if mac:
        body += attribute(IFLA["address"], bytes.fromhex(mac.replace(":", "").replace("-", "")))
    if group:
        body += number(IFLA["group"], group)
    return body


def _header(link: str | int, *, flags: int = 0, change: int = 0) -> bytes:
    if isinstance(link, int):
        return link_header(link, flags=flags, change=change)
    return link_header(flags=flags, change=change) + text(IFLA["name"], link)


def _index(link: str | int) -> int:
    if isinstance(link, int):
        return link
    if index := index_of(link):
        return index
    raise HostError("a network interface is missing", link)


def _chunks(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of runs that fit one send."""
    first = total = 0
    for position, size in enumerate(sizes):
        if total + size > wire.MAX_SEND and position > first:
            yield first, position
            first, total = position, 0
        total += size
    yield first, len(sizes)
