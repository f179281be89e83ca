"""Overlay networks. Nothing of one can be changed: another one takes its place."""

from __future__ import annotations

import time

from envkit.backend.engine_api import EngineConflictError, EngineError, EngineNotFoundError
from envkit.backend.ownership import ENVIRONMENT
from envkit.backend.swarm import encode, marks
from envkit.backend.swarm.cluster import is_stale
from envkit.errors import ApplyError, ConflictError
from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from envkit.backend.swarm.cluster import Cluster
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment

    _Joined: TypeAlias = tuple[str, Mapping[str, Any]]
    """A service's id, and one of its attachments."""

_IN_USE = 90.0
"""Seconds in which the tasks that use a network must have gone."""
_BUSY = ("active endpoints", "in use")


def apply(cluster: Cluster, environment: Environment, change: Change) -> None:
    """A network's change. Raises ConflictError for a name that is somebody else's."""
    before: Mapping[str, Any] = change.observed.spec if change.observed else {}
    name = str((change.resource.spec if change.resource else before).get("name") or change.address.name)
    if change.action is Action.DELETE or change.resource is None:
        _remove(cluster, environment.name, str(before.get("name") or name))
        return
    if change.resource.spec.get("external"):
        external(cluster, name, change.address.name)
        return
    joined: list[_Joined] = []
    if change.action is not Action.CREATE:
        joined = _remove(cluster, environment.name, str(before.get("name") or name), detach=True)
    labels = marks.of_object(environment, change.resource)
    try:
        made = cluster.post("/networks/create", encode.network(environment.name, change.resource.spec, labels))
    except EngineConflictError:
        row = named(cluster, name) or {}
        owner = (row.get("Labels") or {}).get(ENVIRONMENT)
        if owner != environment.name:
            raise ConflictError(
                "A network of this name is somebody else's", f"{name}: {owner or 'not made by envkit'}",
                "give it another `name:`, or say `external: true`",
            ) from None  # fmt: skip
        made = row
    if change.action is Action.UPDATE:  # its services have no changes of their own
        for service, attachment in joined:
            _join(cluster, service, {**attachment, "Target": made["Id"]})


def external(cluster: Cluster, name: str, key: str) -> str:
    """The id of a network that is not envkit's. Raises ApplyError where there is none for the whole Swarm."""
    row = named(cluster, name)
    if row is None:
        raise ApplyError(
            "A network does not exist in the Swarm", f"networks.{key}: {name}",
            f"make it: docker network create --driver overlay {name}",
        )  # fmt: skip
    return str(row["Id"])


def named(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """The network of the whole Swarm that has a name (an id does as well)."""
    try:
        found: dict[str, Any] = cluster.get(f"/networks/{name}", scope="swarm")
    except EngineNotFoundError:
        return None
    return found


def _remove(cluster: Cluster, environment: str, name: str, *, detach: bool = False) -> list[_Joined]:
    """Absent is fine. Waits until the tasks that use it are gone, and then until it is. detach: take services off it;
    they are returned."""
    row = next((item for item in cluster.networks(environment) if item["Name"] == name), None)
    if row is None:
        return []
    joined = _detach(cluster, environment, str(row["Id"])) if detach else []
    deadline = time.monotonic() + _IN_USE
    while True:
        try:
            cluster.delete(f"/networks/{row['Id']}")
        except EngineError as error:
            if time.monotonic() > deadline or not any(words in error.message for words in _BUSY):
                raise
            time.sleep(0.3)
            continue
        break
    while any(item["Id"] == row["Id"] for item in cluster.networks(environment)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return joined


def _detach(cluster: Cluster, environment: str, network: str) -> list[_Joined]:
    """Take the services off a network that is about to be made anew. Where that is a replacement, they join it again
    with their own changes, which the plan has."""
    found: list[_Joined] = []
    for row in cluster.services(environment):
        attached = row["Spec"]["TaskTemplate"].get("Networks") or ()
        for item in attached:
            if item["Target"] == network:
                found.append((row["ID"], item))
                _change(cluster, row["ID"], lambda rows: [each for each in rows if each["Target"] != network])
    return found


def _join(cluster: Cluster, service: str, attachment: Mapping[str, Any]) -> None:
    _change(cluster, service, lambda rows: [*rows, attachment])


def _change(
    cluster: Cluster, service: str, change: Callable[[list[Mapping[str, Any]]], list[Mapping[str, Any]]]
) -> None:
    """Write a service's attachments anew, on the version that was read last."""
    for last in (False, False, False, True):
        row = cluster.get(f"/services/{service}")
        spec = row["Spec"]
        spec["TaskTemplate"]["Networks"] = change(spec["TaskTemplate"].get("Networks") or [])
        try:
            cluster.post(f"/services/{service}/update", spec, version=row["Version"]["Index"])
        except EngineError as error:
            if last or not is_stale(error):
                raise
            continue
        return
