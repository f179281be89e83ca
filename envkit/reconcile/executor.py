"""The parallel executor: hands the session every change that is ready, as one batch, again and again.

A change is ready when the changes that it requires are done and the conditions that it requires are met. Batches run in
threads of their own, made when the first one is needed: by then the session is open (an engine that enters namespaces
must do it before there is a second thread). All decisions fall in the calling thread, fed by one queue.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue

from envkit.address import Address
from envkit.backend.base import Session
from envkit.errors import ApplyError, EnvkitError
from envkit.events import Emit, Event, EventKind
from envkit.plan.graph import targets
from envkit.plan.model import Action, Change
from envkit.reconcile.outcome import Outcome, as_error
from envkit.reconcile.rollout import Rollouts
from envkit.spec.environment import Condition, Dependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WAITED = ("healthy", "completed")
_PHRASES = {"healthy": "to become healthy", "completed": "to complete", "started": "to start"}
_BUG = "This is a bug in envkit."
_Wait = tuple[Address, Condition]


class Executor:
    """Runs the changes of one session; `outcome` grows with every run. `stop()` may be called from a signal handler."""

    def __init__(self, session: Session, emit: Emit, parallel: int) -> None:
        self.outcome = Outcome()
        self._session, self._emit, self._parallel = session, emit, max(1, parallel)
        self._queue: SimpleQueue[tuple[str, Any, BaseException | None]] = SimpleQueue()
        self._cancelled = threading.Event()
        self._batches = 0
        self._begun: dict[Address, float] = {}
        self._waits: dict[_Wait, str] = {}
        self._pending: dict[Address, Change] = {}
        self._blocked: dict[Address, set[Address]] = {}
        self._unlocks: dict[Address, list[Address]] = {}
        self._ready: deque[Change] = deque()
        self._later: list[tuple[float, Change]] = []
        self._rollouts = Rollouts(())

    def stop(self) -> None:
        """Begin nothing more; what is running is finished."""
        self._queue.put(("stop", None, None))

    def run(self, changes: Sequence[Change]) -> None:
        """Carry out the changes; returns when nothing more can be done.

        Failures are in `outcome`. Only what is no Exception (a second interrupt) is raised, and that at once.
        """
        self._prepare(changes)
        self._dispatch()
        while self._batches or self._pending_waits() or (self._later and not self.outcome.interrupted):
            if (message := self._next()) is not None:
                self._take(message)
            while not self._queue.empty():
                self._take(self._queue.get())
            self._dispatch()
        for change in list(self._pending.values()):
            self._skip(change, "interrupted" if self.outcome.interrupted else "what it requires was not done")

    def roll_back(self) -> None:
        """Undo the updates of the last run that have failed and want it (`failure_action: rollback`).

        An address that is as it was counts as skipped, or as failed where it was the culprit.
        """
        outcome, back = self.outcome, self._rollouts.way_back(set(self.outcome.done))
        addresses = {change.address for change in back}
        culprits = {address: outcome.failed.pop(address) for address in addresses & outcome.failed.keys()}
        outcome.done = [address for address in outcome.done if address not in addresses]
        self.run(back)
        for change in back:
            if change.address in outcome.done:
                outcome.done.remove(change.address)
                if change.address not in culprits:
                    outcome.skipped[change.address] = change.reason
            outcome.failed |= {change.address: culprits[change.address]} if change.address in culprits else {}

    # -- the graph

    def _prepare(self, changes: Sequence[Change]) -> None:
        find = targets(changes)
        self._rollouts, self._later = Rollouts(changes), []
        self._changes = {change.address: change for change in changes}
        order = {change.address: position for position, change in enumerate(changes)}
        settled = {*self.outcome.done, *self.outcome.failed, *self.outcome.skipped}
        self._requirements: dict[Address, list[tuple[Address, Dependency]]] = defaultdict(list)
        self._unlocks = defaultdict(list)
        for change in changes:
            if change.action is Action.NOOP or change.address in settled:
                continue
            self._pending[change.address] = change
            for dependency in change.requires:
                for address in find(change, dependency):
                    if order[address] < order[change.address]:  # the plan's order has no circles, its edges might
                        self._requirements[change.address].append((address, dependency))
        for address, change in self._pending.items():
            needed = {other for other, _ in self._requirements[address] if other in self._pending}
            self._blocked[address] = needed
            for other in needed:
                self._unlocks[other].append(address)
            if not needed:
                self._ready.append(change)

    def _finish(self, address: Address) -> None:
        """address is done, failed or skipped: whoever waited for it is looked at again."""
        for other in self._unlocks.get(address, ()):
            blocked = self._blocked.get(other)
            if blocked is not None and address in blocked:
                blocked.discard(address)
                if not blocked and other in self._pending:
                    self._ready.append(self._pending[other])

    # -- what happens

    def _next(self) -> tuple[str, Any, BaseException | None] | None:
        """The next message; None when the time of something that waits for it has come."""
        if not self._later or self.outcome.interrupted:
            return self._queue.get()
        try:
            return self._queue.get(timeout=max(0.0, min(due for due, _ in self._later) - time.monotonic()))
        except Empty:
            return None

    def _take(self, message: tuple[str, Any, BaseException | None]) -> None:
        kind, what, error = message
        if error is not None and not isinstance(error, Exception):
            raise error
        match kind:
            case "change":
                self._done(what, error)
            case "batch":
                self._batches -= 1
                for change in what:
                    if change.address in self._begun:
                        self._done(change, error or EnvkitError("The backend reported nothing", hint=_BUG))
            case "wait":
                self._waited(what, error)
            case "stop" if not self.outcome.interrupted:
                self.outcome.interrupted = True
                self._cancelled.set()
                running = f"finishing {len(self._begun)} running" if self._begun else "nothing is running"
                self._emit(Event(EventKind.WARNING, message=f"interrupted: {running}; interrupt again to abort"))

    def _done(self, change: Change, error: BaseException | None) -> None:
        began = self._begun.pop(change.address, None)
        if began is None:
            return
        self._rollouts.note(change, time.monotonic(), failed=error is not None)
        if error is None:
            self.outcome.done.append(change.address)
            seconds = {"seconds": round(time.monotonic() - began, 3)}
            self._emit(Event(EventKind.DONE, str(change.address), change.action.word, data=seconds))
        else:
            self._fail(change.address, change.action.word, as_error(change.address, error), change)
        self._finish(change.address)

    def _fail(self, address: Address, word: str, error: EnvkitError, change: Change | None) -> None:
        if address not in self.outcome.failed:
            if isinstance(error, ApplyError) and not error.source and change is not None and change.resource:
                error.source = change.resource.origin("reference")
            self.outcome.failed[address] = error
            self._emit(Event(EventKind.FAILED, str(address), word, str(error)))

    def _skip(self, change: Change, because: str) -> None:
        del self._pending[change.address]
        self.outcome.skipped[change.address] = because
        self._emit(Event(EventKind.SKIPPED, str(change.address), change.action.word, f"skipped: {because}"))
        self._finish(change.address)

    # -- what is next

    def _dispatch(self) -> None:
        """Look at everything that became ready; hand on what can run now, as one batch."""
        if self.outcome.interrupted or self._batches >= self._parallel:
            return
        batch: list[Change] = []
        now = time.monotonic()
        self._ready.extend(change for due, change in self._later if due <= now)
        self._later = [(due, change) for due, change in self._later if due > now]
        while self._ready:
            change = self._ready.popleft()
            if change.address not in self._pending:
                continue
            if because := self._hopeless(change) or self._rollouts.halted(change):
                self._skip(change, because)
            elif (due := self._rollouts.due(change)) > now:
                self._later.append((due, change))
                text = f"waiting for {due - now:.3g} s, the delay of its update"
                self._emit(Event(EventKind.WAITING, str(change.address), change.action.word, text))
            elif self._conditions_met(change):
                batch.append(self._pending.pop(change.address))
        if batch:
            self._start(batch)

    def _hopeless(self, change: Change) -> str:
        """Why the change can't be done any more; "" while it can."""
        for address, dependency in self._requirements[change.address]:
            if not dependency.required:
                continue
            if address in self.outcome.failed:
                return f"{address} failed"
            if address in self.outcome.skipped:
                return f"{address} was skipped"
        for wait in self._conditions(change):
            if self._waits.get(wait[0]) == "failed" and wait[1].required:
                return f"{wait[0][0]} failed {_PHRASES[wait[0][1]]}"
        return ""

    def _conditions(self, change: Change) -> Iterable[tuple[_Wait, Dependency]]:
        for dependency in change.requires:
            if dependency.condition in _WAITED:
                yield (dependency.address, dependency.condition), dependency

    def _conditions_met(self, change: Change) -> bool:
        """Whether nothing is left to wait for; begins the waits that are."""
        met = True
        for wait, dependency in self._conditions(change):
            address, condition = wait
            state = self._waits.get(wait)
            lost = state == "failed" or address in self.outcome.failed or address in self.outcome.skipped
            if state == "met" or (lost and not dependency.required):
                continue
            met = False
            text = f"waiting for {address} {_PHRASES[condition]}"
            data = {"for": str(address), "condition": condition}
            self._emit(Event(EventKind.WAITING, str(change.address), change.action.word, text, data))
            if state is None:
                self._waits[wait] = "waiting"
                threading.Thread(target=self._wait, args=(wait,), name=f"wait {address}", daemon=True).start()
        return met

    def _pending_waits(self) -> bool:
        return any(state == "waiting" for state in self._waits.values())

    def _waited(self, wait: _Wait, error: BaseException | None) -> None:
        address = wait[0]
        if self.outcome.interrupted and error is None:
            self._waits[wait] = "cancelled"
            return
        self._waits[wait] = "failed" if error else "met"
        waiting = [
            change for change in self._pending.values()
            if not self._blocked[change.address] and any(item == wait for item, _ in self._conditions(change))
        ]  # fmt: skip
        if error is not None:
            failure = as_error(address, error)
            conditions = [pair for change in waiting for pair in self._conditions(change)]
            if any(dependency.required for item, dependency in conditions if item == wait):
                self._fail(address, "wait", failure, self._changes.get(address))
            else:
                self._emit(Event(EventKind.WARNING, str(address), "wait", f"{failure}; going on without it"))
        self._ready.extend(waiting)

    # -- threads

    def _start(self, batch: list[Change]) -> None:
        now = time.monotonic()
        for change in batch:
            self._begun[change.address] = now
            self._emit(Event(EventKind.STARTED, str(change.address), change.action.word, change.reason))
        self._batches += 1
        threading.Thread(target=self._apply, args=(batch,), name="apply", daemon=True).start()

    def _apply(self, batch: list[Change]) -> None:
        try:
            self._session.apply(batch, lambda change, error: self._queue.put(("change", change, error)))
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises or reports it
            self._queue.put(("batch", batch, error))
        else:
            self._queue.put(("batch", batch, None))

    def _wait(self, wait: _Wait) -> None:
        try:
            self._session.wait(wait[0], wait[1], self._cancelled)
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises or reports it
            self._queue.put(("wait", wait, error))
        else:
            self._queue.put(("wait", wait, None))
