"""Short requests: one connection per thread, kept open; the answer is read whole.

They make up almost everything that an apply says. `requests` alone costs more processor time than all of an apply of a
few services, so it is imported for streams and uploads, which need what it can.
"""

from __future__ import annotations

import select
import threading
import weakref

from envkit.backend.engine_api.dial import dial
from envkit.backend.engine_api.errors import EngineCutError
from envkit.backend.engine_api.pipeline import body, head
from envkit.backend.engine_api.trouble import explained
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket
    from typing import BinaryIO

    from envkit.backend.engine_api.address import EngineAddress


@value
class Answer:
    """headers: in lower case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def close(self) -> None:
        """Nothing is left open."""


class Short:
    """Asks one address. Every error is one of this package's."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address
        self._local = threading.local()

    def ask(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str], timeout: float | None
    ) -> Answer:
        """target: the path with its query; data: the body, None for none; timeout: seconds without a byte."""
        try:
            kept = self._connection()
            kept.socket.settimeout(timeout)
            lines = [f"{method} {target} HTTP/1.1", "Host: docker"]
            lines += [f"{name}: {text}" for name, text in headers.items()]
            if data is not None:
                lines.append(f"Content-Length: {len(data)}")
            kept.socket.sendall("\r\n".join([*lines, "", ""]).encode() + (data or b""))
            status, found = head(kept.reader)
            content = b"" if method == "HEAD" or status in (204, 304) else body(kept.reader, found)
        except BaseException as error:
            self._drop()
            if isinstance(error, (OSError, ValueError, EngineCutError)):
                raise explained(error, self.address, f"{method} {target.partition('?')[0]}") from error
            raise
        if found.get("connection") == "close":
            self._drop()
        return Answer(status, found, content)

    def _connection(self) -> _Kept:
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None or kept.has_ended():
            self._drop()
            kept = self._local.kept = _Kept(dial(self.address))
        return kept


    def _drop(self) -> None:
        kept: _Kept | None = getattr(self._local, "kept", None)
        self._local.kept = None
        if kept is not None:
            kept.close()


class _Kept:
    """A connection that goes with its thread."""

    def __init__(self, connection: socket) -> None:
        self.socket = connection
        self.reader = connection.makefile("rb")
        # Not __del__: in a circle of garbage the socket might be finalised first, which warns of it.
        self.close = weakref.finalize(self, _close, connection, self.reader)

    def has_ended(self) -> bool:
        """Whether the engine has closed it: nothing is to be read between two requests."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))


def _close(connection: socket, reader: BinaryIO) -> None:
    reader.close()
    connection.close()
