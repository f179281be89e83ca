"""`logs`: the lines of several instances in the order of time, and what they write from now on.

An instance is followed through rotations, restarts and its own replacement; new instances join by themselves.
"""

from __future__ import annotations

import heapq
import os
import re
import select
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from envkit.backend.embedded.logfile import Line, Log
from envkit.errors import NotFoundError

if TYPE_CHECKING:
    from envkit.backend.base import LogEntry, LogQuery
    from envkit.host.home import Home
    from envkit.host.inotify import Inotify

_KEY = re.compile(r"(?P<service>.+)\.(?P<replica>[0-9]+)(\.b)?")
_ROUND = 4096  # lines of one instance before the others have their turn
_GRACE = 3.0  # seconds without any instance until following ends: a replacement may be on its way


class _Source:
    """One instance's log and whose it is."""

    def __init__(self, directory: str, service: str, replica: int) -> None:
        self.log = Log(directory)
        self.service = service
        self.replica = replica
        self.watch: int | None = None
        self._more: Iterator[Line] | None = None

    def entry(self, line: Line) -> LogEntry:
        from envkit.backend.base import LogEntry

        text = line.text[:-1] if line.text.endswith(b"\r") else line.text  # a terminal ends its lines with CR LF
        return LogEntry(self.service, self.replica, line.time, line.stream, text.decode(errors="replace"))

    def take(self) -> tuple[list[Line], bool]:
        """Some of the new lines; whether there may be more."""
        if self._more is None:
            self._more = self.log.more()
        lines = list(islice(self._more, _ROUND))
        if len(lines) < _ROUND:
            self._more = None
        return lines, self._more is not None


def logs(home: Home, environment: str, query: LogQuery) -> Iterator[LogEntry]:
    """The lines that query asks for. Raises NotFoundError when a named service has no instance (unless followed)."""
    since = None if query.since is None else int(query.since * 1e9)
    until = None if query.until is None else int(query.until * 1e9)
    base = home.instances(environment)
    sources = {name: source for name in _keys(base) if (source := _source(base, name, query))}
    missing = set(query.services) - {source.service for source in sources.values()}
    if missing and not query.follow:
        raise NotFoundError(
            "A service has no instance here", ", ".join(sorted(missing)), "`envkit ps` lists what there is"
        )
    if query.follow:
        from envkit.host.inotify import Inotify

        with Inotify() as inotify:
            follower = _Follower(base, query, sources, inotify, since, until)
            follower.watch_all()
            yield from _backlog(sources, query.tail, since, until)
            yield from follower.run()
        return
    yield from _backlog(sources, query.tail, since, until, finish=True)


def last_lines(directory: str, count: int) -> list[str]:
    """The last lines of one record directory's log, for the report of a failure."""
    log = Log(directory)
    try:
        lines = [*log.backlog(count), *log.unfinished()]
    finally:
        log.close()
    return [line.text.decode(errors="replace").rstrip("\r") for line in lines[-count:]]


def _keys(base: str) -> list[str]:
    try:
        return sorted(os.listdir(base))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _source(base: str, name: str, query: LogQuery) -> _Source | None:
    match = _KEY.fullmatch(name)
    if not match or (query.services and match["service"] not in query.services):
        return None
    replica = int(match["replica"])
    if query.replica is not None and replica != query.replica:
        return None
    return _Source(f"{base}/{name}", match["service"], replica)


def _backlog(
    sources: dict[str, _Source], tail: int | None, since: int | None, until: int | None, *, finish: bool = False
) -> Iterator[LogEntry]:
    def lines(source: _Source) -> Iterator[tuple[int, int, Line, _Source]]:
        for line in source.log.backlog(tail, since, until):
            yield line.nanoseconds, id(source), line, source
        for line in source.log.unfinished() if finish else ():
            if (since is None or line.nanoseconds >= since) and (until is None or line.nanoseconds <= until):
                yield line.nanoseconds, id(source), line, source

    for _, _, line, source in heapq.merge(*(lines(source) for source in sources.values())):
        yield source.entry(line)
    if finish:
        for source in sources.values():
            source.log.close()


class _Follower:
    """The part of `logs` that waits."""

    def __init__(
        self, base: str, query: LogQuery, sources: dict[str, _Source], inotify: Inotify, since: int | None,
        until: int | None,
    ) -> None:  # fmt: skip
        self.base = base
        self.query = query
        self.sources = sources
        self.inotify = inotify
        self.since = since
        self.until = until
        self._base_watch: int | None = None
        self._left: list[_Source] = []  # whose directories are gone; their last lines can still be read

    def watch_all(self) -> None:
        from envkit.host import inotify

        mask = inotify.CREATE | inotify.MOVED_TO | inotify.DELETE | inotify.MOVED_FROM | inotify.DELETE_SELF
        self._base_watch = self.inotify.add(self.base, mask | inotify.ONLYDIR)
        for source in self.sources.values():
            self._watch(source)

    def _watch(self, source: _Source) -> None:
        from envkit.host import inotify

        mask = inotify.MODIFY | inotify.CREATE | inotify.MOVED_TO | inotify.DELETE
        source.watch = self.inotify.add(source.log.directory, mask | inotify.ONLYDIR)

    def run(self) -> Iterator[LogEntry]:
        poll = select.poll()
        poll.register(self.inotify.fileno(), select.POLLIN)
        ready = set(self.sources)
        alone_since = 0.0
        while True:
            batch: list[tuple[Line, _Source]] = []
            again: set[str] = set()
            for name in ready & self.sources.keys():
                lines, more = self.sources[name].take()
                batch += [(line, self.sources[name]) for line in lines]
                if more:
                    again.add(name)
            batch += self._last_words()
            for line, source in sorted(batch, key=lambda item: item[0].nanoseconds):
                if (self.since is None or line.nanoseconds >= self.since) and (
                    self.until is None or line.nanoseconds <= self.until
                ):
                    yield source.entry(line)
            ready = again
            if self._is_over():
                return
            alone_since = 0.0 if self.sources else alone_since or time.monotonic()
            if alone_since and time.monotonic() - alone_since > _GRACE:
                return
            if poll.poll(0 if ready else self._timeout_ms()):
                ready |= self._changed()
            for name in ready & self.sources.keys():
                self.sources[name].log.hold()

    def _timeout_ms(self) -> int | None:
        waits = [1.0] if not self.sources or any(item.log.waits for item in self.sources.values()) else []
        if self.until is not None:
            waits.append(max(0.0, self.until / 1e9 - time.time()) + 0.05)
        return int(min(waits) * 1000) + 1 if waits else None

    def _is_over(self) -> bool:
        return self.until is not None and time.time() > self.until / 1e9

    def _changed(self) -> set[str]:
        """The names of the record directories where something happened; takes in new ones, lets go of removed ones."""
        from envkit.host import inotify

        notices = self.inotify.read()
        watches = {notice.watch for notice in notices}
        lost = any(notice.mask & inotify.OVERFLOW for notice in notices)
        changed = {name for name, source in self.sources.items() if lost or source.watch in watches}
        if lost or self._base_watch in watches or self._base_watch is None:
            present = _keys(self.base)
            for name in present:
                source = self.sources.get(name) or _source(self.base, name, self.query)
                if source is not None:
                    self.sources[name] = source
                    self._watch(source)  # a directory of the same name may be a new one
                    changed.add(name)
            self._left += [self.sources.pop(name) for name in self.sources.keys() - set(present)]
        return changed

    def _last_words(self) -> list[tuple[Line, _Source]]:
        """What the removed ones wrote in the end, and the unfinished last lines of those whose conmon has ended."""
        from envkit.host.proc import is_alive

        found: list[tuple[Line, _Source]] = []
        while self._left:
            source = self._left.pop()
            found += [(line, source) for line in [*source.log.more(), *source.log.unfinished()]]
            source.log.close()
        for source in self.sources.values():
            if source.log.waits and not is_alive(_pid(f"{source.log.directory}/conmon.pid")):
                found += [(line, source) for line in [*source.log.more(), *source.log.unfinished()]]
        return found


def _pid(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return int(file.read() or 0)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
