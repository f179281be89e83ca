"""Tasks: which of them stand for a service now, and what they say. Pure."""

from __future__ import annotations

from envkit.backend.ownership import owner_of
from envkit.backend.swarm.marks import ONEOFF, STOPPED, is_oneoff
from envkit.observed.state import Health, Instance, InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

BEFORE = frozenset({"new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting"})
FAILED = frozenset({"failed", "rejected"})
OVER = frozenset({"complete", "shutdown", "failed", "rejected", "orphaned", "remove"})
_STATES = {"running": InstanceState.RUNNING, **dict.fromkeys(("starting", "ready"), InstanceState.CREATED)}


def state(task: Mapping[str, Any]) -> str:
    return str((task.get("Status") or {}).get("State") or "new")


def is_wanted(task: Mapping[str, Any]) -> bool:
    """Whether the managers want it to live, or to have ended well."""
    return task.get("DesiredState") in ("running", "ready", "complete", "accepted", "assigned", "new")


def error(task: Mapping[str, Any]) -> str:
    """Why it is as it is, in the node's words; "" for nothing to say."""
    status: Mapping[str, Any] = task.get("Status") or {}
    text = str(status.get("Err") or "")
    code = exit_code(task)
    if not text and state(task) in FAILED and code is not None:
        text = f"exit code {code}"
    return text


def exit_code(task: Mapping[str, Any]) -> int | None:
    """None while it lives or when nobody knows."""
    if state(task) not in OVER:
        return None
    container: Mapping[str, Any] = (task.get("Status") or {}).get("ContainerStatus") or {}
    code = container.get("ExitCode")
    return int(code) if code is not None else 0 if state(task) == "complete" else None


def place_of(task: Mapping[str, Any]) -> str:
    """What tells the replicas of a service apart: the slot, or for global services the node."""
    return str(task.get("Slot") or task.get("NodeID") or "")


def current(tasks: Iterable[Mapping[str, Any]], *, all_nodes: bool = False) -> list[Mapping[str, Any]]:
    """One task per place: the newest that is wanted, else the newest; in the order of places. all_nodes: a global
    service, whose places are nodes."""
    found: dict[str, Mapping[str, Any]] = {}
    for task in tasks:  # oldest first
        place = place_of(task)
        before = found.get(place)
        if before is None or is_wanted(task) or not is_wanted(before):
            found[place] = task
    return [found[place] for place in sorted(found, key=lambda text: (len(text), text) if not all_nodes else (0, text))]


def rows(
    environment: str, service: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], hosts: Mapping[str, str]
) -> list[Instance]:
    """The rows of `ps` of one service."""
    spec: Mapping[str, Any] = service["Spec"]
    name = str((spec.get("Labels") or {}).get(ONEOFF) or "") or str(spec["Name"]).removeprefix(f"{environment}_")
    chosen = shown(service, tasks)
    if stopped := (spec.get("Labels") or {}).get(STOPPED):
        image = _image(service, str((spec["TaskTemplate"].get("ContainerSpec") or {}).get("Image") or ""))
        return [
            Instance(
                name, number, "", f"{spec['Name']}.{number}", InstanceState.EXITED, Health.NONE, None, 0, image, (),
                "", detail="stopped",
            )
            for number in range(1, int(stopped) + 1)
        ]  # fmt: skip
    found = []
    for number, task in enumerate(chosen, 1):
        replica = 0 if is_oneoff(service) else number
        found.append(_row(name, replica, service, task, hosts, restarts=_ended(tasks, task)))
    return found


def shown(service: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tasks that are the service's replicas now, the first of them replica 1: no task that is scaled away."""
    mode: Mapping[str, Any] = service["Spec"].get("Mode") or {}
    none_left = "Replicated" in mode and not mode["Replicated"].get("Replicas", 1)
    return [
        task for task in current(tasks, all_nodes="Global" in mode)
        if task.get("DesiredState") != "remove" and not (none_left and not is_wanted(task))
    ]  # fmt: skip


def _image(service: Mapping[str, Any], running: str) -> str:
    """What people call an image that tasks name by its id."""
    if not running.startswith("sha256:"):
        return running
    owner = owner_of(service["Spec"].get("Labels") or {})
    return str(owner.spec.get("image") or running) if owner else running


def _ended(tasks: Sequence[Mapping[str, Any]], task: Mapping[str, Any]) -> int:
    """How many tasks have failed in its place before."""
    place = place_of(task)
    return sum(1 for other in tasks if place_of(other) == place and other is not task and state(other) in FAILED)


def _row(
    name: str, replica: int, service: Mapping[str, Any], task: Mapping[str, Any], hosts: Mapping[str, str], *,
    restarts: int,
) -> Instance:  # fmt: skip
    status: Mapping[str, Any] = task.get("Status") or {}
    container: Mapping[str, Any] = status.get("ContainerStatus") or {}
    spec: Mapping[str, Any] = (task.get("Spec") or {}).get("ContainerSpec") or {}
    now = state(task)
    shown = _STATES.get(now) or (InstanceState.EXITED if now in OVER else InstanceState.CREATED)
    if shown is InstanceState.EXITED and task.get("DesiredState") in ("running", "ready"):
        shown = InstanceState.RESTARTING
    checked = ((spec.get("Healthcheck") or {}).get("Test") or ["NONE"])[0] != "NONE"
    health = Health.NONE
    if checked and now == "running":
        health = Health.HEALTHY  # a task with a check is running only once it is healthy
    elif checked and now == "starting":
        health = Health.STARTING
    host = hosts.get(str(task.get("NodeID") or ""), "")
    given: Mapping[str, str] = spec.get("Labels") or {}
    labels = {key: value for key, value in given.items() if not key.startswith("com.docker.stack.")}
    detail = error(task) or ("" if now in ("running", "complete") else now)
    return Instance(
        name, replica, str(container.get("ContainerID") or task["ID"])[:12],
        f"{service['Spec']['Name']}.{task.get('Slot') or task.get('NodeID')}.{task['ID']}", shown, health,
        exit_code(task), int(container.get("PID") or 0), _image(service, str(spec.get("Image") or "")),
        _ports(service, task, host),
        str(status.get("Timestamp") or "") if now == "running" else "", restarts,
        detail, str(task.get("CreatedAt") or ""),
        str(status.get("Timestamp") or "") if now in OVER else "",
        " ".join([*(spec.get("Command") or ()), *(spec.get("Args") or ())]),
        tuple(sorted(str((item.get("Network") or {}).get("Spec", {}).get("Name") or "")
                     for item in task.get("NetworksAttachments") or ())), labels, host,
    )  # fmt: skip


def _ports(service: Mapping[str, Any], task: Mapping[str, Any], host: str) -> tuple[str, ...]:
    own = ((task.get("Status") or {}).get("PortStatus") or {}).get("Ports") or ()
    found = [f"{host}:{item.get('PublishedPort')}->{item['TargetPort']}/{item['Protocol']}" for item in own]
    shared = (service.get("Endpoint") or {}).get("Ports") or ()
    found += [
        f"*:{item.get('PublishedPort')}->{item['TargetPort']}/{item['Protocol']}"
        for item in shared if item.get("PublishMode") == "ingress"
    ]  # fmt: skip
    return tuple(found)
