"""Hand an instance's lines on to syslog or the journal, as its `logging:` says. The log itself stays: `logs` reads it.

One thread per instance, in the supervisor: a server that is slow or away holds up nobody. What has been sent is noted
in the record directory (`forwarded`: nanoseconds of the last line), so that another supervisor goes on from there; no
line is lost, and after a crash the last ones may arrive twice.
"""

from __future__ import annotations

import os
import select
import threading

from envkit.backend.embedded.logfile import Log
from envkit.backend.embedded.record import slurp, spill
from envkit.backend.embedded.sinks import sink_of
from envkit.host.inotify import CREATE, MODIFY, MOVED_TO, ONLYDIR, Inotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from envkit.backend.embedded.logfile import Line
    from envkit.backend.embedded.record import Record
    from envkit.backend.embedded.sinks import Sink

NOTE = "forwarded"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds before a server that did not answer is tried again
_FAREWELL = 2.0  # seconds that the last lines of an instance that goes may take


class Forwarder:
    """Sends one instance's lines until close()."""

    def __init__(self, record: Record, complain: Callable[[str], None]) -> None:
        self.logging = record.spec.get("logging")
        self._record = record
        self._complain = complain
        self._log = Log(record.directory)
        self._inotify = Inotify()
        self._inotify.add(record.directory, MODIFY | CREATE | MOVED_TO | ONLYDIR)
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="envkit-forward")
        self._thread.start()

    def close(self) -> None:
        """Send what is left, as long as that is quick, and end. Returns at once."""
        self._closing = True
        os.eventfd_write(self._end, 1)

    def _run(self) -> None:
        sink = sink_of(self._record)
        try:
            self._send(sink, self._log.backlog(since=self._position()))
            while not self._closing:
                select.select([self._inotify.fileno(), self._end], [], [])
                self._inotify.read()
                self._send(sink, self._log.more())
            self._send(sink, self._log.more())
            self._send(sink, self._log.unfinished())
        finally:
            sink.close()
            self._log.close()
            self._inotify.close()
            os.close(self._end)

    def _position(self) -> int | None:
        data = slurp(self._record.path(NOTE))
        return int(data) + 1 if data and data.isdigit() else None

    def _send(self, sink: Sink, lines: Iterable[Line]) -> None:
        last = 0
        for line in lines:
            if not self._deliver(sink, line):
                return
            last = line.nanoseconds
        if last and os.path.isdir(self._record.directory):
            spill(self._record.path(NOTE), b"%d" % last)

    def _deliver(self, sink: Sink, line: Line) -> bool:
        """Send one line, however long it takes; False when the instance goes meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            try:
                sink.send(line)
            except OSError as error:
                if pause == _FIRST_PAUSE:
                    self._complain(f"{self._record.address}: {sink.address} does not take lines: {error}")
                if self._closing or select.select([self._end], [], [], pause)[0]:
                    return self._last_try(sink, line)
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                return True

    def _last_try(self, sink: Sink, line: Line) -> bool:
        try:
            sink.send(line)
        except OSError:
            self._complain(f"{self._record.address}: lines are lost, {sink.address} does not take them")
            return False
        return True
