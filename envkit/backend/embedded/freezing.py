"""Instances held still while something is read: frozen by their control groups, and let go whatever happens.

A small process waits beside the one that works: when that one ends without a word (kill -9 included), it lets them go.
"""

from __future__ import annotations

import os
import signal

from envkit.backend.embedded import control
from envkit.backend.embedded import record as records
from envkit.backend.embedded.status import status
from envkit.errors import ConflictError
from envkit.host.steps import step
from envkit.lean import contextmanager
from envkit.observed.state import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envkit.backend.embedded.record import Record

_DEAF = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


@contextmanager
def frozen(rows: Sequence[Record]) -> Iterator[list[Record]]:
    """Those of the instances that were running, which stand still until the context ends.

    Raises ConflictError at the end when somebody has let one go meanwhile; UnsupportedError where none can be frozen.
    """
    wanted = [record for record in rows if status(record).state is InstanceState.RUNNING]
    if not wanted:
        yield []
        return
    done = _watched(wanted)
    try:
        for record in wanted:
            step("freeze")
            control.pause(record)
        step("frozen")
        yield wanted
        for record in wanted:
            if status(record).state is InstanceState.RUNNING:
                raise ConflictError(
                    "An instance was let go while it had to stand still", str(record.address),
                    "try again, and unpause nothing meanwhile",
                )  # fmt: skip
    finally:
        try:
            _let_go(wanted)
        finally:
            done()


def _watched(rows: Sequence[Record]) -> _Done:
    """Start the process that lets the instances go if this one ends without calling what is returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(reader)
        return _Done(child, writer)
    code = 1
    try:
        os.close(writer)
        os.setsid()  # a Ctrl-C at the terminal is for the one that works
        for number in _DEAF:
            signal.signal(number, signal.SIG_IGN)
        if not os.read(reader, 1):
            _let_go(rows)
        code = 0
    finally:
        os._exit(code)


class _Done:
    """Tells the watcher that all is well, once."""

    def __init__(self, child: int, writer: int) -> None:
        self._child, self._writer = child, writer

    def __call__(self) -> None:
        os.write(self._writer, b".")
        os.close(self._writer)
        os.waitpid(self._child, 0)


def _let_go(rows: Sequence[Record]) -> None:
    """All of them, also when one cannot be."""
    failure: Exception | None = None
    for record in rows:
        try:
            if (now := records.load(record.home, record.directory)) is not None and now.id == record.id:
                control.unpause(now)
        except Exception as error:  # noqa: BLE001  (raised below, once the others are free)
            failure = error
    if failure is not None:
        raise failure
