"""Version 1 control groups, one hierarchy per controller; the hybrid layout's unified hierarchy is not used.

Source: kernel Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import os

from envkit.host.cgroups import (
    Cgroups,
    Usage,
    cores,
    fields,
    read,
    wait_until,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar

    from envkit.host.home import Home
    from envkit.host.mountinfo import Mount

_UNLIMITED = 1 << 60  # memory files say 9223372036854771712 for "no limit"


class CgroupsV1(Cgroups):
    """Containers in /envkit-TAG/ENVIRONMENT/ID of every hierarchy."""

    version: ClassVar[str] = "v1"
    manager = "cgroupfs"
    runtime_flags: tuple[str, ...] = ()

    def __init__(self, home: Home, hierarchies: Sequence[Mount]) -> None:
        super().__init__(home)
        self.tops = sorted({entry.target for entry in hierarchies}, key=lambda path: "pids" not in path)
        words = [(word, entry.target) for entry in hierarchies for word in entry.super_options.split(",")]
        self.controllers = {word: target for word, target in words if "=" not in word and word not in ("rw", "ro")}
        self._named = next((target for word, target in words if word == "name=systemd"), "")
        self.supported = frozenset(self._supported())

    def _supported(self) -> set[str]:
        found: set[str] = set()
        memory, cpu, block = (self.controllers.get(name, "") for name in ("memory", "cpu", "blkio"))
        if memory:
            found |= {"memory", "memory_reservation", "memory_swappiness", "oom_kill_disable"}
            if os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"):
                found.add("memory_swap")
        if cpu:
            found.add("cpu_shares")
            if os.path.exists(f"{cpu}/cpu.cfs_quota_us") or self._any_has(cpu, "cpu.cfs_quota_us"):
                found |= {"cpus", "cpu_quota", "cpu_period"}
        if "cpuset" in self.controllers:
            found.add("cpuset")
        if "pids" in self.controllers:
            found.add("pids")
        if block:
            found.add("blkio.device")
            if os.path.exists(f"{block}/blkio.weight") or self._any_has(block, "blkio.weight"):
                found.add("blkio.weight")
        return found

    def _any_has(self, hierarchy: str, name: str) -> bool:
        """Whether a child group has a file; the root group lacks some, so without a child a configuration is asked."""
        with os.scandir(hierarchy) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    return os.path.exists(f"{entry.path}/{name}")
        return name.startswith("cpu.cfs_") and os.path.exists("/proc/sys/kernel/sched_cfs_bandwidth_slice_us")

    def path_for(self, environment: str, identity: str) -> str:
        return f"{self.parent}/{environment}/{identity}"

    def directories(self, path: str) -> list[str]:
        return [hierarchy + path for hierarchy in self.tops] if path else []

    def _at(self, controller: str, path: str) -> str:
        return self.controllers.get(controller, "/nonexistent") + path

    def _read(self, path: str, key: str, wanted: Mapping[str, Any]) -> Any:
        if key == "cpus":
            quota, period = (read(self._at("cpu", path), f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            return None if not quota else round(int(quota) / int(period), 4) if int(quota) > 0 else -1
        controller, name = {
            "memory": ("memory", "memory.limit_in_bytes"),
            "memory_swap": ("memory", "memory.memsw.limit_in_bytes"),
            "memory_reservation": ("memory", "memory.soft_limit_in_bytes"),
            "cpu_shares": ("cpu", "cpu.shares"),
            "cpuset": ("cpuset", "cpuset.cpus"),
            "pids": ("pids", "pids.max"),
        }[key]
        text = read(self._at(controller, path), name)
        if key == "cpuset" or not text:
            return text or None
        return -1 if text == "max" or int(text) >= _UNLIMITED else int(text)

    def write_limits(self, path: str, limits: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
        old = self.effective(before or {})
        new = {key: -1 if key != "cpuset" else None for key in old} | self.effective(limits)
        self._write_memory(path, new)
        if "memory_reservation" in new:
            write(self._at("memory", path), "memory.soft_limit_in_bytes", new["memory_reservation"])
        if "cpus" in new:
            quota, period = cores(limits)
            write(self._at("cpu", path), "cpu.cfs_period_us", period)
            write(self._at("cpu", path), "cpu.cfs_quota_us", quota)
        if "cpu_shares" in new:
            write(self._at("cpu", path), "cpu.shares", 1024 if new["cpu_shares"] == -1 else new["cpu_shares"])
        if "cpuset" in new:
            parent = os.path.dirname(self._at("cpuset", path))
            write(self._at("cpuset", path), "cpuset.cpus", new["cpuset"] or read(parent, "cpuset.cpus"))
        if "pids" in new:
            write(self._at("pids", path), "pids.max", "max" if new["pids"] == -1 else new["pids"])

    def _write_memory(self, path: str, new: Mapping[str, Any]) -> None:
        """memory may never exceed memory and swap, not for a moment: the order depends on the direction (EINVAL)."""
        directory = self._at("memory", path)
        files = [("memory.limit_in_bytes", new.get("memory")), ("memory.memsw.limit_in_bytes", new.get("memory_swap"))]
        present = [(name, value) for name, value in files if value is not None]
        total = read(directory, "memory.memsw.limit_in_bytes")
        if len(present) == 2 and total and (present[0][1] == -1 or present[0][1] > int(total)):
            present.reverse()
        for name, value in present:
            write(directory, name, value)

    def oom_kills(self, path: str) -> int:
        return fields(read(self._at("memory", path), "memory.oom_control")).get("oom_kill", 0)

    def is_frozen(self, path: str) -> bool:
        return read(self._at("freezer", path), "freezer.state") in ("FROZEN", "FREEZING")

    def freeze(self, path: str) -> None:
        self._set_frozen(path, "FROZEN")

    def thaw(self, path: str) -> None:
        if os.path.exists(self._at("freezer", path)):
            self._set_frozen(path, "THAWED")

    def _set_frozen(self, path: str, state: str) -> None:
        directory = self._at("freezer", path)
        write(directory, "freezer.state", state)
        wait_until(lambda: read(directory, "freezer.state") == state, f"the change of a container to {state}")

    def usage(self, path: str) -> Usage | None:
        memory = self._at("memory", path)
        if not os.path.isdir(memory):
            return None
        cache = fields(read(memory, "memory.stat")).get("total_inactive_file", 0)
        limit = int(read(memory, "memory.limit_in_bytes") or 0)
        moved = {"Read": 0, "Write": 0}
        for line in read(self._at("blkio", path), "blkio.throttle.io_service_bytes_recursive").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in moved:
                moved[words[1]] += int(words[2])
        return Usage(
            cpu=int(read(self._at("cpuacct", path), "cpuacct.usage") or 0),
            memory=max(0, int(read(memory, "memory.usage_in_bytes") or 0) - cache),
            memory_limit=0 if limit >= _UNLIMITED else limit,
            pids=int(read(self._at("pids", path), "pids.current") or 0),
            block_read=moved["Read"],
            block_write=moved["Write"],
        )

    def monitors(self, environment: str) -> list[str]:
        """Where others could end them: by a limit on memory, or as systemd does it, by its own hierarchy. No more, as
        each move waits for the whole machine (cgroup_threadgroup_rwsem)."""
        tops = (self.controllers.get("memory"), self._named if os.path.isdir("/run/systemd/system") else "")
        return [f"{top}{self.parent}/{environment}/monitors" for top in tops if top]
