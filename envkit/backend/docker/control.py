"""start, stop, restart, kill, pause, unpause of existing instances, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker import hooks, look
from envkit.backend.docker.blame import last_lines
from envkit.backend.engine_api import Engine, EngineError
from envkit.backend.ledger import Ledger
from envkit.errors import ApplyError, EnvkitError, NotFoundError
from envkit.events import Emit, Event, EventKind
from envkit.host.home import Home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_WIDTH = 8
_PATIENCE = 60.0


def control(
    engine: Engine, home: Home, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit,
    signal: str = "", timeout: float | None = None,
) -> None:  # fmt: skip
    """See backend.base.Backend.control. Raises NotFoundError before anything is done, ApplyError for the first that
    failed after all have been tried."""
    present, _ = look.instances(look.containers(engine, environment))
    for address in addresses:
        if address not in present:
            raise NotFoundError("There is no such instance", str(address), "`envkit ps` lists what there is")
    failures: dict[Address, EnvkitError] = {}

    def one(address: Address) -> None:
        emit(Event(EventKind.STARTED, str(address), verb))
        try:
            _do(engine, present[address], address, verb, signal, timeout, emit)
        except EngineError as error:
            failures[address] = ApplyError(
                f"The engine cannot {verb} a container", f"{address}: {error.message}", address=str(address),
                log=last_lines(engine, str(present[address]["Id"])) if verb in ("start", "restart") else (),
            )  # fmt: skip
        except EnvkitError as error:
            failures[address] = error
        failure = failures.get(address)
        kind = EventKind.FAILED if failure else EventKind.DONE
        emit(Event(kind, str(address), verb, str(failure) if failure else ""))

    with ThreadPoolExecutor(_WIDTH, "envkit") as pool:
        list(pool.map(one, addresses))
    _remember(engine, home, environment, [present[item] for item in addresses if item not in failures], verb, signal)
    for address in addresses:
        if address in failures:
            raise failures[address]


def _remember(
    engine: Engine, home: Home, environment: str, items: Sequence[Mapping[str, Any]], verb: str, signal: str
) -> None:
    """Who was stopped on purpose."""
    ledger = Ledger(home, engine.address, environment)
    for item in items:
        stops = verb == "stop" or (verb == "kill" and signal.removeprefix("SIG") in ("", "KILL"))
        if stops or verb in ("start", "restart"):
            ledger.note_stopped(str(item["Id"]), stops)
    ledger.save()


def _do(
    engine: Engine, item: Mapping[str, Any], address: Address, verb: str, signal: str, timeout: float | None,
    emit: Emit,
) -> None:  # fmt: skip
    owner = ownership.owner_of(look.labels_of(item))
    spec: Mapping[str, Any] = owner.spec if owner else {}
    path = f"/containers/{item['Id']}"
    grace = float(spec.get("stop_grace_period", 10.0) if timeout is None else timeout)
    wait = None if timeout is None else max(0, round(timeout))
    status = item["State"]["Status"]
    match verb:
        case "start":
            engine.post(f"{path}/start", timeout=120.0, idempotent=True)
        case "stop" | "restart":
            if status == "running":
                hooks.pre_stop(engine, item, spec, emit)
            own = signal if engine.version >= (1, 42) else ""
            engine.post(f"{path}/{verb}", timeout=grace + _PATIENCE, idempotent=True, t=wait, signal=own or None)
        case "kill":
            engine.post(f"{path}/kill", signal=signal or "SIGKILL")
        case "pause" | "unpause":
            if (status == "paused") != (verb == "pause"):
                engine.post(f"{path}/{verb}")
    if verb in ("start", "restart") and status != "running":
        hooks.post_start(engine, str(item["Id"]), spec, address, emit)
