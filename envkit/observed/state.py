"""ObservedState: what a backend reports now.

Every backend decodes its live objects into these; the planner compares them with the desired Environment.
"""

from __future__ import annotations

from envkit.values import StrEnum, field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.address import Address


class InstanceState(StrEnum):
    """State of a service instance (`ps`)."""

    CREATED = "created"
    RUNNING = "running"
    RESTARTING = "restarting"
    PAUSED = "paused"
    EXITED = "exited"


class Health(StrEnum):
    NONE = ""
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@value
class ObservedResource:
    """One existing thing that carries this environment's ownership mark.

    spec and fingerprint: what was last applied, kept with the object itself. expected and actual: flat path -> value
    over the same keys; expected is what the last apply left, actual what the live object says now, so a differing
    pair is drift of exactly that path (`state`, `limits.memory`, `networks.default.address`, `published.8080/tcp`).
    image_digest: services: the image it runs; images: the image it is. attributes: further facts for views (state,
    health, exit_code, pid, ports, started_at, id, restarts, oom, bytes, files), not compared; the planner reads four
    of a service's: exit_code (int | None), desired ("stopped" after `envkit stop`), depends_on (names of services) and
    pending (paths for whose sake it was to be restarted by an apply that was cut off).
    missing: the record is there, the object is gone. complete=False: an earlier apply was cut off before this one's
    completion was recorded, so it must be made anew.
    """

    address: Address
    spec: Mapping[str, Any]
    fingerprint: str
    expected: Mapping[str, Any] = field(default_factory=dict)
    actual: Mapping[str, Any] = field(default_factory=dict)
    image_digest: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    missing: bool = False
    complete: bool = True


@value
class ObservedState:
    """resources: this environment's, by address. images: reference or image key -> digest, for every image the desired
    services name and the backend has. generation: number of the last completed apply (0: none). offered: reference ->
    digest (or a text, where it is not known) of what its registry has, or envkit.lock demands,
    in place of it. thorough: False: what costs much per instance was left out. at: seconds since the epoch before the
    look; 0: not known, or it does not matter, as another look is no dearer than asking whether one is needed."""

    environment: str
    resources: Mapping[Address, ObservedResource] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    generation: int = 0
    offered: Mapping[str, str] = field(default_factory=dict)
    thorough: bool = True
    at: float = 0.0


@value
class Instance:
    """One row of `ps`. ports: text like "127.0.0.1:8080->80/tcp"; started_at: RFC 3339 or ""; exit_code None: alive or
    unknown; detail: "OOM-killed", "exit code unknown", "". replica 0: a one-off of `envkit run`. command: entrypoint
    and arguments where the service has any of its own; networks: their keys; labels: the service's; node: the machine
    of a cluster that runs it."""

    service: str
    replica: int
    id: str
    name: str
    state: InstanceState
    health: Health
    exit_code: int | None
    pid: int
    image: str
    ports: tuple[str, ...]
    started_at: str
    restarts: int = 0
    detail: str = ""
    created_at: str = ""
    finished_at: str = ""
    command: str = ""
    networks: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
