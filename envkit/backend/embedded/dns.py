"""The little of DNS that a resolver for container names needs: read a question, write an answer. Pure.

Sources: RFC 1035 (format), RFC 6891 (EDNS size), RFC 4343 (case).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
TTL = 5  # seconds: replicas come and go
PLAIN_SIZE = 512
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0200, 0x0100, 0x0080
_IN = 1


class Query(NamedTuple):
    """One question. name: lower case, without a final dot; question: its bytes; size: what the client takes by UDP."""

    id: int
    flags: int
    name: str
    kind: int
    question: bytes
    size: int

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


def parse(data: bytes) -> Query | None:
    """A query with exactly one question of class IN (or ANY); None for anything else."""
    if len(data) < 17:
        return None
    identity, flags, questions, answers, authorities, additional = struct.unpack_from("!6H", data)
    if flags & _RESPONSE or questions != 1:
        return None
    labels: list[str] = []
    position = 12
    while True:
        if position >= len(data):
            return None
        length = data[position]
        position += 1
        if length == 0:
            break
        if length > 63 or position + length > len(data):  # no compression in a question
            return None
        labels.append(data[position : position + length].decode("ascii", "replace").lower())
        position += length
    if position + 4 > len(data):
        return None
    kind, network = struct.unpack_from("!2H", data, position)
    position += 4
    if network not in (_IN, ANY):
        return None
    size = PLAIN_SIZE
    if not answers and not authorities and additional and position + 11 <= len(data) and data[position] == 0:
        record, payload = struct.unpack_from("!2H", data, position + 1)
        if record == OPT:
            size = min(max(payload, PLAIN_SIZE), 4096)
    return Query(identity, flags, ".".join(labels), kind, data[12:position], size)


def answer(query: Query, records: Sequence[bytes] = (), code: int = NOERROR, limit: int = 65535) -> bytes:
    """A response; records that do not fit into limit bytes are left out and the response is marked truncated."""
    flags = _RESPONSE | _RECURSION_AVAILABLE | query.flags & (_RECURSION_DESIRED | 0x7800) | code
    room = limit - 12 - len(query.question)
    kept: list[bytes] = []
    for record in records:
        room -= len(record)
        if room < 0:
            flags |= _TRUNCATED
            break
        kept.append(record)
    return struct.pack("!6H", query.id, flags, 1, len(kept), 0, 0) + query.question + b"".join(kept)


def address_records(kind: int, addresses: Sequence[str]) -> list[bytes]:
    """A or AAAA records (both for ANY) of the addresses that are of that kind."""
    found = []
    for address in addresses:
        six = ":" in address
        if kind in (AAAA if six else A, ANY):
            data = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
            found.append(_record(AAAA if six else A, data))
    return found


def name_record(name: str) -> bytes:
    """A PTR record."""
    return _record(PTR, encode_name(name))


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("!3HIH", 0xC00C, kind, _IN, TTL, len(data)) + data  # 0xC00C: the name in the question


def encode_name(name: str) -> bytes:
    """Labels with their lengths. Raises ValueError for a label that is empty or longer than 63 bytes."""
    out = b""
    for label in filter(None, name.rstrip(".").split(".")):
        data = label.encode("ascii", "replace")
        if len(data) > 63:
            raise ValueError(f"{label!r} is too long for a DNS label")
        out += bytes([len(data)]) + data
    return out + b"\0"


def reversed_address(name: str) -> str:
    """The address behind a name below in-addr.arpa or ip6.arpa; "" for any other name."""
    labels = name.split(".")
    if name.endswith(".in-addr.arpa") and len(labels) == 6:
        return ".".join(reversed(labels[:4]))
    if name.endswith(".ip6.arpa") and len(labels) == 34:
        digits = "".join(reversed(labels[:32]))
        try:
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        except ValueError:
            return ""
    return ""


def build(identity: int, name: str, kind: int) -> bytes:
    """A query with recursion desired."""
    header = struct.pack("!6H", identity, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + encode_name(name) + struct.pack("!2H", kind, _IN)
