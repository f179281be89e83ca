"""start, stop, restart, kill, pause and unpause.

A Swarm keeps what must run running: stopping is scaling to nothing (the number is kept in a label), restarting is a
forced update. What one container suffers (kill, pause) is asked of its node.
"""

from __future__ import annotations

import time

from envkit.backend.engine_api import EngineError
from envkit.backend.swarm import encode, tasks
from envkit.backend.swarm.cluster import is_stale
from envkit.backend.swarm.marks import STOPPED
from envkit.backend.swarm.rollout import Followed, Follower
from envkit.errors import ApplyError, ConflictError, NotFoundError, UnsupportedError
from envkit.events import Event, EventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from envkit.address import Address
    from envkit.backend.engine_api import Engine
    from envkit.backend.swarm.cluster import Cluster
    from envkit.events import Emit

_NEWS = 15.0
"""Seconds for a node to tell that a container has ended."""
_DONE = {"start": "started", "stop": "stopped", "restart": "restarted", "kill": "killed", "pause": "paused",
         "unpause": "unpaused"}  # fmt: skip


def control(
    cluster: Cluster, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
) -> None:  # fmt: skip
    """See backend.base.Backend.control."""
    if verb in ("kill", "pause", "unpause"):
        for address in addresses:
            _one(cluster, environment, address, verb, signal)
            emit(Event(EventKind.DONE, str(address), verb))
        return
    followed: list[Followed] = []
    for name in dict.fromkeys(address.name for address in addresses):
        row = find(cluster, environment, name)
        _check_whole(cluster, row, name, [item for item in addresses if item.name == name], verb)
        before = frozenset(task["ID"] for task in cluster.tasks([row["ID"]]))
        if _change(cluster, row, verb):
            followed.append(Followed(f"service.{name}", verb, row["ID"], row["Spec"]["Name"], before))
    failed: list[BaseException] = []

    def report(item: Followed, error: BaseException | None) -> None:
        if error is not None:
            failed.append(error)
        else:
            emit(Event(EventKind.DONE, item.address, verb))

    Follower(cluster, emit).follow(followed, report)
    if failed:
        raise failed[0]


def find(cluster: Cluster, environment: str, service: str) -> dict[str, Any]:
    """The service. Raises NotFoundError."""
    name = encode.service_name(environment, service)
    for row in cluster.services(environment):
        if row["Spec"]["Name"] == name:
            return row
    raise NotFoundError("There is no such service here", f"service.{service} of {environment}", "envkit apply makes it")


def _check_whole(
    cluster: Cluster, row: Mapping[str, Any], name: str, addresses: Sequence[Address], verb: str
) -> None:
    """One replica alone cannot be stopped: the managers would start it anew."""
    there = len(tasks.shown(row, cluster.tasks([row["ID"]])))
    if len({address.index for address in addresses}) < there and any(address.index > 1 for address in addresses):
        raise UnsupportedError(
            f"A Swarm cannot {verb} one replica alone", f"service.{name} has {there}",
            f"`envkit {verb} {name}` means all of them; `envkit scale` changes their number",
        )  # fmt: skip


def _change(cluster: Cluster, row: Mapping[str, Any], verb: str) -> bool:
    """Write the service anew; False where there is nothing to do."""
    for _ in range(6):
        spec: dict[str, Any] = {**row["Spec"], "Labels": dict(row["Spec"].get("Labels") or {})}
        if not _CHANGES[verb](spec):
            return False
        try:
            cluster.post(f"/services/{row['ID']}/update", spec, version=row["Version"]["Index"])
        except EngineError as error:
            if not is_stale(error):
                raise
            row = cluster.get(f"/services/{row['ID']}")
            continue
        return True
    raise ConflictError("A service is being changed by somebody else", str(row["Spec"]["Name"]), "try again")


def _stop(spec: dict[str, Any]) -> bool:
    mode: dict[str, Any] = spec["Mode"]
    if "Replicated" not in mode:
        raise UnsupportedError(
            "A Swarm cannot stop a service that runs on every node", str(spec["Name"]), "`envkit down` removes it"
        )
    count = int(mode["Replicated"].get("Replicas", 1))
    if count:
        spec["Labels"][STOPPED] = str(count)
        spec["Mode"] = {"Replicated": {"Replicas": 0}}
    return bool(count)


def _start(spec: dict[str, Any]) -> bool:
    stopped = spec["Labels"].pop(STOPPED, "")
    if not stopped:
        return False
    spec["Mode"] = {"Replicated": {"Replicas": int(stopped)}}
    return True


def _restart(spec: dict[str, Any]) -> bool:
    _start(spec)
    template = dict(spec["TaskTemplate"])
    template["ForceUpdate"] = int(template.get("ForceUpdate") or 0) + 1
    spec["TaskTemplate"] = template
    return True


_CHANGES: Mapping[str, Callable[[dict[str, Any]], bool]] = {"stop": _stop, "start": _start, "restart": _restart}


def container_of(cluster: Cluster, environment: str, address: Address, what: str) -> tuple[Engine, str]:
    """(the engine of the node that runs it, the container's id) of a replica. Raises what task_of does, and
    UnsupportedError when its node is out of reach."""
    task, identity = task_of(cluster, environment, address)
    return cluster.engine_of(str(task["NodeID"]), f"{address} ({what})"), identity


def task_of(cluster: Cluster, environment: str, address: Address) -> tuple[Mapping[str, Any], str]:
    """(the task, its container's id) of a replica. Raises NotFoundError, ConflictError when it does not run."""
    row = find(cluster, environment, address.name)
    shown = tasks.shown(row, cluster.tasks([row["ID"]]))
    if not 0 < address.index <= len(shown):
        raise NotFoundError(
            "There is no such instance", f"{address} of {environment}; it has {len(shown)}", "envkit ps lists them"
        )
    task = shown[address.index - 1]
    identity = str(((task.get("Status") or {}).get("ContainerStatus") or {}).get("ContainerID") or "")
    if not identity or tasks.state(task) != "running":
        why = tasks.error(task) or tasks.state(task)
        raise ConflictError("An instance does not run", f"{address}: {why}", f"envkit logs {address.name}")
    return task, identity


def _one(cluster: Cluster, environment: str, address: Address, verb: str, signal: str) -> None:
    engine, identity = container_of(cluster, environment, address, verb)
    sent = signal or "KILL" if verb == "kill" else ""
    try:
        engine.post(f"/containers/{identity}/{verb}", signal=sent or None)
    except EngineError as error:
        raise ApplyError(f"An instance could not be {_DONE[verb]}", error.message, address=str(address)) from error
    if sent in ("KILL", "SIGKILL", "9"):
        _await_end(cluster, environment, address, identity)


def _await_end(cluster: Cluster, environment: str, address: Address, container: str) -> None:
    """Until the managers know that a container has ended (its node tells them) and have decided what comes of it."""
    row = find(cluster, environment, address.name)
    deadline = time.monotonic() + _NEWS
    while time.monotonic() < deadline:
        alive = [
            task for task in cluster.tasks([row["ID"]])
            if (tasks.state(task) not in tasks.OVER or tasks.is_wanted(task))
            and ((task.get("Status") or {}).get("ContainerStatus") or {}).get("ContainerID") == container
        ]  # fmt: skip
        if not alive:
            return
        time.sleep(0.1)
