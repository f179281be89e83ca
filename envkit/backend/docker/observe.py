"""An environment as the engine has it: ObservedState, and the rows of `ps`. Writes nothing."""

from __future__ import annotations

import time

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker import adopted, facts, look, names
from envkit.backend.docker.images import observe_images, wanted_images
from envkit.backend.docker.podman import probed
from envkit.backend.docker.policy import offered
from envkit.backend.docker.written import first_written
from envkit.backend.ledger import Ledger
from envkit.observed.state import Health, Instance, InstanceState, ObservedResource, ObservedState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.engine_api import Engine
    from envkit.host.home import Home
    from envkit.spec.environment import Environment


FEW = 16
"""So many containers are asked what they have written: an engine may walk through their whole roots for it."""


def observe(
    engine: Engine, home: Home, environment: Environment, *, thorough: bool = True,
    only: Collection[Address] | None = None,
) -> tuple[ObservedState, Sequence[Mapping[str, Any]]]:  # fmt: skip
    """The environment as it is, and the inspections of its containers. A look that need not be thorough leaves out what
    containers have written. only: of the containers, those of these addresses."""
    at = time.time()
    ledger = Ledger(home, engine.address, environment.name)
    found = look.look(engine, environment.name, wanted_images(environment, ledger), only)
    resources: dict[Address, ObservedResource] = {}
    for kind, rows in (("network", found.networks), ("volume", found.volumes)):
        for row in rows:
            if (item := _object(environment, kind, row, ledger)) is not None:
                resources[item.address] = item
    images = observe_images(environment, ledger, found.images)
    resources.update(images.resources)
    changed = offered(engine, environment, ledger, found.images, images.pins) if only is None else {}
    changed |= images.offered
    keys = look.network_keys(environment.name, found.networks, _network_names(environment))
    present, _ = look.instances(found.containers)
    generation = 0
    asked = _may_write(present.values()) if len(present) <= FEW else []
    files = first_written(engine, asked) if thorough else {}
    for address, inspection in present.items():
        written = files.get(str(inspection["Id"]))
        resources[address] = service = _service(environment, address, inspection, ledger, keys, found.images, written)
        generation = max(generation, int(service.attributes["generation"]))
    for address in _vanished(environment, resources, ledger):
        kept = ledger.object(address)
        resources[address] = ObservedResource(address, kept["spec"], kept["fingerprint"], missing=True)
    whole = thorough or not asked  # another look would see no more
    state = ObservedState(environment.name, resources, images.digests, generation, changed, whole, at)
    return state, found.containers


def _may_write(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [item for item in items if not (item.get("HostConfig") or {}).get("ReadonlyRootfs")]


def _network_names(environment: Environment) -> dict[str, str]:
    return {
        address.name: names.object_name(environment.name, address, resource.spec)
        for address, resource in environment.resources.items() if address.kind == "network"
    }  # fmt: skip


def _object(
    environment: Environment, kind: str, row: Mapping[str, Any], ledger: Ledger
) -> ObservedResource | None:
    """A network or volume. What Compose made is taken for what the files say, where it is no different."""
    labels = look.labels_of(row)
    owner = ownership.owner_of(labels)
    known = {"name": row["Name"], **({"network_id": row["Id"]} if "Id" in row else {})}
    if owner is not None:
        later = ledger.object(owner.address)
        moved = bool(later) and later["spec"].get("name", row["Name"]) == row["Name"]
        spec, mark = (later["spec"], later["fingerprint"]) if moved else (owner.spec, owner.fingerprint)
        return ObservedResource(owner.address, spec, mark, attributes=known)
    key = labels.get(f"{ownership.COMPOSE}{kind}")
    if not key:
        return None
    address = Address(kind, key)
    resource = environment.resources.get(address)
    if resource is None:
        return ObservedResource(address, {"name": row["Name"]}, "", attributes=known)
    expected, actual = facts.differences(*adopted.object_facts(environment.name, address, resource.spec, row))
    return ObservedResource(
        address, resource.spec, resource.fingerprint, expected, actual, attributes=known
    )


def _service(
    environment: Environment, address: Address, inspection: Mapping[str, Any], ledger: Ledger,
    keys: Mapping[str, str], images: Mapping[str, Mapping[str, Any] | None],
    written: Sequence[str] | None = None,
) -> ObservedResource:  # fmt: skip
    labels, identity = look.labels_of(inspection), str(inspection["Id"])
    owner = ownership.owner_of(labels)
    known = ledger.container(identity)
    actual = facts.of(inspection, keys)
    expected: Mapping[str, Any]
    if owner is not None:
        spec = known.get("spec", owner.spec)
        mark = str(known.get("fingerprint", owner.fingerprint))
        name = ownership.instance_name(environment.name, address, spec)
        expected = known.get("facts") or facts.wanted(spec, name)
    else:
        spec, mark, expected, actual = adopted.service(environment, address, inspection, actual, images)
        name = ownership.instance_name(environment.name, address, spec)
    expected, actual = facts.differences(expected, actual)
    state: Mapping[str, Any] = inspection["State"]
    if facts.health_of(state) is Health.UNHEALTHY and actual["state"] == InstanceState.RUNNING:
        expected["health"], actual["health"] = Health.HEALTHY.value, Health.UNHEALTHY.value
    return ObservedResource(
        address, spec, mark, expected, actual, str(inspection.get("Image") or ""),
        {
            "id": identity, "name": names.own_name(inspection), "pid": int(state.get("Pid") or 0),
            "exit_code": exit_code(state), "oom": bool(state.get("OOMKilled")),
            "health": facts.health_of(state).value, "ports": ports(inspection), "image": spec.get("image", ""),
            "restarts": int(inspection.get("RestartCount") or 0), "started_at": moment(state.get("StartedAt")),
            "desired": "stopped" if ledger.is_stopped(identity) else "running",
            "depends_on": _depends_on(labels), "generation": owner.generation if owner else 0,
            **({"pending": owed} if (owed := ledger.owed(address)) else {}),
            **({"files": written, "root_changed": bool(written)} if written is not None else {}),
        },
        complete=not names.is_scratch(names.own_name(inspection)),
    )  # fmt: skip


def _depends_on(labels: Mapping[str, str]) -> list[str]:
    text = labels.get(f"{ownership.COMPOSE}depends_on", "")
    return [item.partition(":")[0] for item in text.split(",") if item]


def _vanished(
    environment: Environment, there: Mapping[Address, ObservedResource], ledger: Ledger
) -> Iterator[Address]:
    """What was applied, is still wanted, and is no more."""
    for address, resource in environment.resources.items():
        count = int(resource.spec.get("replicas", 1)) if address.kind == "service" else 1
        for number in range(1, count + 1):
            one = address.replica(number)
            if one not in there and one.kind in ("service", "network", "volume") and ledger.object(one):
                yield one


def exit_code(state: Mapping[str, Any]) -> int | None:
    """None while the container lives, and before it ever did."""
    ended = facts.state_of(str(state.get("Status"))) is InstanceState.EXITED
    return int(state.get("ExitCode") or 0) if ended else None


def moment(text: object) -> str:
    """A time of the engine, "" for one that never was."""
    written = str(text or "")
    return "" if written.startswith("0001") else written


def ports(inspection: Mapping[str, Any]) -> list[str]:
    """Published ports as `ps` shows them; the same port of IPv4 and IPv6 is one."""
    found = []
    for target, rows in ((inspection.get("NetworkSettings") or {}).get("Ports") or {}).items():
        for row in rows or ():
            host = str(row.get("HostIp") or "0.0.0.0")
            text = f"{'0.0.0.0' if host == '::' else host}:{row.get('HostPort')}->{target}"
            if text not in found:
                found.append(text)
    return found


def instances(engine: Engine, environment: str) -> list[Instance]:
    """The rows of `ps`, one-offs (replica 0) included."""
    found = [probed(engine, item) for item in look.containers(engine, environment)]
    present, _ = look.instances(found)
    rows = [_row(item, address.name, address.index) for address, item in sorted(present.items())]
    oneoffs = [item for item in found if look.labels_of(item).get(f"{ownership.COMPOSE}oneoff") == "True"]
    return rows + [_row(item, look.labels_of(item).get(f"{ownership.COMPOSE}service", ""), 0) for item in oneoffs]


def _row(item: Mapping[str, Any], service: str, replica: int) -> Instance:
    labels, state = look.labels_of(item), item["State"]
    owner = ownership.owner_of(labels)
    spec = owner.spec if owner else {}
    config: Mapping[str, Any] = item.get("Config") or {}
    ended = facts.state_of(str(state.get("Status"))) is InstanceState.EXITED
    joined = (item.get("NetworkSettings") or {}).get("Networks") or {}
    return Instance(
        service=service, replica=replica, id=str(item["Id"]), name=names.own_name(item),
        state=facts.state_of(str(state.get("Status"))), health=facts.health_of(state), exit_code=exit_code(state),
        pid=int(state.get("Pid") or 0), image=str(spec.get("image") or config.get("Image") or ""),
        ports=tuple(ports(item)), started_at=moment(state.get("StartedAt")),
        restarts=int(item.get("RestartCount") or 0), detail="OOM-killed" if ended and state.get("OOMKilled") else "",
        created_at=moment(item.get("Created")), finished_at=moment(state.get("FinishedAt")) if ended else "",
        command=" ".join([*(spec.get("entrypoint") or ()), *(spec.get("command") or ())]),
        networks=tuple(spec.get("networks") or joined), labels=ownership.user_labels(labels) | {
            name: text for name, text in labels.items() if name.startswith(ownership.COMPOSE)
        },
    )  # fmt: skip


def environments(engine: Engine) -> list[str]:
    """Names of all environments that have something in the engine, Compose's projects included."""
    query = {"filters": {"label": [f"{ownership.COMPOSE}project"]}}
    listed, networks, volumes = engine.get_all(
        ("/containers/json", {**query, "all": True}), ("/networks", query), ("/volumes", query)
    )
    rows = [*(listed or ()), *(networks or ()), *((volumes or {}).get("Volumes") or ())]
    return sorted({look.labels_of(row)[f"{ownership.COMPOSE}project"] for row in rows})
