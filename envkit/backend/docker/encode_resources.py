"""Limits and devices of a ServiceSpec as keys of HostConfig (Engine API, Resources). Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SAME = {
    "memory": "Memory", "memory_swap": "MemorySwap", "memory_reservation": "MemoryReservation",
    "memory_swappiness": "MemorySwappiness", "cpu_shares": "CpuShares", "cpu_quota": "CpuQuota",
    "cpu_period": "CpuPeriod", "cpu_rt_runtime": "CpuRealtimeRuntime", "cpu_rt_period": "CpuRealtimePeriod",
    "cpuset": "CpusetCpus", "pids": "PidsLimit", "oom_kill_disable": "OomKillDisable",
}  # fmt: skip
"""Limits that have one key each, in the same unit."""

_BLKIO = {
    "device_read_bps": "BlkioDeviceReadBps", "device_write_bps": "BlkioDeviceWriteBps",
    "device_read_iops": "BlkioDeviceReadIOps", "device_write_iops": "BlkioDeviceWriteIOps",
}  # fmt: skip


def resources(limits: Mapping[str, Any]) -> dict[str, Any]:
    """A core is 1e9 NanoCpus."""
    found = {name: limits[key] for key, name in SAME.items() if key in limits}
    if "cpus" in limits:
        found["NanoCpus"] = round(float(limits["cpus"]) * 1_000_000_000)
    blkio = limits.get("blkio") or {}
    if "weight" in blkio:
        found["BlkioWeight"] = blkio["weight"]
    if "weight_device" in blkio:
        found["BlkioWeightDevice"] = [{"Path": row["path"], "Weight": row["weight"]} for row in blkio["weight_device"]]
    for key, name in _BLKIO.items():
        if key in blkio:
            found[name] = [{"Path": row["path"], "Rate": row["rate"]} for row in blkio[key]]
    return found


def devices(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Device nodes, and requests for graphics processors and the like."""
    found: dict[str, Any] = {}
    if "devices" in spec:
        found["Devices"] = [
            {"PathOnHost": row["source"], "PathInContainer": row["target"], "CgroupPermissions": row["permissions"]}
            for row in spec["devices"]
        ]
    wanted = [*(spec.get("gpus") or ()), *((spec.get("reservations") or {}).get("devices") or ())]
    if wanted:
        found["DeviceRequests"] = [_request(row) for row in wanted]
    if "ulimits" in spec:
        found["Ulimits"] = [
            {"Name": name, "Soft": row["soft"], "Hard": row["hard"]} for name, row in spec["ulimits"].items()
        ]
    return found


def _request(row: Mapping[str, Any]) -> dict[str, Any]:
    ids = list(row.get("device_ids") or ())
    count = row.get("count")
    return {
        "Driver": row.get("driver") or "", "DeviceIDs": ids,
        "Count": 0 if ids else -1 if count in (None, "all") else int(count),
        "Capabilities": [list(row.get("capabilities") or ["gpu"])], "Options": dict(row.get("options") or {}),
    }  # fmt: skip
