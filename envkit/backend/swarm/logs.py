"""Logs of services, which the managers collect from the nodes.

`GET /services/{id}/logs` is a multiplexed stream; with `details` every line begins with its task's labels, and with
`timestamps` with its time (Engine API v1.41, ServiceLogs).
"""

from __future__ import annotations

from envkit.backend.base import LogEntry, LogQuery
from envkit.backend.ownership import owner_of
from envkit.backend.swarm import tasks
from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from envkit.backend.swarm.cluster import Cluster

_TASK = "com.docker.swarm.task.id="
_STREAMS = {1: "stdout", 2: "stderr"}


def logs(cluster: Cluster, environment: str, query: LogQuery) -> Iterator[LogEntry]:
    """See backend.base.Backend.logs. Of several services the lines are merged by time; following, as they come."""
    rows = []
    for row in cluster.services(environment):
        owner = owner_of(row["Spec"].get("Labels") or {})
        if owner and (not query.services or owner.address.name in query.services):
            rows.append((owner.address.name, row))
    sources = [_of(cluster, name, row, query) for name, row in rows]
    if query.follow:
        yield from _as_they_come(sources)
    else:
        import heapq

        found = heapq.merge(*sources, key=lambda entry: entry.time)
        yield from found if query.tail is None else _last(found, query.tail)


def _last(entries: Iterable[LogEntry], count: int) -> list[LogEntry]:
    """The last lines of each replica, in their order: the managers count those of every task that was in its place."""
    kept: list[LogEntry] = []
    left: dict[tuple[str, int], int] = {}
    for entry in reversed(list(entries)):
        key = (entry.service, entry.replica)
        left[key] = left.get(key, 0) + 1
        if left[key] <= count:
            kept.append(entry)
    return kept[::-1]


def last_lines(cluster: Cluster, environment: str, service: str, count: int = 20) -> list[str]:
    """The last lines of a service, [] where they cannot be had."""
    try:
        found = [item.line for item in logs(cluster, environment, LogQuery(services=(service,), tail=count))]
    except EnvkitError:
        return []
    return found[-count:]


def _of(cluster: Cluster, service: str, row: Mapping[str, Any], query: LogQuery) -> Iterator[LogEntry]:
    numbers: dict[str, int] = {}

    def learn() -> None:
        every = cluster.tasks([row["ID"]])
        places = {tasks.place_of(task): number for number, task in enumerate(tasks.shown(row, every), 1)}
        numbers.update({task["ID"]: places.get(tasks.place_of(task), 0) for task in every})

    learn()
    partial: dict[tuple[int, str], bytes] = {}
    wanted: dict[str, Any] = {
        "stdout": True, "stderr": True, "timestamps": True, "details": True, "follow": query.follow,
        "tail": "all" if query.tail is None else query.tail,
        "since": None if query.since is None else f"{query.since:.9f}",
    }  # fmt: skip
    frames = cluster.manager.frames(
        f"/services/{row['ID']}/logs", timeout=None if query.follow else 60.0, **wanted
    )
    for stream, data in frames:
        key = (stream, "")
        *lines, rest = (partial.get(key, b"") + data).split(b"\n")
        partial[key] = rest
        for line in lines:
            entry = _entry(service, stream, line, numbers)
            if entry is None:
                learn()
                entry = _entry(service, stream, line, numbers)
            if entry is None or (query.replica and entry.replica != query.replica):
                continue
            if query.until is None or entry.time <= _stamp(query.until):
                yield entry


def _entry(service: str, stream: int, line: bytes, numbers: Mapping[str, int]) -> LogEntry | None:
    """`TIME DETAILS TEXT`; None for a task that is not known yet."""
    time, _, rest = line.decode("utf-8", "surrogateescape").partition(" ")
    details, _, text = rest.partition(" ")
    task = next((part.removeprefix(_TASK) for part in details.split(",") if part.startswith(_TASK)), "")
    if task and task not in numbers:
        return None
    return LogEntry(service, numbers.get(task, 0), time, _STREAMS.get(stream, "stdout"), text.removesuffix("\r"))


def _stamp(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _as_they_come(sources: list[Iterator[LogEntry]]) -> Iterator[LogEntry]:
    """Several streams at once, each read by a thread of its own, which ends with the process."""
    import threading
    from queue import SimpleQueue

    lines: SimpleQueue[LogEntry | BaseException | None] = SimpleQueue()

    def read(source: Iterator[LogEntry]) -> None:
        try:
            for entry in source:
                lines.put(entry)
        except BaseException as error:  # noqa: BLE001 - handed to the reader
            lines.put(error)
        else:
            lines.put(None)

    for source in sources:
        threading.Thread(target=read, args=(source,), name="logs", daemon=True).start()
    left = len(sources)
    while left:
        item = lines.get()
        if item is None:
            left -= 1
        elif isinstance(item, BaseException):
            raise item
        else:
            yield item

