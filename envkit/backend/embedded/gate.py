"""Whether a new instance may be relied on, and whether an old one still has work. Reads; writes nothing.

Sockets are those of an instance's own network namespace: proc(5), /proc/PID/net/tcp and tcp6.
"""

from __future__ import annotations

import time

from envkit.backend.embedded import instance, observe, restart, wait
from envkit.backend.embedded.record import Record, slurp
from envkit.errors import ApplyError
from envkit.observed.state import Health, InstanceState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SETTLE = 1.0
"""Seconds that a new instance without a health check must run before it is relied on, unless `monitor` says more."""
_LISTENS_WITHIN = 60.0
_PAUSE = 0.02
_QUIET = 0.3
"""Seconds without a connection until nobody is taken to be on the way any more: who has looked the old address up."""
_ESTABLISHED, _SYN_RECEIVED, _FIN_WAIT, _CLOSE_WAIT, _LISTEN = "01", "03", "04", "08", "0A"
_AT_WORK = frozenset({_ESTABLISHED, _SYN_RECEIVED, _FIN_WAIT, _CLOSE_WAIT})


def watch(record: Record, old: Record | None = None) -> None:
    """Return once a new instance is healthy, or has run for a while; a job may end with 0 instead.

    Without a health check it must also listen where the old instance listens, on the ports that are published. Raises
    ApplyError, with its last log lines, when it ends, becomes unhealthy or does not listen.
    """
    monitor = (record.spec.get("update") or {}).get("monitor")
    checked = record.healthcheck is not None
    seconds = float(monitor) if monitor is not None else 0.0 if checked else SETTLE
    wanted = _published(record) & listening(old) if old is not None and not checked else set()
    began = time.monotonic()
    while True:
        status = instance.status(record)
        if not status.is_alive:
            if status.exit_code == 0 and not restart.wanted(record.restart, 0, 0):
                return
            if status.state is InstanceState.EXITED:
                raise wait.ended_with(record, status)
        passed = time.monotonic() - began
        if checked:
            health = observe.health_of(record, status)
            if health is Health.UNHEALTHY:
                raise wait.unhealthy(record)
            ready = health is Health.HEALTHY
        else:
            ready = wanted <= listening(record) if wanted else True
            if not ready and passed > _LISTENS_WITHIN:
                raise _deaf(record, wanted)
        if ready and passed >= seconds:
            return
        time.sleep(_PAUSE)


def _deaf(record: Record, wanted: set[int]) -> ApplyError:
    ports = ", ".join(map(str, sorted(wanted - listening(record))))
    return ApplyError(
        "A new instance does not listen", f"{record.address}: nothing on port {ports} within {_LISTENS_WITHIN:g} s",
        "a `healthcheck:` says better when it is ready", address=str(record.address),
        log=instance.last_lines(record, 20),
    )  # fmt: skip


def drain(record: Record, limit: float) -> None:
    """Return once nobody is connected to the instance any more, or after so many seconds."""
    began = quiet = time.monotonic()
    while (now := time.monotonic()) - began < limit and instance.status(record).is_alive:
        if connections(record):
            quiet = now
        elif now - quiet >= _QUIET:
            return
        time.sleep(max(_PAUSE, 3 * (time.monotonic() - now)))  # thousands of closed connections are listed as well


def connections(record: Record) -> int:
    """How many connections there are to ports that the instance listens on."""
    rows = list(_sockets(record))
    own = {port for port, state in rows if state == _LISTEN}
    return sum(1 for port, state in rows if port in own and state in _AT_WORK)


def listening(record: Record) -> set[int]:
    """The TCP ports that the instance listens on."""
    return {port for port, state in _sockets(record) if state == _LISTEN}


def _sockets(record: Record) -> Iterator[tuple[int, str]]:
    """(local port, state) of every TCP socket."""
    pid = instance.status(record).pid
    for name in ("tcp", "tcp6"):
        for line in (slurp(f"/proc/{pid}/net/{name}") or b"").splitlines()[1:] if pid else ():
            words = line.split(None, 4)
            yield int(words[1].rpartition(b":")[2], 16), words[3].decode()


def _published(record: Record) -> set[int]:
    return {int(port["target"]) for port in record.ports if port["protocol"] == "tcp" and record.netns}
