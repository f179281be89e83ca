"""What can be changed of a container from outside, as a flat map: path -> value, the engine's defaults left out. Pure.

`of` decodes an inspection, `wanted` says what a spec leads to; an absent path has the engine's default. Paths are
those of ServiceSpec where there is one, and the embedded backend's (`state`, `networks.KEY`) elsewhere.
"""

from __future__ import annotations

from envkit.backend.docker.encode import restart
from envkit.backend.docker.encode_resources import SAME, resources
from envkit.observed.state import Health, InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LIMITS = {name: key for key, name in SAME.items()} | {"NanoCpus": "cpus", "BlkioWeight": "blkio.weight"}
_ROWS = {
    "BlkioWeightDevice": "blkio.weight_device", "BlkioDeviceReadBps": "blkio.device_read_bps",
    "BlkioDeviceWriteBps": "blkio.device_write_bps", "BlkioDeviceReadIOps": "blkio.device_read_iops",
    "BlkioDeviceWriteIOps": "blkio.device_write_iops",
}  # fmt: skip
# 2048 processes are Podman's default, and no limit is Docker's.
_DEFAULTS: dict[str, tuple[Any, ...]] = {"memory_swappiness": (None, -1), "pids": (None, 0, -1, 2048)}
_STATES = {
    "created": InstanceState.CREATED, "configured": InstanceState.CREATED, "initialized": InstanceState.CREATED,
    "running": InstanceState.RUNNING, "paused": InstanceState.PAUSED, "restarting": InstanceState.RESTARTING,
}  # fmt: skip
ATTACHED = "attached"


def state_of(status: str) -> InstanceState:
    """The engine's word for a state (`State` of a list, `State.Status` of an inspection), Podman's included."""
    return _STATES.get(status, InstanceState.EXITED)


def health_of(state: Mapping[str, Any]) -> Health:
    """Of an inspection's `State`. Podman calls it Healthcheck in older versions."""
    found = state.get("Health") or state.get("Healthcheck") or {}
    try:
        return Health(str(found.get("Status") or ""))
    except ValueError:
        return Health.NONE  # "none": there is no check


def of(inspection: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a container. keys: network name -> key below `networks:`."""
    from envkit.backend.docker.names import own_name

    found: dict[str, Any] = {"state": state_of(str(inspection["State"].get("Status"))).value,
                             "name": own_name(inspection)}  # fmt: skip
    host: Mapping[str, Any] = inspection.get("HostConfig") or {}
    found |= limits(host)
    policy = restart_of(host)
    found |= policy
    if not str(host.get("NetworkMode") or "").startswith(("host", "none", "container:")):
        for name in (inspection.get("NetworkSettings") or {}).get("Networks") or {}:
            found[f"networks.{keys.get(name) or f'({name})'}"] = ATTACHED
    return found


def limits(host: Mapping[str, Any]) -> dict[str, Any]:
    """`limits.*` of a HostConfig."""
    found: dict[str, Any] = {}
    for name, key in _LIMITS.items():
        value: Any = host.get(name)
        if value in _DEFAULTS.get(key, (None, 0, "", False)):
            continue
        if key == "memory_swap" and value == 2 * (host.get("Memory") or 0):
            continue  # what the engine makes of a memory limit alone
        found[f"limits.{key}"] = _cores(value) if key == "cpus" else value
    for name, key in _ROWS.items():
        if rows := host.get(name):
            found[f"limits.{key}"] = [
                {"path": row["Path"], **({"rate": row["Rate"]} if "Rate" in row else {"weight": row["Weight"]})}
                for row in rows
            ]
    return found


def _cores(value: int) -> float | int:
    cores = value / 1_000_000_000
    return int(cores) if cores.is_integer() else cores


def restart_of(host: Mapping[str, Any]) -> dict[str, Any]:
    """`restart.*` of a HostConfig."""
    given: Mapping[str, Any] = host.get("RestartPolicy") or {}
    policy = str(given.get("Name") or "no")
    found: dict[str, Any] = {"restart.policy": policy}
    if policy == "on-failure" and given.get("MaximumRetryCount"):
        found["restart.max_attempts"] = given["MaximumRetryCount"]
    return found


def wanted(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The facts of a container that was made of spec and left alone since."""
    host = {**resources(spec.get("limits") or {}), "RestartPolicy": restart(spec.get("restart") or {})}
    found: dict[str, Any] = {"state": InstanceState.RUNNING.value, "name": name, **limits(host), **restart_of(host)}
    found |= {f"networks.{key}": ATTACHED for key in spec.get("networks") or ()}
    return found


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both over the same keys, as ObservedResource wants them."""
    keys = dict.fromkeys((*expected, *actual))
    return {key: expected.get(key) for key in keys}, {key: actual.get(key) for key in keys}
