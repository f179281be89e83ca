"""The caller's stdin, stdout and stderr joined to a process in an engine."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from envkit.backend import terminal
from envkit.backend.engine_api.duplex import STDERR, Duplex

_ROOM = 65536
"""Bytes of stdin that may wait for the process."""


def join(
    connection: Duplex, *, tty: bool, pass_stdin: bool, send: Callable[[int], None] | None = None,
    resize: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Copy until the process's output ends, or nobody reads ours. tty: the caller's terminal is raw meanwhile, and
    follows in size. send: gets the signals that we get."""

    def resized() -> None:
        if resize is not None and (size := terminal.size_of(0) or terminal.size_of(1)):
            resize(*size)

    if tty:
        resized()
        with terminal.raw(0), terminal.signals_to(send or _ignore, resized):
            _Copy(connection, pass_stdin=pass_stdin).run()
    elif send is not None:
        with terminal.signals_to(send):
            _Copy(connection, pass_stdin=pass_stdin).run()
    else:
        _Copy(connection, pass_stdin=pass_stdin).run()


def _ignore(number: int) -> None:
    """On a raw terminal keys are no signals; what else sends one is nobody's business inside."""


class _Copy:
    """One joint's state: keys that wait for the process, and whether stdin may still give some."""

    def __init__(self, connection: Duplex, *, pass_stdin: bool) -> None:
        self._connection = connection
        self._typed = b""
        self._reading = self._open = pass_stdin

    def run(self) -> None:
        while True:
            ready = self._wait()
            if ready.get(0):
                data = os.read(0, _ROOM)
                self._typed += data
                self._reading = bool(data)
            events = ready.get(self._connection.fileno(), 0)
            self._send(events)
            if (self._connection.pending or events & ~select.POLLOUT) and not self._show():
                return

    def _wait(self) -> dict[int, int]:
        poll = select.poll()
        if self._reading and len(self._typed) < _ROOM:
            poll.register(0, select.POLLIN)
        poll.register(self._connection.fileno(), select.POLLIN | (select.POLLOUT if self._typed else 0))
        return dict(poll.poll(0 if self._connection.pending else None))

    def _send(self, events: int) -> None:
        if self._typed and events & select.POLLOUT:
            try:
                self._typed = self._typed[self._connection.try_send(self._typed) :]
            except (BrokenPipeError, ConnectionResetError):
                self._typed, self._reading, self._open = b"", False, False
        if self._open and not self._reading and not self._typed:
            self._open = False
            self._connection.end_input()

    def _show(self) -> bool:
        """One portion of the output; False at its end, or when nobody wants it."""
        try:
            parts = self._connection.receive()
        except ConnectionResetError:
            return False
        if parts is None:
            return False
        return all(terminal.write_all(2 if stream == STDERR else 1, data) for stream, data in parts)
