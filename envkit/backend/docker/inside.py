"""What is done inside a running instance: exec, attach, files in and out."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from envkit.address import Address
from envkit.backend import containers, terminal
from envkit.backend.base import ExecRequest
from envkit.backend.docker import facts, hooks, look
from envkit.backend.engine_api import Engine, EngineError, EngineNotFoundError
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.observed.state import InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    return containers.exec_in(engine, str(found["Id"]), found.get("Config") or {}, request)


def attach(
    engine: Engine, environment: str, address: Address, *, stdin: bool, forward_signals: bool, detach_keys: str
) -> int:
    """See backend.base.Backend.attach."""
    if detach_keys:
        terminal.parse_keys(detach_keys)
    found = running(engine, environment, address)
    return containers.attach(
        engine, str(found["Id"]), found.get("Config") or {}, stdin=stdin, forward=forward_signals, keys=detach_keys
    )


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
