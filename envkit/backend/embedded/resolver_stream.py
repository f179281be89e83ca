"""DNS over TCP, one connection at a time: messages with a length before them, without ever blocking (RFC 7766)."""

from __future__ import annotations

import select
import socket
import time

from envkit.backend.embedded.network_state import Member

_PATIENCE = 10.0  # seconds of silence
_MAX_BUFFER = 1 << 18


class Stream:
    """A connection. client: who asks, None for a connection to an upstream server; other: the connection that this one
    waits for or answers to."""

    def __init__(self, connection: socket.socket, client: Member | None = None) -> None:
        connection.setblocking(False)
        self._socket = connection
        self.client = client
        self.other: Stream | None = None
        self.deadline = time.monotonic() + _PATIENCE
        self._in = bytearray()
        self._out = bytearray()

    @classmethod
    def connect(cls, server: str, port: int) -> Stream:
        """Begin to connect to a server. Raises OSError when that cannot even begin."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            connection.connect((server, port))
        except BlockingIOError:
            return cls(connection)
        except OSError:
            connection.close()
            raise
        return cls(connection)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def interest(self) -> int:
        """What to watch for."""
        return select.EPOLLIN | (select.EPOLLOUT if self._out else 0)

    def send(self, message: bytes) -> None:
        """Queue a message."""
        self._out += len(message).to_bytes(2, "big") + message

    def progress(self, events: int) -> list[bytes]:
        """Write and read what can be; returns the messages that are complete. Raises OSError at the end."""
        if events & select.EPOLLOUT and self._out:
            try:
                del self._out[: self._socket.send(self._out)]
            except BlockingIOError:
                return []
        if not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            return []
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return []
        if not data or len(self._in) + len(data) > _MAX_BUFFER:
            raise ConnectionResetError
        self.deadline = time.monotonic() + _PATIENCE
        self._in += data
        messages = []
        while len(self._in) >= 2 and len(self._in) >= 2 + (length := int.from_bytes(self._in[:2], "big")):
            messages.append(bytes(self._in[2 : 2 + length]))
            del self._in[: 2 + length]
        return messages

    def close(self) -> None:
        self._socket.close()
