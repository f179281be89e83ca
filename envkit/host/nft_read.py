"""Read nftables without a process: whether a chain exists, and a digest of all that a table says.

Source: linux/netfilter/nf_tables.h. 1 ms instead of the 10 that `nft -j list` takes.
"""

from __future__ import annotations

import errno
import struct

from envkit.host import netlink_wire as wire
from envkit.lean import sha256, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PROTOCOL = 12  # NETLINK_NETFILTER
_GETTABLE, _GETCHAIN, _GETRULE, _GETSET, _GETSETELEM = (0xA00 | number for number in (1, 4, 7, 10, 13))
FAMILIES = {"inet": 1, "ip": socket.AF_INET, "ip6": socket.AF_INET6}
# What an object says, without its handle (a number that differs at every load) and its use count.
_CHAIN_SAYS = (3, 4, 5, 7)  # name, hook, policy, type
_RULE_SAYS = (2, 4, 7)  # chain, expressions, comment
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


def _header(family: str) -> bytes:
    return struct.pack("=BBH", FAMILIES[family], 0, 0)


def _exists(kind: int, body: bytes) -> bool:
    try:
        with wire.open_channel(_PROTOCOL) as channel:
            channel.sendall(wire.message(kind, wire.ACK, 1, body))
            return not any(True for _ in wire.failures(channel, 1))
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise


def has_table(family: str, table: str) -> bool:
    """Whether the table exists."""
    return _exists(_GETTABLE, _header(family) + wire.text(1, table))


def has_chain(family: str, table: str, chain: str) -> bool:
    """Whether the chain exists."""
    return _exists(_GETCHAIN, _header(family) + wire.text(1, table) + wire.text(3, chain))


def tables(family: str) -> list[str]:
    """The names of all tables of a family; none where nftables is absent."""
    try:
        return [of[1].rstrip(b"\0").decode() for of in _dump(_GETTABLE, family, b"")]
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise


def keys(family: str, table: str, one: str) -> list[bytes]:
    """The keys of a set's or map's elements: each part of a concatenation padded to four bytes. None when absent."""
    try:
        answers = list(_dump(_GETSETELEM, family, wire.text(1, table) + wire.text(2, one)))
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise
    elements = (element for of in answers for element in _elements(of.get(3, b"")))
    return [wire.attributes(key)[1] for element in elements if (key := wire.attributes(element).get(1))]


def count_rules(family: str, table: str, chain: str, mark: bytes) -> int:
    """How many rules of a chain have these bytes in what they say (a comment of theirs, an interface's name)."""
    where = wire.text(1, table) + wire.text(2, chain)
    name = chain.encode() + b"\0"
    try:
        rules = list(_dump(_GETRULE, family, where))
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise
    return sum(of.get(2) == name and any(mark in of.get(key, b"") for key in (4, 7)) for of in rules)


def _dump(kind: int, family: str, query: bytes) -> Iterator[dict[int, bytes]]:
    for body in wire.dump(kind, _header(family) + query, _PROTOCOL):
        yield wire.attributes(body[4:])


def digest(family: str, table: str) -> str:
    """A digest of the table's chains, rules, sets and elements; "" when there is no such table.

    Equal for one load of a table as long as nobody changes it; two loads of one script may differ (anonymous sets).
    """
    if not has_table(family, table):
        return ""
    name = wire.text(1, table)
    parts: list[bytes] = []
    sets: list[bytes] = []
    for of in _dump(_GETCHAIN, family, name):
        if of.get(1) == table.encode() + b"\0":
            parts.append(b"chain" + b"".join(of.get(key, b"") for key in _CHAIN_SAYS))
    rules = [
        b"rule" + b"".join(of.get(key, b"") for key in _RULE_SAYS)
        for of in _dump(_GETRULE, family, name)
        if of.get(1) == table.encode() + b"\0"
    ]
    for of in _dump(_GETSET, family, name):
        if of.get(1) == table.encode() + b"\0":
            sets.append(of[2])
    for one in sets:
        for of in _dump(_GETSETELEM, family, name + wire.attribute(2, one)):
            parts += [b"element" + one + element for element in _elements(of.get(3, b""))]
    total = sha256()
    for part in (*sorted(parts), *rules):
        total.update(struct.pack("=I", len(part)) + part)
    return total.hexdigest()


def _elements(data: bytes) -> Iterator[bytes]:
    """The nested elements of one list."""
    position = 0
    while position + 4 <= len(data):
        length = struct.unpack_from("=H", data, position)[0]
        if length < 4:
            return
        yield data[position + 4 : position + length]
        position += (length + 3) & ~3
