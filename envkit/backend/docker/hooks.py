"""`pre_start`: containers that run to their end before a service does. `post_start` and `pre_stop`: commands in a
running container, by the engine's exec."""

from __future__ import annotations

import os
import threading

from envkit.backend.docker import encode
from envkit.backend.docker.blame import last_lines
from envkit.backend.docker.oneoff import OneOff
from envkit.backend.prestart import spec_of
from envkit.digest import fingerprint
from envkit.errors import ApplyError, EnvkitError
from envkit.events import Event, EventKind
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from envkit.address import Address
    from envkit.backend.docker.services import Services
    from envkit.backend.engine_api import Engine
    from envkit.events import Emit
    from envkit.spec.environment import Resource


class PreStart:
    """The `pre_start` hooks of one session: each once for a service, or once per instance (`per_replica`)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._ran: dict[tuple[str, int], ApplyError | None] = {}
        self.standing: Collection[str] = ()
        """Services with instances that stay: they only grow, and their hooks have been run for all."""

    def run(self, address: Address, resource: Resource) -> None:
        """Have every hook run that has to before this instance starts. Raises ApplyError."""
        for number, hook in enumerate(resource.spec.get("pre_start") or ()):
            if hook.get("per_replica"):
                self._container(address, resource, hook, number)
            elif address.name not in self.standing:
                self._once(address, resource, hook, number)

    def _once(self, address: Address, resource: Resource, hook: Mapping[str, Any], number: int) -> None:
        key = (address.name, number)
        with self._lock:  # the others of the service wait for it
            if key not in self._ran:
                try:
                    self._container(address, resource, hook, number)
                    self._ran[key] = None
                except ApplyError as error:
                    self._ran[key] = error
            if (failure := self._ran[key]) is not None:
                raise failure

    def _container(self, address: Address, resource: Resource, hook: Mapping[str, Any], number: int) -> None:
        """Make a container as the service's, run it to its end, and take it away."""
        services, engine, what = self._services, self._services.engine, f"pre_start[{number}]"
        spec = spec_of(resource.spec, hook)
        name = f"{services.environment.name}-{address.name}-pre_start-{os.urandom(6).hex()}"
        made = services.make(
            address, replace(resource, spec=spec, fingerprint=fingerprint(spec)), None, one_off=OneOff(name)
        )
        try:
            services.settle(made)
            services.start(made.identity, address)
            ended = engine.post(f"/containers/{made.identity}/wait", timeout=None, idempotent=True)
            code, lines = int(ended["StatusCode"]), last_lines(engine, made.identity, 1000)
            _tell(address, what, lines, services.emit)
            if code:
                raise ApplyError(
                    "A hook failed", f"{what} ended with exit code {code}",
                    "its output is below; a hook that may fail ends with `|| true`", address=str(address),
                    log=lines[-20:],
                )  # fmt: skip
        finally:
            services.discard_made(made.identity, anonymous=True)


def post_start(engine: Engine, identity: str, spec: Mapping[str, Any], address: Address, emit: Emit) -> None:
    """Run the hooks in their order. Raises ApplyError for one that fails."""
    for hook in spec.get("post_start") or ():
        code, output = execute(engine, identity, hook)
        _tell(address, "post_start", output, emit)
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


def _tell(address: Address, what: str, output: list[str], emit: Emit) -> None:
    for line in output:
        emit(Event(EventKind.LOG, str(address), what, line))


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
