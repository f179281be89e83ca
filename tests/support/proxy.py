"""A socket between a client and an engine, that can be cut."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes everything on from path to target, until `pattern` has been asked for `times` times: then all connections
    end, and new ones are refused until `mend()`. A context manager."""

    def __init__(self, path: str, target: str, pattern: bytes, times: int) -> None:
        self.path, self._target, self._pattern, self._left = path, target, pattern, times
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(64)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def was_cut(self) -> bool:
        return self._is_cut

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()
        for thread in self._threads:
            thread.join(5)
        os.unlink(self.path)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(self._target)
            self._open |= {client, server}
            for one, other in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass, args=(one, other, one is client), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, one: socket.socket, other: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if asks and self._is_last(data):
                    self._cut()
                    return
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_last(self, data: bytes) -> bool:
        with self._guard:
            self._left -= data.count(self._pattern)
            return self._left <= 0 and self._pattern in data

    def _cut(self) -> None:
        self._is_cut = True
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
