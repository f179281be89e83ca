"""How a connection is taken over: a request written by hand, since HTTP libraries keep the socket to themselves."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from envkit.backend.engine_api.dial import dial
from envkit.backend.engine_api.duplex import Duplex
from envkit.backend.engine_api.errors import EngineCutError, refused
from envkit.backend.engine_api.trouble import explained

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket
    from typing import Any

    from envkit.backend.engine_api.address import EngineAddress

TIMEOUT = 60.0


def hijack(
    address: EngineAddress, path: str, query: Mapping[str, Any], body: Any, *, multiplexed: bool
) -> Duplex:
    """POST and take the connection. Raises EngineError when the engine refuses."""
    content = b"" if body is None else json.dumps(body).encode()
    target = f"{path}?{urlencode(query, doseq=True)}" if query else path
    head = (
        f"POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    asked = f"POST {path}"
    try:
        connection = dial(address)
    except OSError as error:
        raise explained(error, address, asked) from error
    try:
        connection.settimeout(TIMEOUT)
        connection.sendall(head.encode() + content)
        status, headers, rest = _head(connection)
        if status not in (101, 200):
            text = _body(connection, headers, rest)
            raise refused(status, text, asked)
    except OSError as error:
        connection.close()
        raise explained(error, address, asked) from error
    except BaseException:
        connection.close()
        raise
    return Duplex(connection, rest, multiplexed=multiplexed)


def _head(connection: socket) -> tuple[int, dict[str, str], bytes]:
    """(status, headers in lower case, what came behind the head)."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            raise EngineCutError("The connection to the engine was cut", "it ended before an answer came")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    words = first.split(" ", 2)
    return (int(words[1]) if len(words) > 1 and words[1].isdigit() else 0), headers, rest


def _body(connection: socket, headers: Mapping[str, str], rest: bytes) -> str:
    """The message of a refusal."""
    wanted = int(headers.get("content-length") or 0)
    while len(rest) < wanted:
        more = connection.recv(4096)
        if not more:
            break
        rest += more
    try:
        return str(json.loads(rest)["message"])
    except (ValueError, KeyError, TypeError):
        return rest.decode(errors="replace").strip() or "no message"
