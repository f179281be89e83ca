"""`limits:` -> `linux.resources` of config.json. Pure.

Sources: OCI runtime-spec config-linux.md#control-groups; Compose Specification 05-services.md (cpus, mem_limit …).
A runtime on cgroup v2 converts shares and quotas itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CPU_PERIOD = 100_000

_DEVICE_LIMITS = {
    "device_read_bps": "throttleReadBpsDevice",
    "device_write_bps": "throttleWriteBpsDevice",
    "device_read_iops": "throttleReadIOPSDevice",
    "device_write_iops": "throttleWriteIOPSDevice",
}
DeviceNumber = Callable[[str], tuple[int, int]]


def _memory(limits: Mapping[str, Any]) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    amount = int(limits.get("memory") or 0)
    if amount:
        memory["limit"] = amount
        if swap := int(limits.get("memory_swap") or 0):
            memory["swap"] = swap
    if limits.get("memory_reservation"):
        memory["reservation"] = limits["memory_reservation"]
    if limits.get("memory_swappiness") is not None and limits["memory_swappiness"] >= 0:
        memory["swappiness"] = limits["memory_swappiness"]
    if limits.get("oom_kill_disable"):
        memory["disableOOMKiller"] = True
    return memory


def _cpu(limits: Mapping[str, Any]) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if limits.get("cpus"):
        cpu["quota"], cpu["period"] = round(float(limits["cpus"]) * CPU_PERIOD), CPU_PERIOD
    for key, name in (
        ("cpu_quota", "quota"), ("cpu_period", "period"), ("cpu_shares", "shares"), ("cpuset", "cpus"),
        ("cpu_rt_runtime", "realtimeRuntime"), ("cpu_rt_period", "realtimePeriod"),
    ):  # fmt: skip
        if limits.get(key):
            cpu[name] = limits[key]
    return cpu


def _block_io(blkio: Mapping[str, Any], number: DeviceNumber) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if blkio.get("weight"):
        result["weight"] = blkio["weight"]
    rows = []
    for item in blkio.get("weight_device") or ():
        major, minor = number(item["path"])
        rows.append({"major": major, "minor": minor, "weight": item["weight"]})
    if rows:
        result["weightDevice"] = rows
    for key, name in _DEVICE_LIMITS.items():
        rows = []
        for item in blkio.get(key) or ():
            major, minor = number(item["path"])
            rows.append({"major": major, "minor": minor, "rate": item["rate"]})
        if rows:
            result[name] = rows
    return result


def kept(limits: Mapping[str, Any], supported: Collection[str]) -> dict[str, Any]:
    """The limits that this machine can keep (Cgroups.supported), the swap limit that Docker implies filled in.

    What is left out has had its diagnostic at plan time; a runtime would fail on it or drop it silently.
    """
    result = {key: value for key, value in limits.items() if key in supported}
    if result.get("memory") and "memory_swap" in supported and not result.get("memory_swap"):
        result["memory_swap"] = 2 * result["memory"] if result["memory"] > 0 else -1
    block = {
        key: value
        for key, value in (limits.get("blkio") or {}).items()
        if ("blkio.weight" if key.startswith("weight") else "blkio.device") in supported
    }
    if block:
        result["blkio"] = block
    return result


def resources(limits: Mapping[str, Any], number: DeviceNumber) -> dict[str, Any]:
    """`linux.resources` without its devices. number: path of a block device -> (major, minor)."""
    result: dict[str, Any] = {}
    if memory := _memory(limits):
        result["memory"] = memory
    if cpu := _cpu(limits):
        result["cpu"] = cpu
    if pids := int(limits.get("pids") or 0):
        result["pids"] = {"limit": max(pids, 0)}
    if block := _block_io(limits.get("blkio") or {}, number):
        result["blockIO"] = block
    return result


def device_rules(rules: Sequence[str]) -> list[dict[str, Any]]:
    """`device_cgroup_rules` ("c 13:* rwm") as entries of `resources.devices`."""
    result = []
    for rule in rules:
        kind, numbers, access = rule.split()
        row: dict[str, Any] = {"allow": True, "type": kind, "access": access}
        for name, value in zip(("major", "minor"), numbers.split(":"), strict=True):
            if value != "*":
                row[name] = int(value)
        result.append(row)
    return result
