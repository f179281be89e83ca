"""Create a container under a conmon of its own, which keeps its output and its exit code.

Protocol: conmon 2.1, `_OCI_SYNCPIPE`: one JSON line {"data": PID} or {"data": -1, "message": TEXT}; the process we
start ends with 0 in both cases. Its working directory is the record directory, since it drops files where it stands.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import suppress

from envkit.backend.embedded.record import Record
from envkit.backend.embedded.runtime import Runtime
from envkit.errors import HostError
from envkit.host.process import require
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CREATE_TIMEOUT = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def arguments(record: Record, runtime: Runtime) -> list[str]:
    """conmon's argv. `log_driver` "none" keeps no output; everything else is written as k8s-file."""
    log = f"k8s-file:{record.path('log')}" if record.log_driver != "none" else "none"
    words = [
        require("conmon"), "--api-version", "1", "-c", record.id, "-u", record.id, "-n", record.name,
        "-b", record.directory, "-r", runtime.path, "-p", record.path("pid"), "-P", record.path("conmon.pid"),
        "-l", log, "--exit-dir", record.path("exits"), "--persist-dir", record.path("persist"), "--full-attach",
    ]  # fmt: skip
    for option in runtime.options:
        words += ["--runtime-arg", option]
    if record.stdin_open:
        words += ["-i"] if record.oneoff else ["-i", "--leave-stdin-open"]
    if record.tty:
        words.append("-t")
    return words


def create(record: Record, runtime: Runtime) -> int:
    """Create the container of a record whose bundle is written; returns the pid of its init, which waits to be started.

    Raises HostError with the runtime's own words.
    """
    for directory in (record.path("exits"), record.path("persist"), runtime.root):
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
    argv = arguments(record, runtime)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            argv, cwd=record.directory, env={"PATH": _PATH, "_OCI_SYNCPIPE": str(writer)}, pass_fds=(writer,),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writer)
        writer = -1
        answer = _read_answer(reader, argv)
        process.wait()
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    pid = int(answer.get("data", -1))
    if pid <= 0:
        message = str(answer.get("message", "")).strip() or "conmon gave no reason"
        raise HostError("The container cannot be created", message, _hint(message), command=argv, returncode=1)
    return pid


def _read_answer(reader: int, argv: list[str]) -> dict[str, Any]:
    data, deadline = b"", time.monotonic() + CREATE_TIMEOUT
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    while b"\n" not in data:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise HostError("conmon did not answer", f"nothing within {CREATE_TIMEOUT:g} s", command=argv, returncode=1)
        chunk = os.read(reader, 65536)
        if not chunk:
            break
        data += chunk
    try:
        answer = json.loads(data)
    except ValueError as error:
        said = data.decode(errors="replace") or "it ended without a word"
        raise HostError("conmon did not answer", said, command=argv, returncode=1) from error
    return answer if isinstance(answer, dict) else {}


def _hint(message: str) -> str:
    if "executable file" in message or "No such file" in message:
        return "check `command:` and `entrypoint:`; `envkit run` shows what the image has"
    if "Permission denied" in message or "permission denied" in message:
        return "is the file executable for the service's `user:`?"
    if "Read-only file system" in message:
        return "the root is read-only: mount a volume or a tmpfs there"
    return ""
