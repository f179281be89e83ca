"""The wire form of rtnetlink(7): headers, attributes, acknowledgements, dumps. Numbers: linux/netlink.h."""

from __future__ import annotations

import os
import struct

from envkit.errors import HostError
from envkit.lean import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
CREATE, EXCL, REPLACE = 0x400, 0x200, 0x100
NESTED = 0x8000
IFLA = {
    "address": 1, "name": 3, "mtu": 4, "link": 5, "master": 10, "protinfo": 12, "linkinfo": 18, "group": 27,
    "netns_fd": 28, "ext_mask": 29,
}  # fmt: skip
_head = struct.Struct("=HH").unpack_from  # length and type of an attribute
MAX_SEND = 32 << 10  # bytes of one send


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request."""
    return struct.pack("=IHHII", 16 + len(body), kind, REQUEST | flags, sequence, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute of four bytes."""
    return struct.pack("=HHI", 8, kind, value)


def text(kind: int, value: str) -> bytes:
    """An attribute with a C string."""
    return attribute(kind, value.encode() + b"\0")


def link_header(index: int = 0, *, family: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """struct ifinfomsg."""
    return struct.pack("=BxHiII", family, 0, index, flags, change)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type (the last of each)."""
    found: dict[int, bytes] = {}
    position, last = 0, len(data) - 4
    while position <= last:
        length, kind = _head(data, position)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found


def open_channel(protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """A netlink socket in the calling thread's network namespace."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    channel.setsockopt(270, 10, 1)  # SOL_NETLINK, NETLINK_CAP_ACK: errors without the request's body
    channel.setsockopt(270, 11, 1)  # NETLINK_EXT_ACK: with the kernel's words
    return channel


def received(channel: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence number, body) of the messages of one datagram."""
    data = channel.recv(1 << 18)
    position = 0
    while position + 16 <= len(data):
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data, position)
        yield kind, flags, sequence, data[position + 16 : position + length]
        position += (length + 3) & ~3


def failures(channel: socket.socket, last: int) -> Iterator[tuple[int, int, str]]:
    """(sequence number, errno, the kernel's words) of every failure up to the acknowledgement of request `last`."""
    while True:
        for kind, flags, sequence, body in received(channel):
            if kind != 2:
                continue
            if error := -struct.unpack_from("=i", body)[0]:
                words = attributes(body[20:]).get(1, b"") if flags & 0x200 else b""  # NLM_F_ACK_TLVS
                yield sequence, error, words.rstrip(b"\0").decode(errors="replace")
            if sequence == last:
                return


def dump(kind: int, body: bytes, protocol: int = socket.NETLINK_ROUTE) -> list[bytes]:
    """The bodies of everything a dump request answers with. Raises OSError when the kernel refuses."""
    with open_channel(protocol) as channel:
        channel.sendall(message(kind, DUMP, 1, body))
        bodies: list[bytes] = []
        while True:
            for answer, _, _, content in received(channel):
                if answer == 3:
                    return bodies
                if answer == 2 and (error := -struct.unpack_from("=i", content)[0]):
                    raise OSError(error, os.strerror(error))
                bodies.append(content)


def packed(address: str) -> bytes:
    """The bytes of an IPv4 or IPv6 address. Raises HostError when it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError as error:
        raise HostError("this is not an IP address", address) from error


def unpacked(data: bytes) -> str:
    """The inverse of packed."""
    return socket.inet_ntop(socket.AF_INET6 if len(data) == 16 else socket.AF_INET, data)
