"""What is there of an environment. Four questions to a manager, and one to every node's engine that is known."""

from __future__ import annotations

from envkit.address import Address
from envkit.backend.ownership import owner_of
from envkit.backend.swarm import marks, tasks
from envkit.backend.swarm.facts import facts
from envkit.observed.state import InstanceState, ObservedResource, ObservedState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.swarm.cluster import Cluster
    from envkit.host.home import Home
    from envkit.observed.state import Instance
    from envkit.spec.environment import Environment


def observe(cluster: Cluster, home: Home, environment: Environment) -> ObservedState:
    """See backend.base.Backend.observe."""
    from envkit.backend.swarm import images, volumes

    name = environment.name
    services = cluster.services(name)
    every = by_service(cluster, services)
    resources: dict[Address, ObservedResource] = {}
    digests = images.digests(cluster, home, environment)
    for item in images.observed(environment, digests, images.ledger_of(cluster, home, name)):
        resources[item.address] = item
    networks = cluster.networks(name)
    keys = network_keys(networks)
    keys.update(_others(cluster, environment, services, keys))
    for row in networks:
        if found := _object(row, row.get("Labels") or {}):
            resources[found.address] = found
    for found in volumes.observed(cluster, environment):
        resources[found.address] = found
    for row in services:
        if found := _service(row, every.get(row["ID"], ()), keys):
            resources[found.address] = found
    return ObservedState(name, resources, digests)


def by_service(cluster: Cluster, services: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Service id -> its tasks."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task in cluster.tasks([row["ID"] for row in services]):
        found.setdefault(task["ServiceID"], []).append(task)
    return found


def network_keys(networks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Network id -> its key, for those of an environment; and of its name, where that is asked for."""
    found = {}
    for row in networks:
        owner = owner_of(row.get("Labels") or {})
        found[row["Id"]] = owner.address.name if owner else str(row.get("Name"))
    return found


def _others(
    cluster: Cluster, environment: Environment, services: Sequence[Mapping[str, Any]], known: Mapping[str, str]
) -> dict[str, str]:
    """Network id -> key (else name) of those that services have joined and that are not the environment's own."""
    joined = {str(item["Target"]) for row in services for item in row["Spec"]["TaskTemplate"].get("Networks") or ()}
    if joined <= known.keys():
        return {}
    from envkit.backend.swarm.networks import named

    keys = {str(item.spec.get("name")): address.name for address, item in environment.resources.items()
            if address.kind == "network"}  # fmt: skip
    found = {identity: named(cluster, identity) or {"Name": identity} for identity in joined - known.keys()}
    return {identity: keys.get(row["Name"], str(row["Name"])) for identity, row in found.items()}


def _object(row: Mapping[str, Any], labels: Mapping[str, str]) -> ObservedResource | None:
    owner = owner_of(labels)
    if owner is None:
        return None
    return ObservedResource(owner.address, owner.spec, owner.fingerprint, attributes={"id": row["Id"]})


def _service(
    row: Mapping[str, Any], found: Sequence[Mapping[str, Any]], networks: Mapping[str, str]
) -> ObservedResource | None:
    labels: Mapping[str, str] = row["Spec"].get("Labels") or {}
    owner = owner_of(labels)
    if owner is None or marks.is_oneoff(row):
        return None
    expected, actual = marks.applied(labels), facts(row["Spec"], networks)
    expected["state"] = str(InstanceState.RUNNING)
    chosen = tasks.shown(row, found)
    actual["state"], code = _state(row["Spec"].get("Mode") or {}, chosen)
    if marks.STOPPED in labels and not actual.get("replicas"):
        actual["state"], actual["replicas"] = str(InstanceState.EXITED), expected.get("replicas")
    status: Mapping[str, Any] = row.get("UpdateStatus") or {}
    expected["rollout"] = "completed"
    paused = str(status.get("State") or "") in ("paused", "rollback_paused")
    actual["rollout"] = str(status["State"]) if paused else "completed"
    depends = [name for name in labels.get(marks.DEPENDS, "").split(",") if name]
    attributes = {
        "service_id": row["ID"], "exit_code": code, "depends_on": depends,
        "desired": "stopped" if marks.STOPPED in labels else "running",
        "image": (row["Spec"]["TaskTemplate"].get("ContainerSpec") or {}).get("Image", ""),
    }  # fmt: skip
    return ObservedResource(
        owner.address.replica(1), owner.spec, owner.fingerprint, expected, actual, labels.get(marks.IMAGE, ""),
        attributes,
    )  # fmt: skip


def _state(mode: Mapping[str, Any], chosen: Sequence[Mapping[str, Any]]) -> tuple[str, int | None]:
    """(running, restarting or exited, the exit code of what ended) of a service as a whole."""
    wanted = int(mode["Replicated"].get("Replicas", 1)) if "Replicated" in mode else len(chosen)
    alive = [task for task in chosen if tasks.state(task) not in tasks.OVER and tasks.is_wanted(task)]
    if wanted == 0 or (len(alive) >= wanted and alive):
        return str(InstanceState.RUNNING), None
    over = [task for task in chosen if tasks.state(task) in tasks.OVER]
    if any("Job" in name for name in mode):
        over = [task for task in over if tasks.state(task) != "complete"] or over
    if alive or not over or any(tasks.is_wanted(task) and tasks.state(task) != "complete" for task in over):
        return str(InstanceState.RESTARTING), None  # the managers are at it
    codes = [tasks.exit_code(task) for task in over]
    return str(InstanceState.EXITED), next((code for code in codes if code != 0), 0)


def instances(cluster: Cluster, environment: str) -> list[Instance]:
    """See backend.base.Backend.instances."""
    services = cluster.services(environment)
    every = by_service(cluster, services)
    hosts = cluster.host_names() if services else {}
    found: list[Instance] = []
    for row in sorted(services, key=lambda item: str(item["Spec"]["Name"])):
        if owner_of(row["Spec"].get("Labels") or {}):
            found += tasks.rows(environment, row, every.get(row["ID"], ()), hosts)
    return found


def environments(cluster: Cluster) -> list[str]:
    """Names of all environments that have a service, a network or a volume."""
    from envkit.backend.swarm import volumes

    return sorted({*_names(cluster), *(item.environment for item in volumes.infos(cluster, None))})


def _names(cluster: Cluster) -> Iterator[str]:
    for row in cluster.services():
        if owner := owner_of(row["Spec"].get("Labels") or {}):
            yield owner.environment
    for row in cluster.networks():
        if owner := owner_of(row.get("Labels") or {}):
            yield owner.environment
