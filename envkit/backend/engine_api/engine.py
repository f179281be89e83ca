"""Engine: requests, streams and connections to one engine, its API version negotiated."""

from __future__ import annotations

import os
import time

from envkit.backend.engine_api.address import EngineAddress, find_address
from envkit.backend.engine_api.errors import EngineCutError, EngineUnreachableError, refused
from envkit.backend.engine_api.trouble import refusal
from envkit.lean import cached_property, json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.engine_api.duplex import Duplex
    from envkit.backend.engine_api.short import Short
    from envkit.backend.engine_api.transport import Transport

OLDEST, NEWEST = (1, 41), (1, 47)
TIMEOUT = 60.0
"""Seconds without a byte of an answer that was asked for."""

_PAUSES = (0.2, 1.0)
"""Seconds before what may be asked twice is asked again."""


def connect(address: EngineAddress | None = None) -> Engine:
    """The engine at address, or where the docker command would go. Speaks with nobody yet, but for finding contexts."""
    return Engine(address or find_address(os.environ))


class Engine:
    """One engine. Safe to use from several threads.

    Query values: None is left out, True and False are 1 and 0, lists repeat the key, dicts are JSON (`filters`). Errors
    are EngineError for an answer that is not a success (404: EngineNotFoundError, 409: EngineConflictError),
    EngineUnreachableError before one, EngineCutError in the middle of one. `timeout` is in seconds without a byte; None
    is for what may be silent for ever (`logs --follow`). GET, HEAD and DELETE are asked again after a cut connection;
    a POST only with idempotent=True.
    """

    def __init__(self, address: EngineAddress) -> None:
        self.address = address

    # -- what it is

    @cached_property
    def version(self) -> tuple[int, int]:
        """The API version that is spoken: the engine's newest, or the newest that envkit knows. Raises
        EngineUnreachableError for an engine that is too old."""
        [(_, headers)] = self._look(["/_ping"])
        found = _numbers(headers.get("api-version", ""))
        if found == (0, 0):
            raise EngineUnreachableError(
                "This is no Docker Engine", f"{self.address}: it names no API version",
                "DOCKER_HOST must name a Docker Engine or Podman's service",
            )  # fmt: skip
        if found < OLDEST:
            raise EngineUnreachableError(
                "The engine is too old", f"{self.address}: API {found[0]}.{found[1]}, at least 1.41 is needed",
                "upgrade to Docker 20.10 or Podman 4",
            )  # fmt: skip
        return min(found, NEWEST)

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """`GET /version`, asked once."""
        found: Mapping[str, Any] = self.get("/version")
        return found

    @property
    def is_podman(self) -> bool:
        """Whether Podman answers in Docker's words."""
        return any("Podman" in str(part.get("Name")) for part in self.about.get("Components") or ())

    def info(self) -> dict[str, Any]:
        """`GET /info`."""
        found: dict[str, Any] = self.get("/info")
        return found

    # -- requests

    def get(
        self, path: str, /, *, timeout: float | None = TIMEOUT, headers: Mapping[str, str] | None = None, **query: Any
    ) -> Any:
        """The JSON of the answer, None when it has no body."""
        return _json(self._ask("GET", self._versioned(path), query, timeout=timeout, retry=True, headers=headers))

    def get_all(self, *wanted: str | tuple[str, Mapping[str, Any]]) -> list[Any]:
        """The JSON of many answers, asked for at once: paths, or (path, query); None for what does not exist."""
        pairs = [item if isinstance(item, tuple) else (item, {}) for item in wanted]
        targets = [_target(self._versioned(path), query) for path, query in pairs]
        return [answer for answer, _ in self._look(targets)] if targets else []

    def head(self, path: str, /, **query: Any) -> Mapping[str, str]:
        """The headers of the answer."""
        answer = self._ask("HEAD", self._versioned(path), query, retry=True)
        answer.close()
        return dict(answer.headers)

    def post(
        self, path: str, /, body: Any = None, *, timeout: float | None = TIMEOUT, idempotent: bool = False,
        headers: Mapping[str, str] | None = None, **query: Any,
    ) -> Any:  # fmt: skip
        """The JSON of the answer, None when it has no body. 304 (it is so already) is a success."""
        return _json(self._ask(
            "POST", self._versioned(path), query, body=body, timeout=timeout, retry=idempotent, headers=headers
        ))  # fmt: skip

    def delete(self, path: str, /, *, timeout: float | None = TIMEOUT, **query: Any) -> Any:
        """The JSON of the answer, None when it has no body."""
        return _json(self._ask("DELETE", self._versioned(path), query, timeout=timeout, retry=True))

    # -- streams

    def lines(
        self, method: str, path: str, /, body: Any = None, *, timeout: float | None = TIMEOUT,
        headers: Mapping[str, str] | None = None, chunks: Iterable[bytes] | None = None, **query: Any,
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """The JSON objects of a stream: progress of pulls, loads and builds, events. One with the key `error` is
        raised. chunks: the body, where it is no JSON."""
        answer = self._ask(
            method, self._versioned(path), query, body=body, raw=chunks, timeout=timeout, headers=headers, stream=True
        )  # fmt: skip
        yield from self._objects(answer, f"{method} {path}")

    def stream(
        self, path: str, /, *, method: str = "GET", body: Any = None, timeout: float | None = TIMEOUT, **query: Any
    ) -> Iterator[bytes]:
        """The body of an answer as it comes."""
        answer = self._ask(method, self._versioned(path), query, body=body, timeout=timeout, stream=True)
        yield from self._transport.chunks(answer, f"{method} {path}")

    def frames(self, path: str, /, *, timeout: float | None = TIMEOUT, **query: Any) -> Iterator[tuple[int, bytes]]:
        """(1 for stdout or 2 for stderr, bytes) of a container's output, multiplexed or not (`logs`)."""
        from envkit.backend.engine_api.duplex import Frames

        answer = self._ask("GET", self._versioned(path), query, timeout=timeout, stream=True)
        raw = "multiplexed" not in answer.headers.get("Content-Type", "multiplexed")
        apart: Frames | None = None
        for chunk in self._transport.chunks(answer, f"GET {path}"):
            # Before API 1.42 the type says nothing, and a frame's head cannot be the beginning of a terminal's output.
            apart = apart or Frames(not raw or chunk[1:4] == b"\0\0\0")
            yield from apart.feed(chunk)

    def upload(
        self, path: str, chunks: Iterable[bytes], /, *, method: str = "PUT", content_type: str = "application/x-tar",
        timeout: float | None = 600.0, headers: Mapping[str, str] | None = None, **query: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Send a body of any length; the JSON objects that were answered. One with the key `error` is raised."""
        answer = self._ask(
            method, self._versioned(path), query, raw=chunks, timeout=timeout, stream=True,
            headers={"Content-Type": content_type, **(headers or {})},
        )  # fmt: skip
        return list(self._objects(answer, f"{method} {path}"))

    def hijack(self, path: str, /, body: Any = None, *, multiplexed: bool, **query: Any) -> Duplex:
        """A connection that carries a process's stdio after the answer's head (exec/start, attach)."""
        from envkit.backend.engine_api.hijack import hijack

        return hijack(self.address, self._versioned(path), _query(query), body, multiplexed=multiplexed)

    # -- inside

    @cached_property
    def _transport(self) -> Transport:
        from envkit.backend.engine_api.transport import Transport

        return Transport(self.address)

    def _look(self, targets: Sequence[str]) -> list[tuple[Any, dict[str, str]]]:
        from envkit.backend.engine_api.pipeline import get_all

        for pause in _PAUSES:
            try:
                return get_all(self.address, targets, TIMEOUT)
            except EngineCutError:
                time.sleep(pause)
        return get_all(self.address, targets, TIMEOUT)

    @cached_property
    def _short(self) -> Short:
        from envkit.backend.engine_api.short import Short

        return Short(self.address)

    def _versioned(self, path: str) -> str:
        if path.startswith("/libpod/"):  # Podman's own API, on the same socket
            return f"/v4.0.0{path}"
        return f"/v{self.version[0]}.{self.version[1]}{path}"

    def _ask(  # noqa: PLR0913
        self, method: str, path: str, query: Mapping[str, Any] | None = None, *, body: Any = None,
        raw: Iterable[bytes] | None = None, timeout: float | None = TIMEOUT, retry: bool = False, stream: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        """The answer of a success. Raises EngineError otherwise."""
        sent = dict(headers or {})
        body_ = b"" if method == "POST" else None
        if body is not None:
            body_ = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        data = body_ if raw is None else raw
        answer: Any
        for pause in (*(_PAUSES if retry else ()), None):
            try:
                if stream:
                    answer = self._transport.send(
                        method, path, params=_query(query or {}), data=data, headers=sent, timeout=timeout
                    )
                else:
                    answer = self._short.ask(method, _target(path, query or {}), body_, sent, timeout)
            except EngineCutError:
                if pause is None:
                    raise
                time.sleep(pause)
                continue
            break
        if answer.status_code < 400:
            return answer
        try:
            raise refusal(self.address, answer.status_code, _content(answer), f"{method} {path}")
        finally:
            answer.close()

    def _objects(self, answer: Any, asked: str) -> Iterator[dict[str, Any]]:
        rest = b""
        for chunk in self._transport.chunks(answer, asked):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield from _object(line, asked)
        yield from _object(rest, asked)


def _content(answer: Any) -> bytes:
    try:
        content: bytes = answer.content
    except OSError:  # a stream that ends while it says why it cannot be
        return b""
    return content


def _object(line: bytes, asked: str) -> Iterator[dict[str, Any]]:
    if not line.strip():
        return
    try:
        found = json.loads(line)
    except ValueError:
        return  # a text that a proxy or an old engine adds to a stream of objects
    if not isinstance(found, dict):
        return
    if error := found.get("error"):
        detail = found.get("errorDetail") or {}
        raise refused(int(detail.get("code") or 400), str(detail.get("message") or error), asked)
    yield found


def _json(answer: Any) -> Any:
    try:
        content = answer.content
    finally:
        answer.close()
    if not content or answer.status_code == 304:
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def _target(path: str, query: Mapping[str, Any]) -> str:
    if not query:
        return path
    from envkit.backend.engine_api.quoting import query as encoded

    text = encoded(_query(query))
    return f"{path}?{text}" if text else path


def _query(given: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, bool):
            result[name] = "1" if value else "0"
        elif isinstance(value, dict):
            result[name] = json.dumps(value, separators=(",", ":"))
        elif isinstance(value, (list, tuple)):
            result[name] = [str(item) for item in value]
        else:
            result[name] = str(value)
    return result


def _numbers(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
