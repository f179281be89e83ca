"""A hijacked connection: after the answer's head it carries a process's stdio (Engine API, "Attach to a container")."""

from __future__ import annotations

import socket
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN, STDOUT, STDERR = 0, 1, 2
_HEAD = 8
_LARGEST = 1 << 24
"""Bytes of one frame at most; more is not a frame."""


class Frames:
    """Takes bytes apart into (stream, payload). Without multiplexing (a terminal) everything is stdout.

    A frame is 1 byte of stream, 3 of nothing, 4 of length (big endian), then the payload. A payload is handed out as it
    comes, not when it is whole.
    """

    def __init__(self, multiplexed: bool) -> None:
        self._multiplexed = multiplexed
        self._buffer = bytearray()
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What data completes. Raises ValueError for what is no frame."""
        if not self._multiplexed:
            if data:
                yield STDOUT, bytes(data)
            return
        self._buffer += data
        while self._buffer:
            if not self._left:
                if len(self._buffer) < _HEAD:
                    return
                self._stream, self._left = self._buffer[0], int.from_bytes(self._buffer[4:_HEAD], "big")
                if self._stream > 3 or self._left > _LARGEST:
                    raise ValueError("not a frame of a multiplexed stream")
                del self._buffer[:_HEAD]
                continue
            part = bytes(self._buffer[: self._left])
            del self._buffer[: self._left]
            self._left -= len(part)
            if part:
                yield self._stream, part


class Duplex:
    """The two directions of a process's stdio. Use as a context manager; not for several readers at once."""

    def __init__(self, connection: socket.socket, begun: bytes, *, multiplexed: bool) -> None:
        connection.settimeout(None)
        self.socket = connection
        self._begun = begun
        self._frames = Frames(multiplexed)

    def __enter__(self) -> Duplex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """For select; see `pending`."""
        return self.socket.fileno()

    @property
    def pending(self) -> bool:
        """Whether `receive` has something although the descriptor does not say so."""
        return bool(self._begun) or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0)

    def receive(self) -> list[tuple[int, bytes]] | None:
        """What has come, as (stream, bytes): waits for at least one byte. None at the end."""
        try:
            data, self._begun = self._begun or self.socket.recv(65536), b""
        except ssl.SSLZeroReturnError:  # the other's close_notify, after ours
            return None
        return list(self._frames.feed(data)) if data else None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while (found := self.receive()) is not None:
            yield from found

    def send(self, data: bytes) -> None:
        """To the process's stdin."""
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> int:
        """Send as much as there is room for; how much that was. For a socket that poll(2) calls writable."""
        if isinstance(self.socket, ssl.SSLSocket):
            return self.socket.send(data[:4096])
        try:
            return self.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def end_input(self) -> None:
        """Close the process's stdin and go on reading."""
        if isinstance(self.socket, ssl.SSLSocket):
            _close_notify(self.socket)
        else:
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()


def _close_notify(connection: ssl.SSLSocket) -> None:
    """TLS's half close (RFC 8446 6.1): the alert goes out, and the other direction stays open."""
    inner = connection._sslobj  # type: ignore[attr-defined]  # SSLSocket.unwrap() would wait for the other's alert
    connection.settimeout(0.0)
    try:
        inner.shutdown()
    except (ssl.SSLError, BlockingIOError):
        pass  # the alert is sent; the other side's has not come, as it should not
    finally:
        connection.settimeout(None)
