"""Processes by identity: a pid alone may have been recycled, pid and start time together have not.

Source: proc(5), /proc/PID/stat; pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import time

from envkit.host.steps import step
from envkit.lean import signal as signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command name: [0] is the state, [19] the start time."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        data = os.read(descriptor, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    return data[data.rindex(b")") + 2 :].decode().split()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_alive(pid: int, start: int | None = None) -> bool:
    """Whether the process runs; a zombie does not, and neither does another process with the same pid."""
    fields = _stat(pid) if pid > 0 else None
    return fields is not None and fields[0] not in "ZX" and (start is None or int(fields[19]) == start)


def boot_id() -> str:
    """The kernel's identity of this boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def open_pidfd(pid: int, start: int | None = None) -> int | None:
    """A descriptor of exactly that process; None when it is gone. Readable (poll) once it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if is_alive(pid, start):
        return descriptor
    os.close(descriptor)
    return None


def kill_and_wait(
    pids: Iterable[int | tuple[int, int | None]], timeout: float, signal: int = 9
) -> list[int]:
    """Send signal to every process (pid, or pid and start time) and wait until all have ended.

    timeout is in seconds for all together; returns the pids that are still alive then. Children of the caller are not
    reaped.
    """
    waiting: dict[int, int] = {}
    try:
        for item in pids:
            pid, start = item if isinstance(item, tuple) else (item, None)
            descriptor = open_pidfd(pid, start)
            if descriptor is None:
                continue
            waiting[descriptor] = pid
            try:
                step("process.signal")
                signals.pidfd_send_signal(descriptor, signal)
            except ProcessLookupError:
                continue
        return [waiting[descriptor] for descriptor in wait_pidfds(waiting, timeout)]
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def wait_pidfds(descriptors: Iterable[int], timeout: float) -> set[int]:
    """Wait until every process of the pidfds has ended; returns those that have not within timeout seconds."""
    remaining = set(descriptors)
    deadline = time.monotonic() + timeout
    poll = select.poll()
    for descriptor in remaining:
        poll.register(descriptor, select.POLLIN)
    while remaining:
        left = deadline - time.monotonic()
        ended = poll.poll(max(0, left * 1000))
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            remaining.discard(descriptor)
        if not ended and left <= 0:
            break
    return remaining
