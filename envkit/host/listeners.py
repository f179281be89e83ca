"""Who listens on this machine: sockets of the calling thread's network namespace, and ports that other installations of
envkit lead to their containers.

Source: proc(5), /proc/net/tcp and its kin.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator

from envkit.host import nft_read
from envkit.lean import socket
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LISTEN = "0A"
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}


@value
class Listener:
    """A bound socket. address: text, "" for every address of both families; inode: the socket's."""

    protocol: str
    address: str
    port: int
    inode: int


def listening(protocol: str) -> list[Listener]:
    """Listening TCP sockets, or bound, unconnected UDP ones."""
    if protocol not in ("tcp", "udp"):
        return []
    found = []
    for name in (protocol, protocol + "6"):
        try:
            with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == (_LISTEN if protocol == "tcp" else "07"):
                address, _, port = words[1].partition(":")
                found.append(Listener(protocol, _address(address), int(port, 16), int(words[9])))
    return found


def _address(text: str) -> str:
    """/proc's words of four bytes in host order."""
    data = b"".join(struct.pack("=I", int(text[position : position + 8], 16)) for position in range(0, len(text), 8))
    if len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    if data == bytes(16):
        return ""  # :: takes IPv4 as well, unless the socket says otherwise
    if data[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, data[12:])
    return socket.inet_ntop(socket.AF_INET6, data)


def describe(item: Listener) -> str:
    """The process that holds a socket: "nginx (process 812)"; "another program" when that cannot be seen."""
    target = f"socket:[{item.inode}]"
    for pid in _processes():
        try:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                if not any(_link(entry.path) == target for entry in entries):
                    continue
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                return f"{file.read().strip()} (process {pid})"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return "another program"


def _processes() -> Iterator[int]:
    yield from sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def foreign_tables(tag: str) -> list[tuple[str, dict[str, Any]]]:
    """(owner, port) of every port in the nft tables of other installations of envkit than tag's."""
    found = []
    for table in nft_read.tables("inet"):
        if not re.match(r"envkit-[0-9a-f]{6}-", table) or table.startswith(f"envkit-{tag}-"):
            continue
        owner = f"the environment {table[14:]} of another envkit installation"
        found += [(owner, row) for row in ports_of_table(table)]
    return found


def ports_of_table(table: str) -> list[dict[str, Any]]:
    """{"host_ip", "protocol", "published"} of every port that a table of envkit's leads somewhere."""
    maps = ("published4", "published_at4", "published6", "published_at6")
    return [_port(key) for name in maps for key in nft_read.keys("inet", table, name)]


def _port(key: bytes) -> dict[str, Any]:
    """[address,] protocol, port: each padded to four bytes."""
    address, protocol, port = key[:-8], key[-8], int.from_bytes(key[-4:-2], "big")
    host = "" if not address else socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
    return {"host_ip": host, "protocol": _PROTOCOLS.get(protocol, str(protocol)), "published": port}
