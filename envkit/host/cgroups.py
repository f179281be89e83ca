"""Control groups: where containers' limits live, in each of the forms a machine may have.

`Cgroups.of(home)` probes once per process. Every other call takes what `path_for` returned, which is also the
`linux.cgroupsPath` of config.json. Limits are plain dictionaries with the words of LimitsSpec (sizes in bytes, cpus in
cores, -1 unlimited). What this machine cannot keep is not in `supported`: a runtime would drop it silently.
"""

from __future__ import annotations

import errno
import os
import time

from envkit.errors import HostError, UnsupportedError
from envkit.host.mountinfo import mount_table
from envkit.host.steps import step
from envkit.lean import suppress
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    from envkit.host.home import Home

ROOT = "/sys/fs/cgroup"
PERIOD = 100_000  # microseconds, when only `cpus` is given
_PAGE = os.sysconf("SC_PAGE_SIZE")
_REMOVAL = 2.0


@value
class Usage:
    """cpu in nanoseconds since creation, sizes in bytes (memory without the reclaimable file cache), limit 0: none."""

    cpu: int
    memory: int
    memory_limit: int
    pids: int
    block_read: int
    block_write: int


class Cgroups:
    """The machine's form of control groups. version: v1 (hybrid included), v2 or none; manager: cgroupfs, systemd or
    disabled. runtime_flags: what crun must be told. supported: the keys of LimitsSpec that hold here. tops: the mounted
    hierarchies below which the groups are this package's own."""

    version: ClassVar[str] = "none"
    manager = "disabled"
    runtime_flags: tuple[str, ...] = ("--cgroup-manager=disabled",)
    supported: frozenset[str] = frozenset()
    tops: Sequence[str] = ()
    _known: ClassVar[dict[str, Cgroups]] = {}

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def tag(self) -> str:
        """The installation's mark; made when asked for, as it costs a resident process 3.5 MB of OpenSSL."""
        return self.home.tag

    @property
    def parent(self) -> str:
        """The installation's own group."""
        return f"/envkit-{self.tag}"

    @classmethod
    def of(cls, home: Home) -> Cgroups:
        """The one object of this process for an installation."""
        if home.root not in cls._known:
            cls._known[home.root] = cls.probe(home)
        return cls._known[home.root]

    @classmethod
    def probe(cls, home: Home) -> Cgroups:
        """Look at the mount table and at what is writable; changes nothing."""
        from envkit.host.cgroups_v1 import CgroupsV1
        from envkit.host.cgroups_v2 import CgroupsV2

        table = [entry for entry in mount_table() if entry.filesystem in ("cgroup", "cgroup2")]
        if any(entry.target == ROOT and entry.filesystem == "cgroup2" for entry in table):
            return CgroupsV2(home) if os.access(ROOT, os.W_OK) else cls(home)
        first = [entry for entry in table if entry.filesystem == "cgroup" and os.access(entry.target, os.W_OK)]
        return CgroupsV1(home, first) if first else cls(home)

    def path_for(self, environment: str, identity: str) -> str:
        """The `linux.cgroupsPath` of one container; "" where there are no cgroups."""
        return ""

    def location(self, path: str) -> str:
        """Where a path lies in a hierarchy, as /proc/PID/cgroup shows it."""
        return path

    def prepare(self, environment: str) -> None:
        """Make what containers of an environment hang below."""

    def directories(self, path: str) -> list[str]:
        """The absolute directories behind a path, one per hierarchy."""
        return []

    def effective(self, limits: Mapping[str, Any]) -> dict[str, Any]:
        """What read_limits will say when limits are in force: rounded and derived as the kernel does it."""
        found: dict[str, Any] = {}
        if limits.get("memory"):
            found["memory"] = pages(int(limits["memory"]))
            found["memory_swap"] = pages(swap_limit(limits))
        if limits.get("memory_reservation"):
            found["memory_reservation"] = pages(int(limits["memory_reservation"]))
        if limits.get("cpus") or limits.get("cpu_quota"):
            quota, period = cores(limits)
            found["cpus"] = round(quota / period, 4) if quota > 0 else -1
        if limits.get("cpu_shares"):
            found["cpu_shares"] = min(max(int(limits["cpu_shares"]), 2), 262144)
        if limits.get("cpuset"):
            found["cpuset"] = cpu_set(str(limits["cpuset"]))
        if limits.get("pids"):
            found["pids"] = int(limits["pids"]) if int(limits["pids"]) > 0 else -1
        return {key: value for key, value in found.items() if key in self.supported}

    def read_limits(self, path: str, limits: Mapping[str, Any]) -> dict[str, Any]:
        """What the kernel says now, over the keys of effective(limits); keys of a vanished cgroup are absent."""
        wanted = self.effective(limits)
        return {key: value for key in wanted if (value := self._read(path, key, wanted)) is not None}

    def _read(self, path: str, key: str, wanted: Mapping[str, Any]) -> Any:
        """The value of one key of wanted; None where it is not known."""

    def write_limits(self, path: str, limits: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
        """Change a running container's limits in place.

        before: the limits until now, so that one that was taken away is lifted. Raises HostError when the kernel
        refuses (memory below what is in use)."""
        raise UnsupportedError("limits cannot be changed on this machine", "it has no writable control groups")

    def oom_kills(self, path: str) -> int:
        """How many processes were killed for want of memory; readable until the cgroup is removed."""
        return 0

    def is_frozen(self, path: str) -> bool:
        """Whether the container is paused."""
        return False

    def freeze(self, path: str) -> None:
        """Stop every process of the container where it stands; returns when they stand."""
        raise UnsupportedError("containers cannot be paused on this machine", "it has no writable control groups")

    def thaw(self, path: str) -> None:
        """The inverse of freeze; harmless when nothing is frozen."""

    def usage(self, path: str) -> Usage | None:
        """What the container uses now; None when its cgroup is gone or there are none."""
        return None

    def adopt(self, environment: str, pid: int) -> None:
        """Move a monitor or supervisor out of its caller's cgroups, whose limits and end are not its own.

        Nothing happens when the process has ended. Raises HostError when the kernel refuses."""
        for directory in self.monitors(environment):
            join(directory, pid)

    def monitors(self, environment: str) -> list[str]:
        """The directories of the cgroups that adopt() moves a process to, for one that joins by itself.

        Below systemd there is none before the first was adopted."""
        return []

    def processes(self, path: str) -> list[int]:
        """The pids of the container, its own sub-groups included."""
        found: list[int] = []
        for directory in self.directories(path)[:1]:
            for below in _descend(directory):
                found += [int(line) for line in read(below, "cgroup.procs").split()]
        return found

    def remove(self, path: str) -> None:
        """Remove a container's cgroups after its processes have ended; absent is fine."""
        step("cgroup.remove")
        deadline = time.monotonic() + _REMOVAL
        for directory in self.directories(path):
            _remove(directory, deadline)

    def remove_environment(self, environment: str) -> None:
        """Remove what `prepare` and `adopt` made, and the installation's own group when it is empty."""
        deadline = time.monotonic() + _REMOVAL
        for top in self.tops:
            monitors = f"{top}{self.parent}/{environment}/monitors"
            for pid in read(monitors, "cgroup.procs").split():  # ends by itself: a supervisor that came late, its child
                join(top, int(pid))
            _remove(monitors, deadline)  # a monitor may be about to end
            for part in (f"/{environment}", ""):
                _remove_empty(top + self.parent + part)


def read(directory: str, name: str) -> str:
    """A control file's text; "" when it or its cgroup is absent, or it has no value (EOPNOTSUPP, ENODEV).

    By descriptor, at half of open()'s price: every plan reads a handful per instance.
    """
    try:
        descriptor = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        data = b""
        while chunk := os.read(descriptor, 1 << 16):
            data += chunk
        return data.decode().strip()
    except OSError as error:
        if error.errno in (19, 95):
            return ""
        raise
    finally:
        os.close(descriptor)


def write(directory: str, name: str, value: object) -> None:
    """Write a control file. Raises HostError with the kernel's reason."""
    path = f"{directory}/{name}"
    try:
        with open(path, "wb", buffering=0) as file:
            file.write(f"{value}\n".encode())
    except OSError as error:
        raise HostError("the kernel refuses a limit", f"{value} into {path}: {error.strerror}") from error


def join(directory: str, pid: int, *, make: bool = True) -> bool:
    """Move a process to a cgroup; one that has ended stays where it is. False: the cgroup is absent (make: is made)."""
    data = f"{pid}\n".encode()
    try:
        descriptor = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not make:
            return False
        os.makedirs(directory, exist_ok=True)
        return join(directory, pid)
    try:
        os.write(descriptor, data)
    except ProcessLookupError:
        return True
    except OSError as error:
        if error.errno == errno.ENODEV:  # removed since
            return join(directory, pid) if make else False
        raise HostError("a process cannot change its control group", f"{directory}: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return True


def pages(size: int) -> int:
    """A size as the kernel keeps it: whole pages, -1 for unlimited."""
    return size - size % _PAGE if size >= 0 else -1


def cores(limits: Mapping[str, Any]) -> tuple[int, int]:
    """(quota, period) in microseconds; quota -1: unlimited."""
    period = int(limits.get("cpu_period") or PERIOD)
    if cpus := float(limits.get("cpus") or 0):
        return round(cpus * period), period
    return int(limits.get("cpu_quota") or -1), period


def swap_limit(limits: Mapping[str, Any]) -> int:
    """Memory and swap together, as Docker counts: twice the memory when not given, -1 unlimited."""
    memory, swap = int(limits.get("memory") or -1), int(limits.get("memory_swap") or 0)
    return swap or (2 * memory if memory > 0 else -1)


def cpu_set(text: str) -> str:
    """A cpuset in the kernel's form: "0,1,2" is "0-2"."""
    numbers: set[int] = set()
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def fields(text: str) -> dict[str, int]:
    """Lines of "KEY NUMBER" (memory.stat, memory.events, cpu.stat)."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].lstrip("-").isdigit()}


def wait_until(met: Callable[[], bool], what: str, timeout: float = 5.0) -> None:
    """Poll until met() is true. Raises HostError after timeout seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while not met():
        if time.monotonic() > deadline:
            raise HostError(f"{what} did not happen within {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _descend(directory: str) -> Iterator[str]:
    """The cgroup and everything below it, children first."""
    with suppress(FileNotFoundError, NotADirectoryError):
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in below:
            yield from _descend(path)
        yield directory


def _remove(directory: str, deadline: float) -> None:
    while True:
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                detail = f"{directory}: {error.strerror}; processes: {read(directory, 'cgroup.procs').split()}"
                raise HostError("a control group cannot be removed", detail) from error
        for below in _descend(directory):
            if below != directory:
                with suppress(OSError):
                    os.rmdir(below)
        time.sleep(0.005)


def _remove_empty(directory: str) -> None:
    """Remove a cgroup that nothing hangs below; left alone otherwise."""
    with suppress(OSError):
        os.rmdir(directory)
