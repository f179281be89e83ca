"""What is done inside a running instance: exec, attach, files in and out."""

from __future__ import annotations

import os
import posixpath
import signal as signals
import time
from collections.abc import Iterator, Mapping, Sequence

from envkit.address import Address
from envkit.backend import terminal
from envkit.backend.base import ExecRequest
from envkit.backend.docker import facts, hooks, look, stdio
from envkit.backend.engine_api import Engine, EngineError, EngineNotFoundError
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.observed.state import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SETTLE = 2.0
"""Seconds for a container to be seen ended after its output has."""


def instance(engine: Engine, environment: str, address: Address) -> Mapping[str, Any]:
    """The inspection of an instance. Raises NotFoundError."""
    present, _ = look.instances(look.containers(engine, environment))
    found = present.get(address)
    if found is None:
        raise NotFoundError("There is no such instance", str(address), "`envkit ps` lists what there is")
    return found


def running(engine: Engine, environment: str, address: Address) -> Mapping[str, Any]:
    """The same for one that runs. Raises ConflictError as well."""
    found = instance(engine, environment, address)
    state = facts.state_of(str(found["State"]["Status"]))
    if state is InstanceState.PAUSED:
        raise ConflictError("The instance is paused", str(address), "`envkit unpause` it first")
    if state is not InstanceState.RUNNING:
        raise ConflictError("The instance is not running", f"{address} is {state}", "`envkit start` it first")
    return found


def exec_in(engine: Engine, environment: str, request: ExecRequest) -> int:
    """See backend.base.Backend.exec."""
    found = running(engine, environment, request.address)
    tty = request.tty and not request.detach
    variables = dict(request.environment)
    if tty:
        variables.setdefault("TERM", os.environ.get("TERM") or "xterm")
    made = engine.post(f"/containers/{found['Id']}/exec", {
        "AttachStdin": request.stdin and not request.detach, "AttachStdout": not request.detach,
        "AttachStderr": not request.detach, "Tty": tty, "Cmd": list(request.argv), "User": request.user,
        "WorkingDir": _directory(found, request.working_dir), "Privileged": request.privileged,
        "Env": [f"{name}={value}" for name, value in variables.items()],
    })  # fmt: skip
    path = f"/exec/{made['Id']}"
    if request.detach:
        engine.post(f"{path}/start", {"Detach": True, "Tty": False})
        return 0
    try:
        with engine.hijack(f"{path}/start", {"Detach": False, "Tty": tty}, multiplexed=not tty) as connection:
            stdio.join(
                connection, tty=tty, pass_stdin=request.stdin, resize=lambda rows, columns: _resize(
                    engine, path, rows, columns
                ),
            )  # fmt: skip
    except EngineError as error:
        raise EnvkitError("The engine does not run a command", f"{request.address}: {error.message}") from error
    return _exec_code(engine, path)


def _directory(found: Mapping[str, Any], wanted: str) -> str:
    """A relative directory is below the container's own."""
    return os.path.join((found.get("Config") or {}).get("WorkingDir") or "/", wanted) if wanted else ""


def _resize(engine: Engine, path: str, rows: int, columns: int) -> None:
    try:
        engine.post(f"{path}/resize", h=rows, w=columns)
    except EngineError:
        return  # the process has ended, or has not begun


def _exec_code(engine: Engine, path: str) -> int:
    deadline = time.monotonic() + _SETTLE
    while True:
        found = engine.get(f"{path}/json")
        if not found.get("Running") or time.monotonic() > deadline:
            return int(found.get("ExitCode") or 0)
        time.sleep(0.02)


def attach(
    engine: Engine, environment: str, address: Address, *, stdin: bool, forward_signals: bool, detach_keys: str
) -> int:
    """See backend.base.Backend.attach."""
    if detach_keys:
        terminal.parse_keys(detach_keys)
    found = running(engine, environment, address)
    config: Mapping[str, Any] = found.get("Config") or {}
    connection = attached(engine, str(found["Id"]), config, stdin=stdin, keys=detach_keys)
    with connection:
        follow(
            engine, str(found["Id"]), connection, tty=bool(config.get("Tty")),
            pass_stdin=stdin and bool(config.get("OpenStdin")), forward=forward_signals,
        )  # fmt: skip
    return exit_code(engine, str(found["Id"]))


def attached(
    engine: Engine, identity: str, config: Mapping[str, Any], *, stdin: bool, keys: str = ""
) -> Any:
    """A connection to the container's own stdio."""
    return engine.hijack(
        f"/containers/{identity}/attach", multiplexed=not config.get("Tty"), stream=True, stdout=True, stderr=True,
        stdin=stdin and bool(config.get("OpenStdin")), detachKeys=keys or None,
    )  # fmt: skip


def follow(
    engine: Engine, identity: str, connection: Any, *, tty: bool, pass_stdin: bool, forward: bool
) -> None:
    """Copy both ways until the container ends or is left. forward: signals that we get go to it; the second interrupt
    kills."""
    interrupts = 0

    def send(number: int) -> None:
        nonlocal interrupts
        interrupts += number in (signals.SIGINT, signals.SIGTERM)
        name = signals.Signals(signals.SIGKILL if interrupts > 1 else number).name
        try:
            engine.post(f"/containers/{identity}/kill", signal=name)
        except EngineError:
            return  # it has ended

    stdio.join(
        connection, tty=tty, pass_stdin=pass_stdin, send=send if forward else None,
        resize=lambda rows, columns: _resize(engine, f"/containers/{identity}", rows, columns),
    )  # fmt: skip


def exit_code(engine: Engine, identity: str) -> int:
    """Of a container whose output has ended; 0 for one that goes on (it was left)."""
    deadline = time.monotonic() + _SETTLE
    while True:
        state = engine.get(f"/containers/{identity}/json")["State"]
        if facts.state_of(str(state["Status"])) is InstanceState.EXITED:
            return int(state.get("ExitCode") or 0)
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.03)


def copy_from(engine: Engine, environment: str, address: Address, path: str) -> Iterator[bytes]:
    """See backend.base.Backend.copy_from."""
    found = instance(engine, environment, address)
    stream = engine.stream(f"/containers/{found['Id']}/archive", timeout=600.0, path=path)
    try:
        first = next(stream, b"")
    except EngineNotFoundError as error:
        raise NotFoundError("There is no such file", f"{path} in {address}") from error
    return _and_the_rest(first, stream)


def _and_the_rest(first: bytes, stream: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from stream


def copy_to(engine: Engine, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
    """See backend.base.Backend.copy_to."""
    found = instance(engine, environment, address)
    try:
        engine.upload(f"/containers/{found['Id']}/archive", tar, path=path)
    except EngineNotFoundError as error:
        raise NotFoundError("There is no such directory", f"{path} in {address}") from error
    except EngineError as error:
        raise EnvkitError("The engine does not take files", f"{path} in {address}: {error.message}") from error


def sync_to(
    engine: Engine, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
) -> None:
    """See backend.base.Backend.sync_to. The engine takes nothing away itself: the container's own `rm` does."""
    found = running(engine, environment, address)
    base = posixpath.normpath(target)
    gone = [posixpath.join(base, path) for path in removed]
    for argv in (["mkdir", "-p", base], ["rm", "-rf", "--", *gone] if gone else []):
        if argv:
            code, output = hooks.execute(engine, str(found["Id"]), {"command": argv, "user": "0"})
            if code:
                raise ConflictError(
                    "Files cannot be synced", f"{address}:{target}: {' '.join(argv[:3])}: {' '.join(output)}",
                    "its root must be writable, and have mkdir and rm",
                )  # fmt: skip
    try:
        engine.upload(f"/containers/{found['Id']}/archive", tar, path=base, copyUIDGID=True)
    except EngineError as error:
        raise ConflictError("Files cannot be synced", f"{address}:{target}: {error.message}") from error
