"""`exec`: a further process in a running instance, by `crun exec -p`, with its own user, directory and variables.

`crun exec ID ARGV` would run as root in `/` whatever the service says, so the whole `process` is written out. Nothing
of it touches the disk: process, pid and the runtime's messages are in memory files that go with the last descriptor.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from envkit.backend.embedded import events, instance
from envkit.backend.embedded import record as records
from envkit.backend.embedded.pidfile import PidFile
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.runtime import Runtime, runtime_of
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.observed.state import InstanceState

if TYPE_CHECKING:
    from envkit.address import Address
    from envkit.backend.base import ExecRequest
    from envkit.host.home import Home

NOT_FOUND, NOT_EXECUTABLE = 127, 126


def exec_in(home: Home, environment: str, request: ExecRequest) -> int:
    """Run the request with the caller's stdin, stdout and stderr; returns the exit code (128 + N after signal N).

    127: there is no such program, 126: it cannot be run; the runtime's message is on stderr then. Raises NotFoundError
    without an instance, ConflictError when it is not running.
    """
    record = running(home, environment, request.address)
    runtime = runtime_of(home)
    status = instance.status(record)
    process = adapted(process_of(record), request, f"/proc/{status.pid}/root")
    directory = home.environment(environment)
    events.record(directory, str(record.address), "exec", os.path.basename(request.argv[0]))
    if request.tty and not request.detach:
        from envkit.backend.embedded.exec_terminal import execute_on_terminal

        return execute_on_terminal(record, runtime, process, pass_stdin=request.stdin)
    return run_process(record, runtime, process, stdin=request.stdin and not request.detach, detach=request.detach)


def running(home: Home, environment: str, address: Address) -> Record:
    """The record of an instance that runs. Raises NotFoundError, ConflictError."""
    record = records.find(home, environment, address)
    if record is None:
        raise NotFoundError("There is no such instance", str(address), "`envkit ps` lists what there is")
    state = instance.status(record).state
    if state is InstanceState.PAUSED:
        raise ConflictError("The instance is paused", str(address), "`envkit unpause` it first")
    if state is not InstanceState.RUNNING:
        raise ConflictError("The instance is not running", f"{address} is {state}", "`envkit start` it first")
    return record


def process_of(record: Record) -> dict[str, Any]:
    """The `process` of an instance's config.json."""
    with open(record.path("config.json"), "rb") as file:
        process: dict[str, Any] = json.loads(file.read())["process"]
    return process


def adapted(process: Mapping[str, Any], request: ExecRequest, root: str) -> dict[str, Any]:
    """The service's process with what the request says. root: the container's root, where users are looked up.

    Raises NotFoundError for a user that the container does not have.
    """
    from envkit.backend.embedded.capabilities import capability_set, process_capabilities
    from envkit.backend.embedded.machine import bounding_mask

    result = {**process, "args": list(request.argv), "terminal": request.tty and not request.detach}
    variables = dict(item.partition("=")[::2] for item in process["env"])
    if request.tty:
        variables.setdefault("TERM", os.environ.get("TERM") or "xterm")
    uid = process["user"]["uid"]
    if request.user:
        user = _user(request.user, root)
        uid = user.uid
        result["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
        variables["HOME"] = user.home
    if request.privileged:
        everything = capability_set(privileged=True, available=bounding_mask())
        result["capabilities"] = process_capabilities(everything, 0)
        result["noNewPrivileges"] = False
        result.pop("apparmorProfile", None)
    elif request.user:
        bounding = tuple((process.get("capabilities") or {}).get("bounding") or ())
        result["capabilities"] = process_capabilities(bounding, uid)
    variables.update(request.environment)
    result["env"] = [f"{name}={value}" for name, value in variables.items()]
    if request.working_dir:
        result["cwd"] = os.path.join(process["cwd"], request.working_dir)
    return result


def _user(name: str, root: str) -> Any:
    from envkit.backend.embedded.users import resolve
    from envkit.host.beneath import read_beneath

    passwd, group = (read_beneath(root, f"etc/{kind}") or b"" for kind in ("passwd", "group"))
    return resolve(name, passwd.decode(errors="replace"), group.decode(errors="replace"))


class Exec:
    """The runtime's command for one process: its memory files and its argv. A context manager."""

    def __init__(self, record: Record, runtime: Runtime, process: Mapping[str, Any], *options: str) -> None:
        self._files = [os.memfd_create(name) for name in ("process", "messages")]
        self._pid = PidFile(runtime)
        body, messages = self._files
        os.write(body, json.dumps(process).encode())
        self.argv = [
            runtime.path, *runtime.options, f"--log=/proc/self/fd/{messages}", "exec", *options, "--process",
            f"/proc/self/fd/{body}", "--pid-file", self._pid.path, record.id,
        ]  # fmt: skip

    def spawn(self, stdin: int | None = None, inherit: Sequence[int] = ()) -> int:
        """Start it; its pid. stdin None: /dev/null. It is a process group of its own: Ctrl-C at our terminal is for
        the process inside, and must not end the runtime alone."""
        actions: list[tuple[Any, ...]] = []
        if stdin is None:
            actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
        elif stdin != 0:
            actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
        files = [*self.files, *inherit]
        for descriptor in files:
            os.set_inheritable(descriptor, True)
        try:
            return os.posix_spawn(self.argv[0], self.argv, os.environ, file_actions=actions, setpgroup=0)
        finally:
            for descriptor in files:
                os.set_inheritable(descriptor, False)

    @property
    def files(self) -> tuple[int, ...]:
        """The descriptors that whoever runs argv must inherit."""
        return (*self._files, self._pid.descriptor)

    @property
    def pid(self) -> int:
        """Of the process inside, in our count; 0 as long as it has not begun."""
        return self._pid.read()

    def send(self, number: int) -> None:
        """A signal to the process inside."""
        if pid := self.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def exit_code(self, code: int) -> int:
        """What the caller is told for the runtime's own exit code: negative is a signal."""
        if code < 0:
            return 128 - code
        if code and not self.pid:
            message = os.pread(self._files[1], 4096, 0)
            missing = b"not found" in message or b"No such file" in message
            return NOT_FOUND if missing else NOT_EXECUTABLE
        return code

    def __enter__(self) -> Exec:
        return self

    def __exit__(self, *_: object) -> None:
        self._pid.close()
        for descriptor in self._files:
            os.close(descriptor)


def run_process(
    record: Record, runtime: Runtime, process: Mapping[str, Any], *, stdin: bool, detach: bool = False,
    timeout: float | None = None,
) -> int:  # fmt: skip
    """Run a process with our own stdio and wait for it; signals that we get are handed on. timeout in seconds: then it
    is killed with its whole session, and EnvkitError raised."""
    from envkit.backend.terminal import signals_to

    with Exec(record, runtime, process, *(["--detach"] if detach else [])) as command:
        runtime_pid = command.spawn(0 if stdin else None)
        pidfd = os.pidfd_open(runtime_pid)
        try:
            with signals_to(command.send):
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    _abort(command, runtime_pid)
                    raise EnvkitError("The command did not end in time", f"{record.address}: after {timeout:g} s")
                _, status = os.waitpid(runtime_pid, 0)
        finally:
            os.close(pidfd)
        return command.exit_code(os.waitstatus_to_exitcode(status))


def _abort(command: Exec, runtime_pid: int) -> None:
    from envkit.backend.embedded.probe import end_session

    if pid := command.pid:
        end_session(pid)
    with suppress(ProcessLookupError):
        os.kill(runtime_pid, signal.SIGKILL)
    os.waitpid(runtime_pid, 0)
