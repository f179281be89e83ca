"""The client against engines that misbehave: sockets of the test's own, answers written by hand."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from envkit.backend.engine_api import (
    Engine,
    EngineAddress,
    EngineConflictError,
    EngineCutError,
    EngineError,
    EngineNotFoundError,
    EngineUnreachableError,
)

PING = b"HTTP/1.1 200 OK\r\nAPI-Version: 1.43\r\nContent-Length: 2\r\n\r\nOK"


def answer(status: str, body: bytes = b"{}", head: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%bContent-Length: %d\r\n\r\n%b" % (status.encode(), head, len(body), body)


class Fake:
    """Answers each connection's first request by `reply(its first line)`, and closes it."""

    def __init__(self, path: str) -> None:
        self.asked: list[str] = []
        self.ping = PING
        self.reply: Callable[[str], bytes] = lambda line: answer("200 OK")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # a client that has given up
                line = connection.recv(65536).split(b"\r\n")[0].decode()
                self.asked.append(line)
                connection.sendall(self.ping if "/_ping" in line else self.reply(line))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    made = Fake(str(tmp_path / "e.sock"))
    yield made
    made.close()


@pytest.fixture
def engine(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr("envkit.backend.engine_api.engine._PAUSES", (0.0, 0.0))
    return Engine(EngineAddress(f"unix://{tmp_path}/e.sock"))


def test_the_version_is_negotiated(engine: Engine, fake: Fake) -> None:
    fake.reply = lambda line: answer("200 OK", b'{"a": 1}')
    assert engine.version == (1, 43)
    assert engine.get("/info") == {"a": 1}
    assert fake.asked[-1] == "GET /v1.43/info HTTP/1.1"


def test_queries_are_written_as_the_engine_reads_them(engine: Engine, fake: Fake) -> None:
    engine.get("/x", all=True, none=None, filters={"label": ["a=b"]}, many=["1", "2"])
    assert fake.asked[-1] == "GET /v1.43/x?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D&many=1&many=2 HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "kind"),
    [("404 Not Found", EngineNotFoundError), ("409 Conflict", EngineConflictError), ("500 Oops", EngineError)],
)
def test_refusals(engine: Engine, fake: Fake, status: str, kind: type[EngineError]) -> None:
    fake.reply = lambda line: answer(status, b'{"message": "because"}')
    with pytest.raises(kind) as caught:
        engine.post("/x")
    assert (caught.value.status, caught.value.message) == (int(status[:3]), "because")
    assert sum("/x" in line for line in fake.asked) == 1


def test_what_is_safe_is_asked_again_and_nothing_else(engine: Engine, fake: Fake) -> None:
    fake.reply = lambda line: b""
    for ask, times in ((lambda: engine.get("/a"), 3), (lambda: engine.post("/b"), 1), (lambda: engine.delete("/c"), 3)):
        with pytest.raises(EngineCutError):
            ask()
        assert len(fake.asked) - 1 == times
        del fake.asked[1:]
    with pytest.raises(EngineCutError):
        engine.post("/d", idempotent=True)
    assert len(fake.asked) - 1 == 3


def test_a_stream_that_is_cut(engine: Engine, fake: Fake) -> None:
    fake.reply = lambda line: b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{"a": "b"}\r\n5\r\n{"'
    found = []
    with pytest.raises(EngineCutError) as caught:
        for row in engine.lines("GET", "/events"):
            found.append(row)
    assert "cut" in caught.value.summary
    assert "/events" in caught.value.detail


def test_an_error_in_a_stream_is_raised(engine: Engine, fake: Fake) -> None:
    rows = b'{"status": "x"}\n{"error": "no space", "errorDetail": {"message": "m"}}'
    fake.reply = lambda line: answer("200 OK", rows)
    with pytest.raises(EngineError, match="refused"):
        list(engine.lines("POST", "/images/create"))


def test_silence_ends(engine: Engine, fake: Fake) -> None:
    waiting = threading.Event()

    def silent(line: str) -> bytes:
        waiting.wait(10)
        return b""

    fake.reply = silent
    with pytest.raises(EngineCutError) as caught:
        engine.post("/x", timeout=0.2)
    waiting.set()
    assert caught.value.summary == "The engine does not answer"


def test_many_at_once(engine: Engine, tmp_path: Path, fake: Fake) -> None:
    assert engine.get_all() == []
    fake.reply = lambda line: answer("404 Not Found", b'{"message": "no"}')
    assert engine.get_all("/a") == [None]


@pytest.mark.parametrize(
    ("ping", "summary"),
    [
        (answer("200 OK", b"OK", b"API-Version: 1.24\r\n"), "The engine is too old"),
        (answer("200 OK", b"OK"), "This is no Docker Engine"),
        (answer("500 Oops", b'{"message": "m"}'), "The engine failed"),
    ],
)
def test_engines_that_will_not_do(fake: Fake, engine: Engine, ping: bytes, summary: str) -> None:
    fake.ping = ping
    with pytest.raises((EngineUnreachableError, EngineError)) as caught:
        engine.get("/x")
    assert caught.value.summary == summary


def test_no_socket_and_no_permission(tmp_path: Path, fake: Fake) -> None:
    with pytest.raises(EngineUnreachableError) as caught:
        _ = Engine(EngineAddress(f"unix://{tmp_path}/none.sock")).version
    assert "no such socket" in caught.value.detail
    child = os.fork()
    if not child:
        os.chmod(tmp_path, 0o711)
        os.chmod(tmp_path / "e.sock", 0o600)
        os.setuid(65534)
        try:
            _ = Engine(EngineAddress(f"unix://{tmp_path}/e.sock")).version
        except EngineUnreachableError as error:
            os._exit(0 if "permission denied" in error.detail or "no such socket" in error.detail else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
