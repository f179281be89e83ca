"""What instances use (`stats`) and what runs in them (`top`): from control groups and proc(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from envkit.backend.embedded import instance
from envkit.backend.embedded import record as records
from envkit.backend.embedded.record import Record
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home

if TYPE_CHECKING:
    from envkit.backend.base import Usage

_INTERVAL = 0.2  # seconds between the two looks that a rate needs


def usage(home: Home, environment: str) -> list[Usage]:
    """One row per running instance; takes about a fifth of a second."""
    from envkit.backend.base import Usage

    cgroups = Cgroups.of(home)
    alive = [
        (record, status.pid) for record in records.load_all(home, environment)
        if (status := instance.status(record)).is_alive
    ]  # fmt: skip
    first = {record.id: (time.monotonic(), cgroups.usage(record.cgroup)) for record, _ in alive}
    if alive:
        time.sleep(_INTERVAL)
    rows = []
    for record, pid in alive:
        then, before = first[record.id]
        now, after = time.monotonic(), cgroups.usage(record.cgroup)
        if after is None:
            continue
        received, sent = (0, 0) if record.network_mode == "host" else _traffic(pid)
        spent = after.cpu - before.cpu if before is not None else 0
        rows.append(
            Usage(
                name_of(record), max(0.0, spent / 1e9 / (now - then)), after.memory, after.memory_limit, after.pids,
                received, sent, after.block_read, after.block_write,
            )
        )  # fmt: skip
    return rows


def name_of(record: Record) -> str:
    """The address; a one-off has none and is known by its container's name."""
    return record.name if record.oneoff else str(record.address)


def _traffic(pid: int) -> tuple[int, int]:
    """(received, sent) bytes of a process's network namespace, loopback left out. proc(5), /proc/PID/net/dev."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            lines = file.readlines()[2:]
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    received = sent = 0
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() != "lo":
            fields = counters.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def processes(home: Home, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Address -> its processes, oldest first; services: of these only (empty: all). Numbers are the host's, users are
    named as the container names them."""
    cgroups = Cgroups.of(home)
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found: dict[str, list[dict[str, str]]] = {}
    for record in records.load_all(home, environment):
        status = instance.status(record)
        if (services and record.service not in services) or not status.is_alive:
            continue
        names = _user_names(status.pid)
        pids = cgroups.processes(record.cgroup) if record.cgroup else [status.pid]
        rows = [row for pid in sorted(pids) if (row := _process(pid, names, boot))]
        found[name_of(record)] = rows
    return found


def _user_names(pid: int) -> dict[int, str]:
    from envkit.host.beneath import read_beneath

    try:
        text = (read_beneath(f"/proc/{pid}/root", "etc/passwd") or b"").decode(errors="replace")
    except OSError:
        return {}
    rows = [line.split(":") for line in text.splitlines()]
    return {int(row[2]): row[0] for row in reversed(rows) if len(row) > 2 and row[2].isdigit() and row[0].isprintable()}


def _process(pid: int, names: dict[int, str], boot: float) -> dict[str, str] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
        uid = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    end = data.rindex(b")")
    fields = data[end + 2 :].split()
    ticks = os.sysconf("SC_CLK_TCK")
    spent = (int(fields[11]) + int(fields[12])) // ticks
    command = b" ".join(words) or b"[" + data[data.index(b"(") + 1 : end] + b"]"
    return {
        "UID": names.get(uid, str(uid)),
        "PID": str(pid),
        "PPID": fields[1].decode(),
        "STIME": time.strftime("%H:%M", time.localtime(boot + int(fields[19]) / ticks)),
        "TIME": f"{spent // 3600:02d}:{spent // 60 % 60:02d}:{spent % 60:02d}",
        "CMD": command.decode(errors="replace"),
    }
