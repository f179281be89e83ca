"""`post_start` and `pre_stop`: commands in a running container, by the engine's exec."""

from __future__ import annotations

from envkit.backend.docker import encode
from envkit.errors import ApplyError, EnvkitError
from envkit.events import Event, EventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.address import Address
    from envkit.backend.engine_api import Engine
    from envkit.events import Emit
    from envkit.spec.environment import Resource


def pre_start(services: object, address: Address, resource: Resource) -> None:
    """Containers that run before a service does: check.py has refused them."""


def post_start(engine: Engine, identity: str, spec: Mapping[str, Any], address: Address, emit: Emit) -> None:
    """Run the hooks in their order. Raises ApplyError for one that fails."""
    for hook in spec.get("post_start") or ():
        code, output = execute(engine, identity, hook)
        _tell(address, output, emit)
        if code:
            raise ApplyError(
                "A post_start hook failed", f"{address}: exit code {code}: {' '.join(hook['command'])}",
                address=str(address), log=output[-20:],
            )  # fmt: skip


def pre_stop(engine: Engine, item: Mapping[str, Any], spec: Mapping[str, Any], emit: Emit) -> None:
    """Run the hooks; one that fails keeps nothing from stopping."""
    for hook in spec.get("pre_stop") or ():
        try:
            code, output = execute(engine, str(item["Id"]), hook)
        except EnvkitError as error:
            code, output = 1, [str(error)]
        if code:
            emit(Event(EventKind.WARNING, "", "stop", f"a pre_stop hook failed: {' '.join(hook['command'])}: {output}"))


def _tell(address: Address, output: list[str], emit: Emit) -> None:
    for line in output:
        emit(Event(EventKind.LOG, str(address), "post_start", line))


def execute(engine: Engine, identity: str, hook: Mapping[str, Any]) -> tuple[int, list[str]]:
    """(exit code, lines of output)."""
    made = engine.post(f"/containers/{identity}/exec", {
        "AttachStdout": True, "AttachStderr": True, "Cmd": list(hook["command"]), "User": hook.get("user") or "",
        "WorkingDir": hook.get("working_dir") or "", "Privileged": bool(hook.get("privileged")),
        "Env": encode.environment(hook.get("environment") or {}),
    })  # fmt: skip
    with engine.hijack(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}, multiplexed=True) as stdio:
        output = b"".join(data for _, data in stdio)
    code = engine.get(f"/exec/{made['Id']}/json").get("ExitCode")
    return int(code or 0), output.decode(errors="replace").splitlines()
