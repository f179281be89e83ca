"""An HTTP server and clients that notice every request that fails, for replacements under load.

SERVER runs in a container on the machine's own Python, whose files are bound into a busybox image.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import Any

SERVER = '''
import asyncio, os, signal, sys

async def main(version, graceful):
    state = {"closing": False, "open": 0}
    done = asyncio.Event()

    async def serve(reader, writer):
        state["open"] += 1
        try:
            while True:
                head = await reader.readuntil(b"\\r\\n\\r\\n")
                last = state["closing"] or b"Connection: close" in head
                writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n%s\\r\\n%s" % (
                    len(version), b"Connection: close\\r\\n" if last else b"", version))
                await writer.drain()
                if last:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            state["open"] -= 1
            if state["closing"] and not state["open"]:
                done.set()

    server = await asyncio.start_server(serve, "0.0.0.0", 80, backlog=1024)

    def stop():
        if not graceful:
            os._exit(0)
        state["closing"] = True
        server.close()
        if not state["open"]:
            done.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await done.wait()

asyncio.run(main(sys.argv[1].encode(), sys.argv[2] == "graceful"))
'''


BY_NAME = '''
import json, socket, sys

answers, failures = {}, []
while answers.get(sys.argv[1], 0) < 50 and len(failures) < 50:
    try:
        with socket.create_connection(("web", 80), timeout=10) as link:
            link.sendall(b"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n")
            body = b"".join(iter(lambda: link.recv(4096), b"")).rpartition(b"\\r\\n\\r\\n")[2].decode()
        answers[body] = answers.get(body, 0) + 1
    except OSError as error:
        failures.append(repr(error))
print(json.dumps([answers, failures]))
'''
"""Asks the service `web` by its name until 50 answers were a certain one; prints who answered how often, and what
failed."""


def mounts() -> list[dict[str, Any]]:
    """The binds that make this machine's Python run in a busybox image."""
    wanted = {"/usr": "/usr", "/usr/lib": "/lib", sys.base_prefix: sys.base_prefix}
    if os.path.isdir("/lib64"):
        wanted[os.path.realpath("/lib64")] = "/lib64"
    return [
        {"type": "bind", "source": source, "target": target, "read_only": True} for source, target in wanted.items()
    ]


def python(program: str, *words: str) -> list[str]:
    """The argv of a Python program in a container that has mounts()."""
    return [os.path.realpath(getattr(sys, "_base_executable", sys.executable)), "-I", "-S", "-c", program, *words]


def command(version: str, *, graceful: bool) -> list[str]:
    """The argv of the server that answers with version."""
    return python(SERVER, version, "graceful" if graceful else "abrupt")


def await_server(port: int) -> None:
    """Return once the port answers."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


class Client(threading.Thread):
    """Asks again and again. per_connection: requests until it asks on a new connection; 0: as many as the server
    allows. answers: body -> how often; failures: what went wrong."""

    def __init__(self, port: int, per_connection: int) -> None:
        super().__init__(daemon=True)
        self.port, self.per_connection = port, per_connection
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self.connections = 0
        self._end = threading.Event()

    @property
    def count(self) -> int:
        return sum(self.answers.values()) + len(self.failures)

    def finish(self) -> None:
        self._end.set()
        self.join(20)

    def run(self) -> None:
        while not self._end.is_set():
            began, number = time.monotonic(), 0
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=20) as link:
                    self.connections += 1
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    while True:
                        number += 1
                        last = number == self.per_connection or self._end.is_set()
                        if self._ask(link, last) or last:
                            break
            except (OSError, ValueError) as error:
                self.failures.append(f"request {number}, after {time.monotonic() - began:.3f} s: {error!r}")

    def _ask(self, link: socket.socket, last: bool) -> bool:
        """One request; whether the server closes the connection after it."""
        closing = b"Connection: close\r\n" if last else b""
        link.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n%s\r\n" % closing)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(link)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        while len(body) < length:
            body += self._more(link)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head)
        version = body.decode()
        self.answers[version] = self.answers.get(version, 0) + 1
        return b"Connection: close" in head

    def _more(self, link: socket.socket) -> bytes:
        data = link.recv(65536)
        if not data:
            raise ConnectionError("closed without an answer")
        return data
