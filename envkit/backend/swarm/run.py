"""One-offs of a service: a job of the Swarm, which the managers place. It has no stdin and no terminal."""

from __future__ import annotations

import os
import time

from envkit.backend import oneoff
from envkit.backend.base import LogQuery
from envkit.backend.swarm import tasks
from envkit.backend.swarm.logs import logs
from envkit.backend.swarm.session import opened
from envkit.digest import fingerprint
from envkit.errors import ApplyError, NotFoundError, UnsupportedError
from envkit.plan.model import Action, Change
from envkit.spec.environment import Resource
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.base import Materials, RunRequest
    from envkit.backend.swarm.cluster import Cluster
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.spec.environment import Environment

_BEAT = 0.2
_PLACING = 60.0
"""Seconds in which a node must have been found."""


def run(
    cluster: Cluster, home: Home, environment: Environment, request: RunRequest, materials: Materials, emit: Emit
) -> int:
    """See backend.base.Backend.run. Raises UnsupportedError for a terminal or stdin."""
    resource = environment.get("service", request.service)
    if resource is None:
        raise NotFoundError("No such service", request.service, f"there is {', '.join(environment.services)}")
    if request.tty:
        raise UnsupportedError(
            "A one-off in a Swarm has no terminal", request.service,
            f"give -T, or work in a replica that runs: `envkit exec {request.service} …`",
        )  # fmt: skip
    name = f"{request.service}-run-{request.name or os.urandom(4).hex()}"
    spec = {**oneoff.spec_of(resource.spec, request, environment.directory), "stdin_open": False}
    spec["restart"] = {"policy": "no"}
    made = Resource(replace(resource.address, name=name), spec, fingerprint(spec), (), resource.origins)
    with opened(cluster, home, environment, materials, emit, 1, None) as session:
        change = Change(made.address, Action.CREATE, resource=made, start=True)
        item = session.begin(change, request.service)
    if request.detach or item is None:
        return 0
    try:
        return _follow(cluster, environment.name, name, item.service)
    finally:
        if request.remove:
            cluster.delete(f"/services/{item.service}")


def _follow(cluster: Cluster, environment: str, name: str, service: str) -> int:
    """Print what it prints until it ends; its exit code."""
    begun = time.monotonic()
    task: Mapping[str, Any] = {}
    while not task or tasks.state(task) in tasks.BEFORE:
        found = cluster.tasks([service])
        task = found[-1] if found else {}
        if tasks.state(task) in ("pending", "new") and time.monotonic() - begun > _PLACING:
            raise ApplyError("A one-off finds no node", f"{name}: {tasks.error(task) or tasks.state(task)}")
        if not task or tasks.state(task) in tasks.BEFORE:
            time.sleep(_BEAT)
    if tasks.state(task) == "rejected":
        raise ApplyError("A one-off did not start", f"{name}: {tasks.error(task)}")
    shown = _Shown(cluster, environment, name)
    while tasks.state(task) not in tasks.OVER:
        shown.show()
        time.sleep(_BEAT)
        task = cluster.tasks([service])[-1]
    shown.show()
    code = tasks.exit_code(task)
    return 1 if code is None else code


class _Shown:
    """The lines of a one-off that have been printed. They are asked for again and again: a log that is followed does
    not end with its task."""

    def __init__(self, cluster: Cluster, environment: str, name: str) -> None:
        self._cluster, self._environment, self._name = cluster, environment, name
        self._count = 0

    def show(self) -> None:
        """Print what is new."""
        entries = list(logs(self._cluster, self._environment, LogQuery(services=(self._name,))))
        for entry in entries[self._count :]:
            os.write(2 if entry.stream == "stderr" else 1, f"{entry.line}\n".encode(errors="surrogateescape"))
        self._count = len(entries)
