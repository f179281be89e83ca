"""Run a program of this machine so that nothing of it outlives envkit, whatever happens to envkit.

The program is in a pid and a mount namespace whose first process gets SIGKILL when its parent dies; the kernel then
ends every process inside and drops every mount made there. Sources: prctl(2) PR_SET_PDEATHSIG, setpriv(1), unshare(1),
pid_namespaces(7).
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event as Flag

from envkit.errors import EnvkitError, HostError
from envkit.host.process import require
from envkit.values import value

LAST_LINES = 20
_POLL = 0.2  # seconds between looks at the cancel flag
_LONGEST = 2000  # characters of a line that are kept


class InterruptedBuildError(EnvkitError):
    """The build was cancelled."""


@value
class Outcome:
    """How it ended. returncode is 128 + N for a signal; last: at most LAST_LINES lines of its output."""

    returncode: int
    last: tuple[str, ...]


Line = Callable[[str], None]


def run(
    argv: Sequence[str], *, environment: Mapping[str, str], directory: str = "/", on_line: Line = lambda line: None,
    cancelled: Flag | None = None,
) -> Outcome:  # fmt: skip
    """Run argv to its end, its output line by line to on_line.

    Raises HostError when it cannot be started, InterruptedBuildError when cancelled was set; it is dead then.
    """
    wrapped = [
        require("setpriv"), "--pdeathsig", "KILL", "--", require("unshare"), "--mount", "--propagation", "private",
        "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv,
    ]  # fmt: skip
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        process = subprocess.Popen(
            wrapped, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(environment),
            cwd=directory, process_group=0, umask=0o022,
        )  # fmt: skip
    except OSError as error:
        raise HostError("a build's command cannot be started", str(error), command=argv) from error
    with process:
        try:
            _follow(process, last, on_line, cancelled)
            code = process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Outcome(code if code >= 0 else 128 - code, tuple(last))


def _follow(process: subprocess.Popen[bytes], last: deque[str], on_line: Line, cancelled: Flag | None) -> None:
    """Hand on the output until its end."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if cancelled is not None and cancelled.is_set():
                raise InterruptedBuildError("the build was cancelled")
            if not selector.select(_POLL):
                continue
            data = os.read(descriptor, 1 << 16)
            *lines, rest = (rest + data.replace(b"\r", b"\n")).split(b"\n")
            if not data and rest:
                lines, rest = [rest], b""
            for line in lines:
                if text := line.decode(errors="replace").rstrip():
                    last.append(text[:_LONGEST])
                    on_line(text)
            if not data:
                return
            rest = rest[: 1 << 20]
