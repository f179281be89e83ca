"""Named volumes: local to nodes, so they are made on every node whose engine is known, and looked for there."""

from __future__ import annotations

import time

from envkit.address import Address
from envkit.backend.base import VolumeInfo
from envkit.backend.engine_api import EngineConflictError, EngineNotFoundError, EngineUnreachableError
from envkit.backend.ownership import ENVIRONMENT, owner_of
from envkit.backend.swarm import marks
from envkit.errors import ConflictError, NotFoundError
from envkit.observed.state import ObservedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from envkit.backend.swarm.cluster import Cluster
    from envkit.spec.environment import Environment, Resource

_PATIENCE = 30.0
"""Seconds in which the containers of tasks that are over have gone from their nodes."""


def options(environment: Environment, resource: Resource) -> dict[str, Any]:
    """VolumeOptions of a mount, for nodes that have yet to make the volume."""
    spec = resource.spec
    made: dict[str, Any] = {"Labels": {**(spec.get("labels") or {}), **marks.of_object(environment, resource)}}
    if spec.get("driver") or spec.get("driver_opts"):
        made["DriverConfig"] = {"Name": spec.get("driver") or "local", "Options": dict(spec.get("driver_opts") or {})}
    return made


def ensure(cluster: Cluster, environment: Environment, resource: Resource) -> None:
    """Make the volume on every node that is known. Raises ConflictError for one that is somebody else's."""
    spec = resource.spec
    body = {
        "Name": spec["name"], "Driver": spec.get("driver") or "local",
        "DriverOpts": dict(spec.get("driver_opts") or {}),
        "Labels": {**(spec.get("labels") or {}), **marks.of_object(environment, resource)},
    }  # fmt: skip
    for engine in cluster.engines.values():
        try:
            made = engine.post("/volumes/create", body, idempotent=True)
        except EngineUnreachableError:
            if engine is cluster.manager:
                raise
            continue  # its tasks would make it
        owner = (made.get("Labels") or {}).get(ENVIRONMENT)
        if owner not in (None, environment.name):
            raise ConflictError("A volume belongs to another environment", f"{spec['name']}: {owner}", "rename one")


def remove(cluster: Cluster, name: str) -> None:
    """Remove it from every node that is known; absent is fine. Waits for containers of ended tasks to go."""
    for engine in cluster.engines.values():
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                engine.delete(f"/volumes/{name}")
            except EngineNotFoundError:
                pass
            except EngineUnreachableError:
                if engine is cluster.manager:
                    raise
            except EngineConflictError:
                if time.monotonic() < deadline:
                    time.sleep(0.3)
                    continue
                raise
            break


def observed(cluster: Cluster, environment: Environment) -> Iterator[ObservedResource]:
    """Every volume of the environment that a known node has, once."""
    seen: set[Address] = set()
    for row in _rows(cluster, environment.name):
        owner = owner_of(row.get("Labels") or {})
        if owner is None or owner.address in seen:
            continue
        seen.add(owner.address)
        wanted = environment.resources.get(owner.address)
        spec, mark = owner.spec, owner.fingerprint
        if wanted is not None and _same(owner.spec, wanted.spec):  # labels of volumes cannot be changed
            spec, mark = wanted.spec, wanted.fingerprint
        yield ObservedResource(owner.address, spec, mark, attributes={"bytes": None})


def _same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two specs make the same volume."""
    marks_only = ("labels", "protect")
    return {key: value for key, value in before.items() if key not in marks_only} == {
        key: value for key, value in after.items() if key not in marks_only
    }


def _rows(cluster: Cluster, environment: str | None) -> Iterator[dict[str, Any]]:
    label = ENVIRONMENT if environment is None else f"{ENVIRONMENT}={environment}"
    for engine in cluster.engines.values():
        try:
            yield from (engine.get("/volumes", filters={"label": [label]}) or {}).get("Volumes") or ()
        except EngineUnreachableError:
            if engine is cluster.manager:
                raise
            continue  # a node that has just been lost: what it has is out of reach, as with any other such node


def infos(cluster: Cluster, environment: str | None) -> list[VolumeInfo]:
    """See backend.base.Backend.volumes. The path is the one on the first node that has it."""
    users: dict[str, list[str]] = {}
    for row in cluster.services(environment):
        owner = owner_of(row["Spec"].get("Labels") or {})
        container = row["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
        for mount in container.get("Mounts") or () if owner else ():
            if mount.get("Type") == "volume" and owner:
                users.setdefault(str(mount.get("Source")), []).append(f"{owner.environment}/{owner.address}")
    found: dict[str, VolumeInfo] = {}
    for row in _rows(cluster, environment):
        owner = owner_of(row.get("Labels") or {})
        if owner and row["Name"] not in found:
            found[row["Name"]] = VolumeInfo(
                row["Name"], owner.address.name, owner.environment, str(row.get("Mountpoint") or ""),
                str(row.get("Driver") or "local"), tuple(users.get(row["Name"], ())),
            )  # fmt: skip
    return [found[name] for name in sorted(found)]


def remove_named(cluster: Cluster, name: str) -> None:
    """See backend.base.Backend.remove_volume."""
    row = next((item for item in infos(cluster, None) if item.name == name), None)
    if row is None:
        raise NotFoundError("A volume does not exist", repr(name), "`envkit volume ls` shows what there is")
    if row.used_by:
        raise ConflictError("A volume is in use", f"{name}: {', '.join(row.used_by)}", "take those services down first")
    remove(cluster, name)
