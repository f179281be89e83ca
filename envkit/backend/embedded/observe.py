"""What is there now of an environment: records against the kernel. Writes nothing, enters nothing, starts nothing.

A service instance's facts: `state`, `monitor` (its conmon), `limits.*`, and what the network's modules tell. Each is in
`expected` as the last apply left it and in `actual` as it is.
"""

from __future__ import annotations

import os
import time

from envkit.address import Address
from envkit.backend.embedded import images, live, resources, volume_observe, volumes, wiring
from envkit.backend.embedded import record as records
from envkit.backend.embedded.status import Status, monitor_is_alive
from envkit.backend.embedded.status import status as status_of
from envkit.host.cgroups import Cgroups
from envkit.host.uts import hostnames
from envkit.lean import json
from envkit.observed.state import Health, Instance, InstanceState, ObservedResource, ObservedState
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from envkit.backend.embedded.record import Record
    from envkit.host.home import Home
    from envkit.spec.environment import Environment

_TWO = "2: a replacement is under way, or was cut off"
FEW = 16
"""So many instances are looked at closely in any case: half a millisecond each. Of more, a quick look sees mounts and
privileges (0.2 ms each)."""


def observe(
    home: Home, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
) -> ObservedState:
    """The environment as it is. Harmless, and quick, when nothing of it exists.

    A look that need not be thorough leaves out what is read of every process itself, where there are many, all are
    what the environment wants, and so nothing is to be done but for what only such a look would show.
    """
    name, at = environment.name, time.time()
    found: dict[Address, ObservedResource] = {}
    present = [record for record in records.load_all(home, name) if not record.oneoff]
    if only is not None:
        present = [record for record in present if record.address in only]
    wires = wiring.Observer(home, name)
    found.update(wires.networks(closely=only is None))
    known = images.observe(home, environment)
    found.update(known.resources)
    beside = {serving.id: other.id for serving, other in records.pairs(present)}
    present = [record for record in present if record.id not in beside.values()]
    states = {record.id: status_of(record) for record in present}
    alive = [record for record in present if states[record.id].is_alive]
    found.update((item.address, item) for item in volume_observe.observe(home, environment, alive))
    closely = thorough or len(present) <= FEW or (only is None and _differ(environment, present))
    names = hostnames(item.pid for item in states.values() if item.is_alive) if closely else {}
    for record in present:
        seen = _service(home, record, states[record.id], wires if only is None else None, names if closely else None)
        if record.id in beside:
            expected, actual = {**seen.expected, "instances": 1}, {**seen.actual, "instances": _TWO}
            seen = replace(seen, expected=expected, actual=actual)
        found[record.address] = seen
    generation = resources.environment_facts(home, name).get("generation", 0) if present or found else 0
    return ObservedState(name, found, known.digests, int(generation), known.offered, closely, at)


def _differ(environment: Environment, present: Iterable[Record]) -> bool:
    """Whether a service is to be made, changed or removed."""
    wanted = {name: resource.fingerprint for name, resource in environment.services.items()}
    return wanted != {record.service: record.fingerprint for record in present}


def _service(
    home: Home, record: Record, status: Status, wires: wiring.Observer | None, hostnames: Mapping[int, str] | None
) -> ObservedResource:
    """hostnames: what processes see as their host's name; None: of the process itself only mounts and privileges are
    looked at, and without wires nothing."""
    attempts = small_file(record, "supervisor.json")
    state = _shown_state(status, attempts)
    expected: dict[str, Any] = {"state": InstanceState.RUNNING.value}
    actual: dict[str, Any] = {"state": state.value}
    if status.is_alive:
        expected["monitor"], actual["monitor"] = "alive", "alive" if monitor_is_alive(record) else "lost"
        for key, value in record.limits.items():
            expected[f"limits.{key}"] = value
        if record.limits:
            now = Cgroups.of(home).read_limits(record.cgroup, record.spec.get("limits") or {})
            actual.update({f"limits.{key}": now.get(key) for key in record.limits})
        wanted, wired = wires.instance(record) if wires is not None else ({}, {})
        expected.update(wanted)
        actual.update(wired)
        if hostnames is not None:
            found = live.compare(record, status.pid, hostnames.get(status.pid))
            expected.update(found.expected)
            actual.update(found.actual)
            if wires is not None and wired:
                wanted, wired = wires.inside(record, status.pid)
                expected.update(wanted)
                actual.update(wired)
        elif wires is not None:
            found = live.glance(record, status.pid)
            expected.update(found.expected)
            actual.update(found.actual)
        if record.healthcheck and health_of(record, status) is Health.UNHEALTHY:
            expected["health"], actual["health"] = Health.HEALTHY.value, Health.UNHEALTHY.value
    return ObservedResource(
        record.address, record.spec, record.fingerprint, expected, actual, record.image_digest,
        _attributes(record, status, attempts, closely=hostnames is not None),
        missing=record.complete and not status.ever, complete=record.complete,
    )  # fmt: skip


def _shown_state(status: Status, attempts: Mapping[str, Any]) -> InstanceState:
    if status.state is InstanceState.EXITED and attempts.get("next") is not None:
        return InstanceState.RESTARTING
    return status.state


def _attributes(
    record: Record, status: Status, attempts: Mapping[str, Any], *, closely: bool
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "id": record.id, "name": record.name, "desired": record.desired, "depends_on": record.depends_on,
        "pid": status.pid, "exit_code": status.exit_code, "oom": status.oom, "image": record.image,
        "ports": wiring.port_texts(record), "restarts": int(attempts.get("restarts") or 0),
    }  # fmt: skip
    if record.pending:
        result["pending"] = record.pending
    if record.healthcheck:
        result["health"] = health_of(record, status).value
    if not record.shared_root:
        result["root_changed"] = _has_written(record)
        if closely and result["root_changed"]:
            from envkit.backend.embedded.written import first_written

            result["files"] = first_written(record)
    return result


def _has_written(record: Record) -> bool:
    """Whether the instance has written into its own layer (or something was synced into it)."""
    if record.spec.get("read_only"):
        return False
    try:
        with os.scandir(record.path("upper")) as entries:
            return next(entries, None) is not None
    except FileNotFoundError:
        return False


def small_file(record: Record, name: str) -> Mapping[str, Any]:
    """A state file of the supervisor's; {} when there is none."""
    data = records.slurp(f"{record.directory}/{name}")
    try:
        value = json.loads(data or b"null")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def health_of(record: Record, status: Status) -> Health:
    """The health of a living instance that has a check: what the supervisor found in this life, else starting."""
    test = (record.healthcheck or {}).get("test") or ["NONE"]
    if not status.is_alive or test[0] == "NONE":
        return Health.NONE
    value = small_file(record, "health.json")
    if value.get("pid") not in (None, status.pid):
        return Health.STARTING
    try:
        return Health(str(value.get("status") or "starting"))
    except ValueError:
        return Health.STARTING


def instances(home: Home, environment: str) -> list[Instance]:
    """The rows of `ps`: every instance of the environment, one-offs included."""
    rows = records.load_all(home, environment)
    facts = resources.environment_facts(home, environment) if rows else {}
    return [_row(record, facts) for record in rows]


def _row(record: Record, facts: Mapping[str, Any]) -> Instance:
    status = status_of(record)
    attempts = small_file(record, "supervisor.json")
    spec = record.spec
    return Instance(
        service=record.service, replica=record.replica, id=record.id, name=record.name,
        state=_shown_state(status, attempts), health=health_of(record, status), exit_code=status.exit_code,
        pid=status.pid, image=record.image,
        ports=tuple(wiring.port_texts(record)) if status.is_alive and not record.is_waiting else (),
        started_at=_moment(status.started_at), restarts=int(attempts.get("restarts") or 0), detail=status.detail,
        created_at=record.created_at, finished_at=_moment(status.finished_at),
        command=" ".join([*(spec.get("entrypoint") or ()), *(spec.get("command") or ())]),
        networks=tuple(spec.get("networks") or ()), labels=_labels(record, facts),
    )  # fmt: skip


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""


def images_in_use(home: Home, environments: Iterable[str]) -> set[str]:
    """Digests of the images that instances are made from."""
    return {
        record.image_digest
        for environment in environments
        for record in records.load_all(home, environment)
        if record.image_digest
    }


def environments(home: Home) -> list[str]:
    """Names of all environments that have something here, volumes included."""
    try:
        names = {name for name in os.listdir(home.environments) if os.path.isdir(home.environment(name))}
    except FileNotFoundError:
        names = set()
    return sorted(names | {volume.environment for volume in volumes.load_all(home)})


def _labels(record: Record, facts: Mapping[str, Any]) -> Mapping[str, str]:
    """The service's labels and Compose's own. facts: the environment's."""
    from envkit.backend.ownership import compose_labels

    return {
        **(record.spec.get("labels") or {}),
        **compose_labels(
            record.environment, record.service, record.replica, fingerprint=record.fingerprint,
            image_digest=record.image_digest, directory=str(facts.get("directory") or ""),
            files=facts.get("files") or (), oneoff=record.oneoff,
        ),
    }  # fmt: skip
