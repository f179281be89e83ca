"""What instances have printed, in the order of time; with follow, what they print."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Iterator, Mapping
from queue import SimpleQueue

from envkit.backend import ownership
from envkit.backend.base import LogEntry, LogQuery
from envkit.backend.docker import look
from envkit.backend.engine_api import Engine, EngineNotFoundError
from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STREAMS = {1: "stdout", 2: "stderr"}
_LOOK = 0.5
"""Seconds between two looks for new instances while following."""


def logs(engine: Engine, environment: str, query: LogQuery) -> Iterator[LogEntry]:
    """See backend.base.Backend.logs. Following ends when nothing runs any more."""
    if query.follow:
        return _follow(engine, environment, query)
    sources = [_entries(engine, item, query, follow=False) for item in _wanted(engine, environment, query)]
    return heapq.merge(*sources, key=lambda entry: entry.time)


def _wanted(engine: Engine, environment: str, query: LogQuery) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    present, _ = look.instances(look.containers(engine, environment))
    for address, item in sorted(present.items()):
        if query.services and address.name not in query.services:
            continue
        if query.replica is None or address.index == query.replica:
            rows.append(item)
    return rows


def _entries(engine: Engine, item: Mapping[str, Any], query: LogQuery, *, follow: bool) -> Iterator[LogEntry]:
    address = look.address_of(item)
    service = address.name if address else look.labels_of(item).get(f"{ownership.COMPOSE}service", "")
    replica = address.index if address else 0
    rest: dict[int, bytes] = {}
    try:
        for stream, data in engine.frames(
            f"/containers/{item['Id']}/logs", timeout=None if follow else 60.0, stdout=True, stderr=True,
            timestamps=True, follow=follow, tail="all" if query.tail is None else query.tail, since=_at(query.since),
            until=_at(query.until),
        ):  # fmt: skip
            *whole, rest[stream] = (rest.get(stream, b"") + data).split(b"\n")
            for line in whole:
                yield _entry(service, replica, stream, line)
    except EngineNotFoundError:
        return
    for stream, line in rest.items():
        if line:
            yield _entry(service, replica, stream, line)


def _at(moment: float | None) -> str | None:
    return None if moment is None else f"{moment:.9f}"


def _entry(service: str, replica: int, stream: int, line: bytes) -> LogEntry:
    when, _, text = line.decode(errors="replace").partition(" ")
    return LogEntry(service, replica, when, _STREAMS.get(stream, "stdout"), text.removesuffix("\r"))


def _follow(engine: Engine, environment: str, query: LogQuery) -> Iterator[LogEntry]:
    """A thread per instance, one for each that comes; each that is started again goes on by itself."""
    queue: SimpleQueue[LogEntry | BaseException | str] = SimpleQueue()
    reading: set[str] = set()

    def read(item: Mapping[str, Any]) -> None:
        try:
            for entry in _entries(engine, item, query, follow=True):
                queue.put(entry)
        except EnvkitError as error:
            queue.put(error)
        finally:
            queue.put(str(item["Id"]))

    seen: set[str] = set()
    while True:
        for item in _wanted(engine, environment, query):
            identity, state = str(item["Id"]), item["State"]
            mark = f"{identity} {state.get('StartedAt')}"
            if identity not in reading and mark not in seen:
                seen.add(mark)
                reading.add(identity)
                threading.Thread(target=read, args=(item,), daemon=True).start()
        deadline = time.monotonic() + _LOOK
        while (left := deadline - time.monotonic()) > 0:
            found = _take(queue, left)
            if found is None:
                break
            if isinstance(found, str):
                reading.discard(found)
                if not reading:
                    break
            elif isinstance(found, BaseException):
                raise found
            else:
                yield found
        if not reading and queue.empty():
            if not any(item["State"].get("Running") for item in _wanted(engine, environment, query)):
                return
            query = LogQuery(query.services, True, 0, time.time(), query.until, query.replica)


def _take(queue: SimpleQueue[LogEntry | BaseException | str], timeout: float) -> LogEntry | BaseException | str | None:
    from queue import Empty

    try:
        return queue.get(timeout=timeout)
    except Empty:
        return None
