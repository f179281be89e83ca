"""Be the other side of a container's own stdio: a client of conmon's attach socket.

Protocol (conmon 2.1, --full-attach): SOCK_SEQPACKET; packets to us begin with a byte, 2 for stdout (everything with a
terminal) or 3 for stderr; what we send is input, shutdown is its end. EOF: the container has ended.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import nullcontext, suppress

from envkit.backend import terminal
from envkit.backend.embedded.record import Record

_PACKET = 8193
_INPUT = 8192
DETACH = b"\x10\x11"  # Ctrl-P Ctrl-Q, as in Docker


class Attachment:
    """A connection, to be made between create and start so that no output is missed. A context manager."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        directory = os.open(record.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.connect(f"/proc/self/fd/{directory}/attach")  # a whole path may be longer than sun_path
        finally:
            os.close(directory)

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        size = terminal.size_of(0) or terminal.size_of(1)
        if not size or not self.record.tty:
            return
        with suppress(OSError):  # ENXIO, ENOENT: conmon has just ended
            control = os.open(self.record.path("ctl"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(control, b"1 %d %d\n" % size)
            finally:
                os.close(control)

    def join(self, send: Callable[[int], None] | None, *, pass_stdin: bool, detach: bytes = DETACH) -> bool:
        """Copy until the container has ended (True) or the user has typed the detach keys at a terminal (False).

        send: for the signals that we get (None: they are ours); with a terminal, keys like Ctrl-C travel as keys.
        """
        forwarding = nullcontext() if send is None else terminal.signals_to(send, self.resize)
        with forwarding, terminal.raw(0 if self.record.tty and pass_stdin else -1):
            self.resize()
            return self._copy(pass_stdin=pass_stdin, detach=detach)

    def _copy(self, *, pass_stdin: bool, detach: bytes) -> bool:
        """What is typed waits in `pending` as long as the container does not read it, and its output goes on."""
        poll = select.poll()
        connection = self._socket.fileno()
        pending, last, open_input = b"", b"", pass_stdin
        wanted = {1, 2}
        while True:
            poll.register(connection, select.POLLIN | (select.POLLOUT if pending else 0))
            if open_input and not pending:
                poll.register(0, select.POLLIN)
            ready = dict(poll.poll())
            if open_input and not pending:
                poll.unregister(0)
            if ready.get(connection, 0) & ~select.POLLOUT:
                packet = self._receive()
                if not packet:
                    return True
                target = 2 if packet[0] == 3 else 1
                if target in wanted and not terminal.write_all(target, packet[1:]):
                    wanted.discard(target)  # our reader has gone; the container need not suffer
            if 0 in ready:
                data = terminal.read_some(0)
                if data == b"":
                    open_input = False
                    self._end_of_input()
                elif data:
                    if self.record.tty and detach in last + data:
                        return False
                    pending, last = data, (last + data)[1 - len(detach) :] if len(detach) > 1 else b""
            if pending:
                pending = self._send(pending)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_PACKET)
        except ConnectionResetError:
            return b""

    def _send(self, data: bytes) -> bytes:
        """Send what there is room for; returns the rest."""
        while data:
            try:
                self._socket.send(data[:_INPUT], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return data
            except (BrokenPipeError, ConnectionResetError):
                return b""
            data = data[_INPUT:]
        return b""

    def _end_of_input(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
