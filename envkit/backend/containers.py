"""A container of an engine and the caller's stdio: exec, attach. The engine is Docker, Podman or a node of a Swarm."""

from __future__ import annotations

import os
import signal as signals
import time

from envkit.backend import stdio
from envkit.backend.engine_api import EngineError
from envkit.errors import EnvkitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.base import ExecRequest
    from envkit.backend.engine_api import Engine

_SETTLE = 2.0
"""Seconds for a container to be seen ended after its output has."""
_ENDED = ("exited", "dead")


def exec_in(engine: Engine, identity: str, config: Mapping[str, Any], request: ExecRequest) -> int:
    """Run a command in a running container, joined to the caller's stdio; its exit code. config: the container's."""
    tty = request.tty and not request.detach
    variables = dict(request.environment)
    if tty:
        variables.setdefault("TERM", os.environ.get("TERM") or "xterm")
    made = engine.post(f"/containers/{identity}/exec", {
        "AttachStdin": request.stdin and not request.detach, "AttachStdout": not request.detach,
        "AttachStderr": not request.detach, "Tty": tty, "Cmd": list(request.argv), "User": request.user,
        "WorkingDir": _directory(config, request.working_dir), "Privileged": request.privileged,
        "Env": [f"{name}={value}" for name, value in variables.items()],
    })  # fmt: skip
    path = f"/exec/{made['Id']}"
    if request.detach:
        engine.post(f"{path}/start", {"Detach": True, "Tty": False})
        return 0
    try:
        with engine.hijack(f"{path}/start", {"Detach": False, "Tty": tty}, multiplexed=not tty) as connection:
            stdio.join(
                connection, tty=tty, pass_stdin=request.stdin,
                resize=lambda rows, columns: _resize(engine, path, rows, columns),
            )  # fmt: skip
    except EngineError as error:
        raise EnvkitError("The engine does not run a command", f"{request.address}: {error.message}") from error
    return _exec_code(engine, path)


def _directory(config: Mapping[str, Any], wanted: str) -> str:
    """A relative directory is below the container's own."""
    return os.path.join(config.get("WorkingDir") or "/", wanted) if wanted else ""


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
    engine: Engine, identity: str, config: Mapping[str, Any], *, stdin: bool, forward: bool, keys: str = ""
) -> int:
    """Join a running container's own stdio until it ends; its exit code, 0 when it was left."""
    with attached(engine, identity, config, stdin=stdin, keys=keys) as connection:
        follow(
            engine, identity, connection, tty=bool(config.get("Tty")),
            pass_stdin=stdin and bool(config.get("OpenStdin")), forward=forward,
        )  # fmt: skip
    return exit_code(engine, identity)


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
        if str(state["Status"]) in _ENDED:
            return int(state.get("ExitCode") or 0)
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.03)
