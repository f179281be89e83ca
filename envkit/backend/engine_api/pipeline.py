"""Many GETs at once: requests are written back to back on a few connections and answered in order (RFC 9112 9.3.2).

A look at an environment is two round trips however many containers it has, and no HTTP library is imported for it.
"""

from __future__ import annotations

from envkit.backend.engine_api.dial import CONNECT, dial
from envkit.backend.engine_api.errors import EngineCutError
from envkit.backend.engine_api.trouble import explained, refusal
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket
    from typing import Any, BinaryIO

    from envkit.backend.engine_api.address import EngineAddress

_CONNECTIONS = 4
_AT_ONCE = 64
"""Requests on one connection before an answer is read: neither side's buffers may fill up."""


def get_all(address: EngineAddress, targets: Sequence[str], timeout: float) -> list[tuple[Any, dict[str, str]]]:
    """(JSON, headers) of every target, None as JSON for one that does not exist. Raises what Engine.get raises."""
    found: list[tuple[Any, dict[str, str]]] = []
    for start in range(0, len(targets), _CONNECTIONS * _AT_ONCE):
        found += _round(address, targets[start : start + _CONNECTIONS * _AT_ONCE], timeout)
    return found


def _round(address: EngineAddress, targets: Sequence[str], timeout: float) -> list[tuple[Any, dict[str, str]]]:
    share = max(1, -(-len(targets) // _CONNECTIONS))
    parts = [targets[start : start + share] for start in range(0, len(targets), share)]
    open_: list[tuple[socket, Sequence[str]]] = []
    found = []
    try:
        for part in parts:
            connection = dial(address, CONNECT)
            open_.append((connection, part))
            connection.settimeout(timeout)
            lines = [f"GET {target} HTTP/1.1\r\nHost: docker\r\n\r\n" for target in part]
            connection.sendall("".join(lines).encode())
        for connection, part in open_:
            with connection.makefile("rb") as reader:
                found += [_answer(address, reader, target) for target in part]
    except (OSError, ValueError) as error:
        raise explained(error, address, f"GET {targets[0]}", begun=bool(found)) from error
    finally:
        for connection, _ in open_:
            connection.close()
    return found


def _answer(address: EngineAddress, reader: BinaryIO, target: str) -> tuple[Any, dict[str, str]]:
    status, headers = head(reader)
    content = body(reader, headers)
    if status == 404:
        return None, headers
    if status >= 400:
        raise refusal(address, status, content, f"GET {target.partition('?')[0]}")
    return (json.loads(content) if content[:1] in (b"{", b"[", b"n") else None), headers


def body(reader: BinaryIO, headers: dict[str, str]) -> bytes:
    """All of a message's body."""
    if headers.get("transfer-encoding") == "chunked":
        return _chunked(reader)
    if "content-length" not in headers and headers.get("connection") == "close":
        return reader.read()
    return _exactly(reader, int(headers.get("content-length") or 0))


def head(reader: BinaryIO) -> tuple[int, dict[str, str]]:
    """(status, headers in lower case) of an answer."""
    first = reader.readline(4096).split()
    if len(first) < 2 or not first[1].isdigit():
        raise EngineCutError("The connection to the engine was cut", "it ended before an answer came")
    headers = {"connection": "close"} if first[0] == b"HTTP/1.0" else {}
    while (line := reader.readline(65536)) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first[1]), headers


def _chunked(reader: BinaryIO) -> bytes:
    parts = []
    while size := int(reader.readline(1024).split(b";")[0].strip() or b"-1", 16):
        if size < 0:
            raise EngineCutError("The connection to the engine was cut", "in the middle of an answer")
        parts.append(_exactly(reader, size))
        reader.readline(16)
    while reader.readline(65536) not in (b"\r\n", b""):
        continue
    return b"".join(parts)


def _exactly(reader: BinaryIO, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise EngineCutError("The connection to the engine was cut", "in the middle of an answer")
    return data
