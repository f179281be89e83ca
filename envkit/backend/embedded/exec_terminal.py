"""A process in an instance with a terminal of its own that is joined to the caller's.

The runtime makes the terminal inside and hands over its master side through a socket (crun exec --console-socket).
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from envkit.backend import terminal
from envkit.backend.embedded.exec import Exec
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.runtime import Runtime


def execute_on_terminal(
    record: Record, runtime: Runtime, process: Mapping[str, Any], *, pass_stdin: bool = True
) -> int:
    """Run it with stdin and stdout joined to its terminal; returns the exit code. The caller's terminal is raw
    meanwhile, follows in size, and is restored in any case."""
    size = terminal.size_of(0) or terminal.size_of(1)
    if size:
        process = {**process, "consoleSize": {"height": size[0], "width": size[1]}}
    directory = os.open(record.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    name = f"/proc/self/fd/{directory}/console-{os.urandom(4).hex()}"  # short enough for sun_path, wherever we are
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(name)
            listener.listen(1)
            with Exec(record, runtime, process, "--tty", f"--console-socket={name}") as command:
                runtime_pid = command.spawn(None, inherit=(directory,))
                pidfd = os.pidfd_open(runtime_pid)
                try:
                    master = _receive(listener, pidfd)
                    if master is not None:
                        _join(command, master, pidfd, pass_stdin=pass_stdin)
                    _, status = os.waitpid(runtime_pid, 0)
                finally:
                    os.close(pidfd)
                return command.exit_code(os.waitstatus_to_exitcode(status))
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
        os.close(directory)


def _receive(listener: socket.socket, pidfd: int) -> int | None:
    """The terminal's master side; None when the runtime has failed before it made one."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll()}
    if listener.fileno() not in ready:
        return None
    connection, _ = listener.accept()
    with connection:
        _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    return descriptors[0] if descriptors else None


def _join(command: Exec, master: int, pidfd: int, *, pass_stdin: bool) -> None:
    """Copy both ways until the process has ended and all it wrote is out."""

    def resized() -> None:
        if size := terminal.size_of(0) or terminal.size_of(1):
            terminal.set_size(master, *size)

    os.set_blocking(master, False)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    typed = b""  # keys that the terminal has had no room for yet
    reading = {master, 0} if pass_stdin else {master}
    resized()
    try:
        with terminal.raw(0), terminal.signals_to(command.send, resized):
            ended = False
            while not ended:
                for descriptor in (master, 0):
                    wanted = select.POLLIN if descriptor in reading and not (typed and descriptor == 0) else 0
                    wanted |= select.POLLOUT if typed and descriptor == master and master in reading else 0
                    with suppress(KeyError):
                        poll.unregister(descriptor)
                    if wanted:
                        poll.register(descriptor, wanted)
                ready = dict(poll.poll())
                if 0 in ready:
                    typed = terminal.read_some(0) or b""
                    reading -= set() if typed else {0}
                if master in ready and ready[master] & ~select.POLLOUT and not _show(master):
                    reading.discard(master)
                if typed:
                    typed = _type(master, typed)
                ended = pidfd in ready
            while _show(master, until_empty=True):
                continue
    finally:
        os.close(master)


def _show(master: int, *, until_empty: bool = False) -> bool:
    """One portion of the output; False at its end, when nobody wants it, or (until_empty) when nothing is there."""
    data = terminal.read_some(master)
    if data is None:
        return not until_empty
    return bool(data) and terminal.write_all(1, data)


def _type(master: int, data: bytes) -> bytes:
    """Keys for the process; returns those that must wait until it has read some."""
    try:
        return data[os.write(master, data) :]
    except BlockingIOError:
        return data
    except OSError:  # EIO: nobody has the terminal open any more
        return b""
