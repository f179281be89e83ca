"""What one service instance is doing now, read from the kernel and the record directory. Writes nothing.

It is on the path of every plan, once per instance, and so imports little.
"""

from __future__ import annotations

import os
import time

from envkit.backend.embedded.record import slurp
from envkit.backend.embedded.runtime import runtime_of
from envkit.host import proc
from envkit.host.cgroups import Cgroups
from envkit.observed.state import InstanceState
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from envkit.backend.embedded.record import Record
    from envkit.backend.embedded.runtime import Init

UNKNOWN_EXIT = "exit code unknown"
OOM_KILLED = "OOM-killed"
_KILLED = 137  # 128 + SIGKILL


@value
class Status:
    """What an instance is doing now.

    pid 0: nothing runs. exit_code None: alive, never started, or unknown (its conmon was killed). ever: whether the
    runtime or an exit file knows it at all. started_at and finished_at: seconds since the epoch, 0.0 when unknown.
    """

    state: InstanceState
    pid: int = 0
    exit_code: int | None = None
    oom: bool = False
    started_at: float = 0.0
    finished_at: float = 0.0
    ever: bool = True

    @property
    def is_alive(self) -> bool:
        return self.state in (InstanceState.RUNNING, InstanceState.PAUSED)

    @property
    def detail(self) -> str:
        """For `ps`: "OOM-killed", "exit code unknown" or ""."""
        if self.oom:
            return OOM_KILLED
        return UNKNOWN_EXIT if self.state is InstanceState.EXITED and self.exit_code is None else ""


def init_of(record: Record) -> Init | None:
    """The runtime's record of the init, alive or not."""
    return runtime_of(record.home).init(record.id)


def exit_status(record: Record) -> tuple[int | None, float]:
    """(exit code or None when unknown, time of the end or 0.0) of a dead instance."""
    text = slurp(record.exit_file)
    if text is None or not text.strip().isdigit():
        return None, 0.0
    try:
        return int(text), os.stat(record.exit_file).st_mtime
    except FileNotFoundError:
        return int(text), 0.0


def status(record: Record) -> Status:
    """What the instance is doing, read from the kernel and the record directory. Writes nothing."""
    runtime = runtime_of(record.home)
    init = runtime.init(record.id)
    if init is not None and proc.is_alive(init.pid, init.start):
        begun = _started_at(init.start)
        if runtime.is_waiting(record.id):
            return Status(InstanceState.CREATED, init.pid, started_at=0.0)
        frozen = Cgroups.of(record.home).is_frozen(record.cgroup) if record.cgroup else False
        return Status(InstanceState.PAUSED if frozen else InstanceState.RUNNING, init.pid, started_at=begun)
    code, finished = exit_status(record)
    if init is not None and code is None:
        await_exits([record])  # it has just ended, and its conmon is about to write the code
        code, finished = exit_status(record)
    if init is None and code is None:
        if record.complete and record.desired != "stopped":
            return Status(InstanceState.EXITED, ever=False)
        return Status(InstanceState.CREATED, ever=False)
    oom = code == _KILLED and bool(record.cgroup) and _has_run_out(record)
    return Status(
        InstanceState.EXITED, 0, code, oom, _timestamp(init.created_at) if init else 0.0, finished
    )


def _has_run_out(record: Record) -> bool:
    """Whether a dead instance was killed for want of memory: by its cgroup, or, where systemd has removed that with the
    last process, by the file that conmon wrote on the kernel's event (memory.events)."""
    if Cgroups.of(record.home).oom_kills(record.cgroup) > 0:
        return True
    return any(os.path.exists(record.path(name)) for name in ("oom", "persist/oom"))


_boot_time = 0.0


def _started_at(ticks: int) -> float:
    global _boot_time  # noqa: PLW0603  (a constant of this boot, read once)
    if not _boot_time:
        _boot_time = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return _boot_time + ticks / os.sysconf("SC_CLK_TCK")


def _timestamp(text: str) -> float:
    """RFC 3339 in UTC -> seconds since the epoch; 0.0 for anything else."""
    from calendar import timegm

    try:
        return float(timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0.0


def await_exits(records: Iterable[Record]) -> None:
    """Wait until conmon has written every exit code, or is gone without having done so."""
    deadline = time.monotonic() + 2.0
    pause = 0.001
    for record in records:
        while not os.path.exists(record.exit_file) and time.monotonic() < deadline and monitor_is_alive(record):
            time.sleep(pause)
            pause = min(0.02, pause * 1.5)


def monitor_pid(record: Record) -> int:
    """The pid that conmon wrote, 0 when there is none."""
    text = slurp(record.path("conmon.pid"))
    return int(text) if text and text.strip().isdigit() else 0


def monitor_is_alive(record: Record) -> bool:
    """Whether a conmon watches this instance now (its log and exit code are safe)."""
    pid = monitor_pid(record)
    fields = slurp(f"/proc/{pid}/stat") if pid else None
    return fields is not None and b"(conmon)" in fields and fields[fields.rindex(b")") + 2 :][:1] not in b"ZX"
