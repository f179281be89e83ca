"""Staying with services that have been started: their lines, their ends, and Ctrl-C (`up` without -d).

One thread follows the log and one the events; all decisions fall in the calling thread, which looks at the instances
whenever something has happened. The first interrupt stops the services, the second kills them.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from envkit.address import Address
from envkit.backend.base import Backend, LogEntry, LogQuery
from envkit.errors import EnvkitError
from envkit.events import Emit, Event, EventKind, ignore
from envkit.observed.state import Instance, InstanceState
from envkit.reconcile.interrupts import handled
from envkit.reconcile.lifecycle import in_order
from envkit.spec.environment import Environment
from envkit.values import value

INTERRUPTED = 130
_LOOK = 0.5  # seconds after which instances are looked at even when no event came
_PATIENCE = 2.0  # seconds that the supervisor has to show that it starts an ended instance again
_QUIET = 0.05  # seconds of silence after which a follower is held to have read everything
_ENDED = (InstanceState.EXITED, InstanceState.CREATED)


@value
class Attachment:
    """watched: the services whose end ends the attachment; shown: those whose lines are shown; held: all that are
    stopped with them. stop_on: "exit" or "failure" of one of them stops them all, "" does not. exit_code_from: the
    service whose exit code is the result. before: id -> how the instance was before it was (perhaps) started. begun:
    seconds since the epoch. timeout: seconds of grace instead of the services' own."""

    watched: tuple[str, ...]
    shown: tuple[str, ...]
    held: tuple[str, ...]
    begun: float
    before: Mapping[str, Instance]
    stop_on: str = ""
    exit_code_from: str = ""
    timeout: float | None = None


def stay(
    backend: Backend, environment: Environment, attachment: Attachment, *, show: Callable[[LogEntry], None],
    tell: Callable[[str], None], emit: Emit, hold: Callable[[], None] | None = None,
) -> int:  # fmt: skip
    """Show lines until the watched services have ended for good; the exit code.

    0, or that of exit_code_from, or of the first to end where its end stops the others; INTERRUPTED after Ctrl-C.
    show and tell (for people: one line) are called one at a time. hold: stay until an interrupt, whatever ends
    (somebody makes new instances), and call this before anything is stopped.
    """
    attached = _Attached(backend, environment, attachment, show, tell, emit, hold)
    with handled(attached.interrupt):
        return attached.run()


class _Attached:
    def __init__(
        self, backend: Backend, environment: Environment, attachment: Attachment, show: Callable[[LogEntry], None],
        tell: Callable[[str], None], emit: Emit, hold: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        self._hold = hold
        self._backend, self._environment, self._what = backend, environment, attachment
        self._show, self._tell, self._emit = show, tell, emit
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._shown: dict[tuple[str, int], int] = defaultdict(int)
        self._followed: dict[tuple[str, int], int] = defaultdict(int)
        self._last_line = 0.0
        self._interrupts = 0
        self._workers: list[threading.Thread] = []
        self._closed = False
        self._asked = 0  # 1: a stop is under way, 2: a kill
        self._code: int | None = None
        self._over: set[str] = set()  # ids of those that have ended for good
        self._exited: dict[str, float] = {}
        self._restarting: dict[str, int] = {}

    def interrupt(self) -> None:
        """Ctrl-C; called from a signal handler."""
        self._interrupts += 1
        self._wake.set()

    def run(self) -> int:
        for work in (self._follow, self._listen):
            threading.Thread(target=work, daemon=True).start()
        while self._look() or (self._hold is not None and not self._interrupts):
            if min(self._interrupts, 2) > self._asked:
                self._end(self._interrupts)
            self._wake.wait(_LOOK)
            self._wake.clear()
        for worker in self._workers:
            worker.join()
        self._drain(None)
        with self._lock:
            self._closed = True  # a thread that writes while the interpreter ends would take it down
        if self._interrupts:
            return INTERRUPTED
        return self._code or 0

    # -- lines

    def _query(self, services: Collection[str], *, follow: bool) -> LogQuery:
        return LogQuery(tuple(services), follow=follow, since=self._what.begun)

    def _follow(self) -> None:
        if not self._what.shown:
            return
        for entry in self._backend.logs(self._environment.name, self._query(self._what.shown, follow=True)):
            if not entry.replica:  # a one-off speaks to whoever runs it
                continue
            with self._lock:
                self._last_line = time.monotonic()
                key = (entry.service, entry.replica)
                self._followed[key] += 1
                self._one(entry, self._followed[key])

    def _one(self, entry: LogEntry, number: int) -> None:
        """The number-th line of an instance; shown unless it has been. The lock is held."""
        key = (entry.service, entry.replica)
        if number > self._shown[key] and not self._closed:
            self._shown[key] = number
            self._show(entry)

    def _drain(self, row: Instance | None) -> None:
        """Show what the follower has not come to yet (row: of one that has ended; None: of all)."""
        names = self._what.shown if row is None else tuple(name for name in self._what.shown if name == row.service)
        if not names:
            return
        limit = time.monotonic() + 1.0
        while time.monotonic() < limit:
            with self._lock:
                if time.monotonic() - self._last_line > _QUIET:
                    break
            time.sleep(_QUIET)
        counts: dict[tuple[str, int], int] = defaultdict(int)
        with self._lock:
            for entry in self._backend.logs(self._environment.name, self._query(names, follow=False)):
                if entry.replica:
                    key = (entry.service, entry.replica)
                    counts[key] += 1
                    self._one(entry, counts[key])

    # -- ends

    def _listen(self) -> None:
        for _ in self._backend.events(self._environment.name, since=self._what.begun, follow=True):
            self._wake.set()

    def _look(self) -> bool:
        """Whether any watched instance lives on, or may."""
        rows = [row for row in self._backend.instances(self._environment.name) if row.replica]
        living = False
        for row in rows:
            if row.service in self._what.held and row.id not in self._over:
                over = self._has_ended(row)
                if over:
                    self._over.add(row.id)
                    self._note_end(row)
                elif row.service in self._what.watched or self._asked:
                    living = True
        return living

    def _has_ended(self, row: Instance) -> bool:
        now = time.monotonic()
        if row.state is InstanceState.RESTARTING:
            if self._restarting.get(row.id) != row.restarts:
                self._restarting[row.id] = row.restarts
                self._say(f"{_name(row)} exited with {_code(row)} (restarting)")
            return False
        if row.state not in _ENDED:
            self._exited.pop(row.id, None)
            return False
        if self._asked or not self._may_restart(row):
            return True
        return now - self._exited.setdefault(row.id, now) >= _PATIENCE

    def _may_restart(self, row: Instance) -> bool:
        resource = self._environment.get("service", row.service)
        policy = resource.spec.get("restart", {}).get("policy", "no") if resource else "no"
        return policy in ("always", "unless-stopped") or (policy == "on-failure" and row.exit_code != 0)

    def _note_end(self, row: Instance) -> None:
        known = self._what.before.get(row.id)
        if known is not None and known.state in _ENDED and known.started_at == row.started_at:
            return  # it had ended before, and nobody has started it
        if row.state is InstanceState.EXITED:
            self._drain(row)
            self._say(f"{_name(row)} exited with {_code(row)}")
        code = 1 if row.exit_code is None else row.exit_code
        what = self._what
        if what.exit_code_from:
            if row.service == what.exit_code_from and self._code is None:
                self._code = code
        elif self._code is None and (what.stop_on == "exit" or (what.stop_on == "failure" and code)):
            self._code = code
        if not self._asked and (what.stop_on == "exit" or (what.stop_on == "failure" and code)):
            self._end(1)

    def _say(self, text: str) -> None:
        with self._lock:
            self._tell(text)

    # -- taking down

    def _end(self, step: int) -> None:
        """1: stop what is held, in the background; 2 and more: kill it."""
        self._asked = max(self._asked, min(step, 2), 1)
        if step == 1 and self._interrupts:
            self._say("Stopping gracefully; Ctrl-C again kills.")
        work = self._stop if step == 1 else self._kill
        self._workers.append(threading.Thread(target=work, daemon=True))
        self._workers[-1].start()

    def _held(self) -> list[Instance]:
        rows = self._backend.instances(self._environment.name)
        return [row for row in rows if row.replica and row.service in self._what.held and row.state not in _ENDED]

    def _stop(self) -> None:
        if self._hold is not None:
            self._hold()
        addresses = [Address("service", row.service, row.replica) for row in self._held()]
        try:
            in_order(
                self._backend, self._environment, addresses, "stop", emit=self._emit, timeout=self._what.timeout
            )
        except EnvkitError as error:
            self._emit(Event(EventKind.WARNING, action="stop", message=str(error)))
        finally:
            self._wake.set()

    def _kill(self) -> None:
        for row in self._held():
            address = Address("service", row.service, row.replica)
            try:
                self._backend.control(self._environment.name, [address], "kill", emit=ignore, signal="SIGKILL")
            except EnvkitError:  # it has ended by itself meanwhile
                continue
            finally:
                self._wake.set()


def _name(row: Instance) -> str:
    return row.service if row.replica == 1 else f"{row.service}[{row.replica}]"


def _code(row: Instance) -> str:
    return "an unknown code" if row.exit_code is None else f"code {row.exit_code}"
