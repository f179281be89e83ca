"""Version 2 control groups: one hierarchy; below systemd, scopes of a slice of ours.

Sources: kernel Documentation/admin-guide/cgroup-v2.rst; systemd's CGROUP_DELEGATION.md: whoever is not systemd may only
write below a unit that was delegated to it. crun asks systemd for each container's scope (`--systemd-cgroup`).
"""

from __future__ import annotations

import os
import time

from envkit.errors import HostError
from envkit.host import process
from envkit.host.cgroups import (
    ROOT,
    Cgroups,
    Usage,
    cores,
    fields,
    join,
    read,
    wait_until,
    write,
)
from envkit.host.proc import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar

    from envkit.host.home import Home

_MANAGER = ("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager")  # fmt: skip
_SYSTEMD = ("/run/systemd/system", "/run/dbus/system_bus_socket")  # sd_booted(3); the bus that crun asks it by
_SCOPE = 5.0  # seconds that a scope may take until it is there
_KEYS = {
    "memory": {"memory", "memory_reservation", "memory_swap"},
    "cpu": {"cpus", "cpu_quota", "cpu_period", "cpu_shares"},
    "cpuset": {"cpuset"},
    "pids": {"pids"},
    "io": {"blkio.device", "blkio.weight"},
}


class CgroupsV2(Cgroups):
    """cgroupfs: /envkit-TAG/ENVIRONMENT/ID. systemd: /envkit.slice/envkit-TAG.slice/envkit-TAG-ID.scope."""

    version: ClassVar[str] = "v2"

    def __init__(self, home: Home, root: str = ROOT, systemd: bool | None = None) -> None:
        super().__init__(home)
        self.root = root
        self._by_systemd = all(map(os.path.exists, _SYSTEMD)) if systemd is None else systemd
        self.tops = [] if self._by_systemd else [root]
        self.manager = "systemd" if self._by_systemd else "cgroupfs"
        self.runtime_flags = ("--systemd-cgroup",) if self._by_systemd else ()
        self.supported = frozenset(key for name in self._controllers() for key in _KEYS.get(name, ()))

    def _controllers(self) -> list[str]:
        """What children can have: a group that is not the real root and holds processes cannot pass any on."""
        passed = read(self.root, "cgroup.subtree_control").split()
        is_root = not os.path.exists(f"{self.root}/cgroup.type")
        if self._by_systemd or is_root or not read(self.root, "cgroup.procs"):
            return read(self.root, "cgroup.controllers").split()
        return passed

    @property
    def _slice(self) -> str:
        return f"envkit-{self.tag}.slice"

    def path_for(self, environment: str, identity: str) -> str:
        if self._by_systemd:
            return f"{self._slice}:envkit-{self.tag}:{identity}"
        return f"{self.parent}/{environment}/{identity}"

    def directories(self, path: str) -> list[str]:
        return [self._at(path)] if path else []

    def location(self, path: str) -> str:
        if path.startswith("/"):
            return path
        unit_slice, prefix, identity = path.split(":")
        return f"/envkit.slice/{unit_slice}/{prefix}-{identity}.scope"

    def _at(self, path: str) -> str:
        return self.root + self.location(path)

    def prepare(self, environment: str) -> None:
        if self._by_systemd:
            return
        wanted = set(self._controllers()) & set(_KEYS)
        for directory in (self.root, self.root + self.parent, f"{self.root}{self.parent}/{environment}"):
            os.makedirs(directory, exist_ok=True)
            for name in sorted(wanted - set(read(directory, "cgroup.subtree_control").split())):
                write(directory, "cgroup.subtree_control", f"+{name}")

    def effective(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        found = super().effective(limits)
        if -1 in (found.get("memory"), found.get("memory_swap")) and "memory_swap" in found:
            found["memory_swap"] = -1
        return found

    def _read(self, path: str, key: str, wanted: Mapping[str, Any]) -> Any:
        directory = self._at(path)
        if key == "cpus":
            quota, _, period = read(directory, "cpu.max").partition(" ")
            return None if not quota else -1 if quota == "max" else round(int(quota) / int(period), 4)
        if key == "cpuset":
            return read(directory, "cpuset.cpus") or None
        if key == "cpu_shares":
            text = read(directory, "cpu.weight")
            matches = text and int(text) == weight(int(wanted[key]))
            return None if not text else wanted[key] if matches else shares(int(text))
        if key == "memory_swap":
            memory, swap = number(read(directory, "memory.max")), number(read(directory, "memory.swap.max"))
            return None if swap is None or memory is None else -1 if -1 in (swap, memory) else swap + memory
        name = {"memory": "memory.max", "memory_reservation": "memory.low", "pids": "pids.max"}[key]
        return number(read(directory, name))

    def write_limits(self, path: str, limits: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
        directory = self._at(path)
        new = {key: "" if key == "cpuset" else -1 for key in self.effective(before or {})} | self.effective(limits)
        for key, name in (("memory", "memory.max"), ("memory_reservation", "memory.low"), ("pids", "pids.max")):
            if key in new:
                lifted = 0 if key == "memory_reservation" else "max"
                write(directory, name, lifted if new[key] == -1 else new[key])
        if "memory_swap" in new and os.path.exists(f"{directory}/memory.swap.max"):
            total = new["memory_swap"]
            write(directory, "memory.swap.max", "max" if total == -1 else max(0, total - new["memory"]))
        if "cpus" in new:
            quota, period = cores(limits)
            write(directory, "cpu.max", f"{quota if quota > 0 else 'max'} {period}")
        if "cpu_shares" in new:
            write(directory, "cpu.weight", 100 if new["cpu_shares"] == -1 else weight(int(new["cpu_shares"])))
        if "cpuset" in new:
            write(directory, "cpuset.cpus", new["cpuset"])

    def oom_kills(self, path: str) -> int:
        return fields(read(self._at(path), "memory.events")).get("oom_kill", 0)

    def is_frozen(self, path: str) -> bool:
        return read(self._at(path), "cgroup.freeze") == "1"

    def freeze(self, path: str) -> None:
        self._set_frozen(self._at(path), 1)

    def thaw(self, path: str) -> None:
        if os.path.exists(self._at(path)):
            self._set_frozen(self._at(path), 0)

    def _set_frozen(self, directory: str, state: int) -> None:
        write(directory, "cgroup.freeze", state)
        what = "the pausing of a container" if state else "the unpausing of a container"
        wait_until(lambda: fields(read(directory, "cgroup.events")).get("frozen", 0) == state, what)

    def usage(self, path: str) -> Usage | None:
        directory = self._at(path)
        if not os.path.isdir(directory):
            return None
        cache = fields(read(directory, "memory.stat")).get("inactive_file", 0)
        moved = {"rbytes": 0, "wbytes": 0}
        for line in read(directory, "io.stat").splitlines():
            for word in line.split()[1:]:
                key, _, value = word.partition("=")
                if key in moved:
                    moved[key] += int(value)
        return Usage(
            cpu=fields(read(directory, "cpu.stat")).get("usage_usec", 0) * 1000,
            memory=max(0, int(read(directory, "memory.current") or 0) - cache),
            memory_limit=max(0, number(read(directory, "memory.max")) or 0),
            pids=int(read(directory, "pids.current") or 0),
            block_read=moved["rbytes"],
            block_write=moved["wbytes"],
        )

    def monitors(self, environment: str) -> list[str]:
        if not self._by_systemd:
            return [f"{self.root}{self.parent}/{environment}/monitors"]
        scope = f"{self.root}/envkit.slice/{self._slice}/envkit-{self.tag}-monitors.scope"
        return [scope] if os.path.isdir(scope) else []

    def adopt(self, environment: str, pid: int) -> None:
        if not self._by_systemd:
            super().adopt(environment, pid)
            return
        unit = f"envkit-{self.tag}-monitors.scope"
        directory = f"{self.root}/envkit.slice/{self._slice}/{unit}"
        deadline = time.monotonic() + _SCOPE
        while not join(directory, pid, make=False):  # once it is there, it was delegated to us
            try:
                process.run([
                    *_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", "3", "PIDs", "au", "1", str(pid),
                    "Slice", "s", self._slice, "Delegate", "b", "true", "0",
                ], timeout=30)  # fmt: skip
                return
            except HostError:  # another monitor's is being made, or the process has ended
                if time.monotonic() > deadline:
                    raise
                if not is_alive(pid):
                    return
                time.sleep(0.01)

    def remove_environment(self, environment: str) -> None:
        super().remove_environment(environment)
        directory = f"{self.root}/envkit.slice/{self._slice}"
        if self._by_systemd and os.path.isdir(directory) and not any(item.is_dir() for item in os.scandir(directory)):
            process.run([*_MANAGER, "StopUnit", "ss", self._slice, "replace"], timeout=30)


def number(text: str) -> int | None:
    """A limit file's value; -1 for "max", None for an absent file."""
    return None if not text else -1 if text == "max" else int(text)


def weight(cpu_shares: int) -> int:
    """cpu.shares 2…262144 -> cpu.weight 1…10000, as runtimes convert it (crun.1, cgroup v2)."""
    if not 2 <= cpu_shares <= 262144:
        raise HostError("cpu_shares are out of range", f"{cpu_shares}; they go from 2 to 262144")
    return 1 + (cpu_shares - 2) * 9999 // 262142


def shares(cpu_weight: int) -> int:
    """The inverse of weight, for messages; rounded up, as weight rounds down."""
    return 2 - (1 - cpu_weight) * 262142 // 9999
