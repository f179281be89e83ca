"""Changes that an engine makes to a living container: limits, restart policy, its name, its networks."""

from __future__ import annotations

from envkit.backend.docker import encode, encode_network, facts, names
from envkit.backend.docker.encode_resources import resources
from envkit.backend.engine_api import EngineNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.docker.encode_network import Place
    from envkit.backend.engine_api import Engine
    from envkit.plan.model import Change
    from envkit.spec.environment import Resource

IN_PLACE = frozenset({"limits", "restart", "networks", "name", "container_name"})
"""Paths of a ServiceSpec, and of facts.py, that need no new container."""

PODMAN_IN_PLACE = frozenset({"networks", "name", "container_name"})
"""The same for Podman, whose compatible service has no /containers/ID/update before version 5."""

_NO_LIMIT = (1 << 63) - 4096  # cgroup v1's "unlimited"; the engine knows no other way to take a memory limit back


def in_place(
    engine: Engine, change: Change, resource: Resource, old: Mapping[str, Any], place: Place, final: str
) -> None:
    """Make the container what resource says, as far as that can be done while it lives."""
    identity, paths = str(old["Id"]), [item.path for item in change.attributes]
    if any(path.partition(".")[0] in ("limits", "restart") for path in paths):
        body = _resources(engine, resource.spec, old)
        engine.post(f"/containers/{identity}/update", body, idempotent=True)
    if names.own_name(old) != final:
        engine.post(f"/containers/{identity}/rename", name=final)
    if any(path.startswith("networks") for path in paths):
        _networks(engine, identity, change, resource, old, place)


def _resources(engine: Engine, spec: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """All limits, those that are to be no more included. 0 means "as it is" to the engine, so each has its own way."""
    wanted = resources(spec.get("limits") or {})
    now = facts.limits(old.get("HostConfig") or {})
    if "limits.memory" in now and "Memory" not in wanted:
        wanted |= {"Memory": _NO_LIMIT, "MemorySwap": -1}
    elif "Memory" in wanted and "MemorySwap" not in wanted:
        wanted["MemorySwap"] = 2 * wanted["Memory"]  # what the engine makes of it when it creates a container
    if "limits.memory_reservation" in now and "MemoryReservation" not in wanted:
        wanted["MemoryReservation"] = _NO_LIMIT
    if "limits.cpus" in now and "NanoCpus" not in wanted:
        wanted["NanoCpus"] = int(engine.info().get("NCPU") or 1) * 1_000_000_000
    if "limits.cpu_shares" in now and "CpuShares" not in wanted:
        wanted["CpuShares"] = 1024
    if "limits.cpu_quota" in now and "CpuQuota" not in wanted:
        wanted["CpuQuota"] = -1
    if "limits.cpuset" in now and "CpusetCpus" not in wanted:
        wanted["CpusetCpus"] = f"0-{int(engine.info().get('NCPU') or 1) - 1}"
    if "limits.pids" in now and "PidsLimit" not in wanted:
        wanted["PidsLimit"] = -1
    if "limits.blkio.weight" in now and "BlkioWeight" not in wanted:
        wanted["BlkioWeight"] = 500
    return {**wanted, "RestartPolicy": encode.restart(spec.get("restart") or {})}


def _networks(
    engine: Engine, identity: str, change: Change, resource: Resource, old: Mapping[str, Any], place: Place
) -> None:
    """Leave the networks that are not the service's, join those that are missing, rejoin those that changed."""
    wanted = {place.networks.get(key, key): key for key in resource.spec.get("networks") or {}}
    joined = set((old.get("NetworkSettings") or {}).get("Networks") or {})
    changed = {item.path.split(".")[1] for item in change.attributes if item.path.startswith("networks.")}
    again = {name for name, key in wanted.items() if key in changed and name in joined}
    for name in sorted(joined - wanted.keys() | again):
        try:
            engine.post(f"/networks/{name}/disconnect", {"Container": identity, "Force": True})
        except EngineNotFoundError:
            continue
    for key in encode_network.ordered(resource.spec):
        name = place.networks.get(key, key)
        if name in joined and name not in again:
            continue
        settings = encode_network.endpoint(change.address.name, resource.spec, key, engine.version)
        engine.post(f"/networks/{name}/connect", {"Container": identity, "EndpointConfig": settings})
