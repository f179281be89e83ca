"""Connections that the kernel tracks, of the calling thread's network namespace: forget those to an address.

Source: linux/netfilter/nfnetlink_conntrack.h. A datagram's flow lives as long as it is used, and leads where its first
one was led, whatever the rules say now.
"""

from __future__ import annotations

import errno

from envkit.host import netlink_wire as wire
from envkit.lean import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_ORIGIN, _REPLY = 1, 2  # attributes of an entry
_IP, _PROTO = 1, 2  # of a tuple
_SOURCE4, _SOURCE6 = 1, 3  # of its addresses
_PROTO_NUMBER = 1
_UDP = 17
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EPERM)


def forget_flows(addresses: Collection[str], protocol: int = _UDP) -> int:
    """Forget every flow that is answered from one of the addresses; how many they were. Their next datagram is led
    anew. Harmless where the kernel tracks nothing.
    """
    found = 0
    for family in {socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses}:
        wanted = {wire.packed(address) for address in addresses if (":" in address) == (family == socket.AF_INET6)}
        try:
            flows = wire.dump(_GET, bytes((family, 0, 0, 0)), _NETFILTER)
        except OSError as error:
            if error.errno in _ABSENT:
                continue
            raise
        gone = [of[_ORIGIN] for body in flows if _leads(of := wire.attributes(body[4:]), wanted, protocol)]
        _delete(family, gone)
        found += len(gone)
    return found


def _leads(flow: dict[int, bytes], wanted: Collection[bytes], protocol: int) -> bool:
    reply = wire.attributes(flow.get(_REPLY, b""))
    if wire.attributes(reply.get(_PROTO, b"")).get(_PROTO_NUMBER) != bytes((protocol,)):
        return False
    ends = wire.attributes(reply.get(_IP, b""))
    return ends.get(_SOURCE4, ends.get(_SOURCE6)) in wanted


def _delete(family: int, origins: list[bytes]) -> None:
    """One request each; an entry that has ended meanwhile is fine."""
    if not origins:
        return
    with wire.open_channel(_NETFILTER) as channel:
        for number, origin in enumerate(origins, 1):
            body = bytes((family, 0, 0, 0)) + wire.attribute(_ORIGIN | wire.NESTED, origin)
            channel.sendall(wire.message(_DELETE, wire.ACK, number, body))
            for _, code, words in wire.failures(channel, number):
                if code not in _ABSENT:
                    raise OSError(code, words or "a tracked flow cannot be forgotten")
