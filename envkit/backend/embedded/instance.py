"""The life of one service instance: create, start, stop, kill, delete, status.

The bundle (config.json), the root, the network namespace and the materials exist already when create() is called; this
module starts processes, ends them, and tells what is. Callers that change an instance hold `record.locked(rec)`.
"""

from __future__ import annotations

import os
import signal as signals
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from envkit.backend.embedded import vitals
from envkit.backend.embedded.record import Record, slurp
from envkit.backend.embedded.runtime import runtime_of
from envkit.backend.embedded.status import Status, await_exits, init_of, monitor_is_alive, monitor_pid, status
from envkit.errors import ApplyError, EnvkitError, HostError
from envkit.host import proc
from envkit.host.cgroups import Cgroups
from envkit.host.files import remove_tree
from envkit.host.steps import step

__all__ = (
    "Status", "await_exits", "create", "delete", "end_unfinished", "failed", "forget", "forget_shadow", "init_of",
    "kill", "kill_all", "last_lines", "monitor_is_alive", "monitor_pid", "pause", "resume", "signal_number", "start",
    "status", "stop", "stop_all",
)  # fmt: skip

_UNIFIED = "/sys/fs/cgroup/unified"
_END = 10.0  # seconds that the kernel and conmon have to end what was killed


def create(record: Record) -> int:
    """Create the container; returns the pid of its init, which waits for start().

    What an earlier life left is removed (an incomplete record has had none). Raises ApplyError naming the instance;
    nothing is left of the attempt then.
    """
    from envkit.backend.embedded import conmon

    if record.complete:
        forget(record)
    step("instance.create")
    try:
        runtime = runtime_of(record.home)
        pid = conmon.create(record, runtime)
        if not runtime.keeps_modes:
            from envkit.backend.embedded import memory_modes

            memory_modes.settle(record, pid)
        vitals.keep_mounts(record, pid)
        Cgroups.of(record.home).adopt(record.environment, monitor_pid(record))
        return pid
    except EnvkitError as error:
        kill_all([record])  # nothing, where the creation itself failed
        forget(record)
        raise failed(record, error) from error


def start(record: Record) -> None:
    """Let a created container run. Raises ApplyError; the container is ended then."""
    step("instance.start")
    try:
        runtime_of(record.home).start(record.id)
    except HostError as error:
        kill_all([record])
        raise failed(record, error) from error


def failed(record: Record, error: EnvkitError) -> ApplyError:
    """The error of one instance with its runtime's text and the last lines of its log."""
    return ApplyError(
        error.summary, error.detail, error.hint, address=str(record.address), log=last_lines(record, 20)
    )


def last_lines(record: Record, count: int) -> list[str]:
    """The last lines of the log, as text."""
    try:
        with open(record.path("log"), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65536))
            rows = file.read().splitlines()[-count * 4 :]
    except FileNotFoundError:
        return []
    lines, part = [], ""
    for row in rows:
        pieces = row.decode(errors="replace").split(" ", 3)
        if len(pieces) < 4:
            continue
        part += pieces[3]
        if pieces[2] == "F":
            lines.append(part)
            part = ""
    if part:
        lines.append(part)
    return lines[-count:]


def signal_number(name: str) -> int:
    """The number of `SIGTERM`, `TERM` or `15`. Raises ApplyError for anything else."""
    text = name.upper().strip()
    if text.isdigit() and 0 < int(text) < 65:
        return int(text)
    if text.removeprefix("SIG").startswith("RTMIN+"):
        return signals.SIGRTMIN + int(text.rpartition("+")[2])
    member = getattr(signals, text if text.startswith("SIG") else "SIG" + text, None)
    if not isinstance(member, signals.Signals):
        raise ApplyError("There is no such signal", repr(name), "signal(7) has the names")
    return int(member)


def kill(record: Record, signal: str | int) -> None:
    """Send a signal to the init; without effect when it is not running."""
    init = init_of(record)
    if init is None:
        return
    number = signal if isinstance(signal, int) else signal_number(signal)
    if number == signals.SIGKILL:
        _thaw(record)
    descriptor = proc.open_pidfd(init.pid, init.start)
    if descriptor is None:
        return
    try:
        with suppress(ProcessLookupError):
            signals.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


def _thaw(record: Record) -> None:
    """On cgroup v1 a frozen process does not even die of SIGKILL."""
    if record.cgroup and Cgroups.of(record.home).is_frozen(record.cgroup):
        Cgroups.of(record.home).thaw(record.cgroup)


def stop(record: Record, timeout: float | None = None) -> None:
    """End the instance: its stop signal, its grace period (or timeout seconds), then SIGKILL. The record stays."""
    stop_all([record], {record.id: timeout} if timeout is not None else {})


def stop_all(records: Iterable[Record], timeouts: Mapping[str, float] | None = None) -> None:
    """stop() of many at once: all get their signal first, and each its own grace. timeouts: id -> seconds."""
    now = time.monotonic()
    waiting: dict[int, tuple[Record, float]] = {}
    try:
        for record in records:
            init = init_of(record)
            descriptor = proc.open_pidfd(init.pid, init.start) if init else None
            if descriptor is None:
                continue
            grace = (timeouts or {}).get(record.id, record.stop_grace)
            number = signal_number(record.stop_signal)
            if runtime_of(record.home).is_waiting(record.id) or number == signals.SIGKILL:
                grace = 0.0
            waiting[descriptor] = (record, now + grace)
            _thaw(record)
            step("instance.signal")
            with suppress(ProcessLookupError):
                signals.pidfd_send_signal(descriptor, number if grace > 0 else signals.SIGKILL)
        _end_all(waiting)
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def _end_all(waiting: Mapping[int, tuple[Record, float]]) -> None:
    """Wait for every process until its own deadline, then kill it, and wait for its exit file."""
    remaining = set(waiting)
    while remaining:
        deadline = min(waiting[item][1] for item in remaining)
        alive = proc.wait_pidfds(remaining, max(0.0, deadline - time.monotonic()))
        due = {item for item in alive if waiting[item][1] <= time.monotonic()}
        for descriptor in due:
            with suppress(ProcessLookupError):
                signals.pidfd_send_signal(descriptor, signals.SIGKILL)
        if stuck := proc.wait_pidfds(due, _END):
            names = ", ".join(str(waiting[item][0].address) for item in stuck)
            raise HostError("A process does not die of SIGKILL", f"{names}: it hangs in the kernel")
        remaining = alive - due
    for record, _ in waiting.values():
        _end_stragglers(record)
    await_exits(record for record, _ in waiting.values())


def _end_stragglers(record: Record) -> None:
    """Without a pid namespace of its own, a container's other processes survive their first one."""
    if not record.cgroup or not record.spec.get("pid"):
        return
    members = Cgroups.of(record.home).processes(record.cgroup)
    if members:
        proc.kill_and_wait(members, _END)


def kill_all(records: Iterable[Record]) -> None:
    """SIGKILL to every init and to whatever is left of each, without grace."""
    rows = list(records)
    stop_all(rows, {record.id: 0.0 for record in rows})


def forget(record: Record) -> None:
    """Remove what a dead container left in the runtime and in the cgroups; exit code and pid files too."""
    runtime_of(record.home).forget(record.id)
    if record.cgroup:
        Cgroups.of(record.home).remove(record.cgroup)
        forget_shadow(record.cgroup)
    for path in (record.exit_file, record.path("pid"), record.path("conmon.pid"), record.path("oom"),
                 record.path("persist/exit"), record.path("persist/oom")):  # fmt: skip
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


def end_unfinished(record: Record) -> None:
    """End what a creation that was cut off may still be doing: its conmon and runtime, and whatever they started."""
    mark = record.id.encode()
    hunted = []
    for name in os.listdir("/proc"):
        words = slurp(f"/proc/{name}/cmdline") if name.isdigit() else None
        if words and mark in words.split(b"\0") and int(name) != os.getpid():
            hunted.append(int(name))
    proc.kill_and_wait(hunted, _END)
    if record.cgroup and (members := Cgroups.of(record.home).processes(record.cgroup)):
        proc.kill_and_wait(members, _END)


def forget_shadow(cgroup: str) -> None:
    """Where a hybrid host's unified hierarchy is hidden from crun (engine namespace), crun still writes at that place:
    a plain directory with a file `cgroup.procs`, on the tmpfs below."""
    try:
        if os.stat(_UNIFIED).st_dev == os.stat(os.path.dirname(_UNIFIED)).st_dev:
            remove_tree(_UNIFIED + cgroup)
    except FileNotFoundError:
        return


def pause(record: Record) -> None:
    """Freeze every process. Raises HostError, UnsupportedError."""
    Cgroups.of(record.home).freeze(record.cgroup)


def resume(record: Record) -> None:
    """The opposite of pause()."""
    _thaw(record)


def delete(record: Record) -> None:
    """End the instance at once and remove everything that is its own: processes, network, mounts, files."""
    from envkit.backend.embedded.teardown import remove

    kill_all([record])
    remove(record.home, [record])
