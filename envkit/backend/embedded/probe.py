"""One run of a health check inside its container, by `crun exec -p`: as the service's user, in its cgroup and seccomp.

A probe that does not end in time takes everything it has started with it. conmon plays no part.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from envkit.backend.embedded.health import OUTPUT_LIMIT
from envkit.backend.embedded.loop import Loop
from envkit.backend.embedded.pidfile import PidFile
from envkit.backend.embedded.runtime import Runtime
from envkit.lean import json

TIMED_OUT = -1
Done = Callable[[float, float, int, str], None]


class Probe:
    """Started by its making; done(start, end, exit code, output) is called once, with TIMED_OUT after a timeout.

    process: the `process` of config.json; argv replaces its args.
    """

    def __init__(
        self, loop: Loop, runtime: Runtime, container: str, process: Mapping[str, Any], argv: Sequence[str],
        timeout: float, done: Done,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._done = done
        self._timeout = timeout
        self._start = loop.now()
        self._output = b""
        self._late = False
        body = os.memfd_create("process")
        self._pid_file = PidFile(runtime)
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writer, True)
        try:
            os.write(body, json.dumps({**process, "args": list(argv), "terminal": False}).encode())
            command = runtime.command(
                "exec", "--process", f"/proc/self/fd/{body}", "--pid-file", self._pid_file.path, container
            )
            files = (body, self._pid_file.descriptor)
            self._runtime_pid = loop.spawn(command, self._ended, output=writer, inherit=files)
        finally:
            os.close(body)
            os.close(writer)
        loop.watch(self._reader, self._read)
        self._timer = loop.after(timeout, self.kill)

    def kill(self) -> None:
        """End it now, with all it has started; done() follows as after a timeout."""
        self._late = True
        if pid := self._pid_file.read():
            end_session(pid)
        with suppress(ProcessLookupError):
            os.kill(self._runtime_pid, signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._reader, 65536)
        except BlockingIOError:
            return
        self._output = (self._output + data)[:OUTPUT_LIMIT]
        if not data:
            self._loop.unwatch(self._reader)

    def _ended(self, code: int) -> None:
        self._timer.cancel()
        self._read()
        self._loop.unwatch(self._reader)
        os.close(self._reader)
        self._pid_file.close()
        text = self._output.decode(errors="replace")
        if self._late:
            code, text = TIMED_OUT, f"the check did not end within {self._timeout:g} s\n{text}"
        self._done(self._start, self._loop.now(), code, text)


def end_session(leader: int) -> None:
    """SIGKILL to a session (leader: its first process, in this pid namespace's count) and to all descendants of it,
    those that made sessions of their own included."""
    rows = _processes()
    doomed = {pid for pid, (_, session) in rows.items() if session == leader} | {leader}
    grown = True
    while grown:
        children = {pid for pid, (parent, _) in rows.items() if parent in doomed} - doomed
        doomed |= children
        grown = bool(children)
    for pid in doomed & rows.keys():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_strays(runtime: Runtime, containers: Collection[str]) -> None:
    """End the probes of these containers that a supervisor which was killed has left behind."""
    rows = _processes()
    head = [runtime.path.encode(), *(option.encode() for option in runtime.options), b"exec", b"--process"]
    for pid in rows:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().rstrip(b"\0").split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[: len(head)] == head and words[-1].decode() in containers:
            for child in [other for other, (parent, _) in rows.items() if parent == pid]:
                end_session(child)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> dict[int, tuple[int, int]]:
    """pid -> (parent, session) of everything that lives. proc(5), /proc/PID/stat."""
    rows: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                data = file.read()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = data[data.rindex(b")") + 2 :].split()
        rows[int(name)] = (int(fields[1]), int(fields[3]))
    return rows
