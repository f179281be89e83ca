"""What has happened to services, from the manager's events (scope swarm) and, of containers, from the nodes' own."""

from __future__ import annotations

import time

from envkit.backend.ownership import owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from envkit.backend.swarm.cluster import Cluster


def events(
    cluster: Cluster, environment: str, since: float | None, follow: bool
) -> Iterator[dict[str, str]]:
    """See backend.base.Backend.events. A manager remembers its last 256 events."""
    known = {row["ID"]: str(owner.address) for row in cluster.services(environment)
             if (owner := owner_of(row["Spec"].get("Labels") or {}))}  # fmt: skip
    query: dict[str, Any] = {"filters": {"scope": ["swarm"], "type": ["service"]}, "since": f"{since or 0:.3f}"}
    if not follow:
        query["until"] = f"{time.time():.3f}"
    for row in cluster.manager.lines("GET", "/events", timeout=None if follow else 60.0, **query):
        actor = row.get("Actor") or {}
        attributes = actor.get("Attributes") or {}
        address = known.get(str(actor.get("ID")))
        name = str(attributes.get("name") or "")
        if address is None and name.startswith(f"{environment}_"):
            address = f"service.{name.removeprefix(f'{environment}_')}"
        if address is None:
            continue
        detail = ", ".join(
            f"{key.removesuffix('.new')} {value}" for key, value in sorted(attributes.items()) if key.endswith(".new")
        )
        yield {
            "time": _stamp(int(row.get("timeNano") or 0)), "address": address, "event": str(row.get("Action") or ""),
            "detail": detail,
        }  # fmt: skip


def _stamp(nanoseconds: int) -> str:
    from datetime import UTC, datetime

    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
