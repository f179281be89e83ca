"""Carry out a plan: lock, look again, run, write the journal. Decides nothing that the planner has not decided."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence

from envkit.address import Address
from envkit.backend.base import Backend, Materials, Session
from envkit.errors import InputError
from envkit.events import Emit, Event, EventKind, ignore
from envkit.host.files import remove_tree
from envkit.host.home import Home
from envkit.observed.state import ObservedState
from envkit.plan.drift import KNOWN_AFTER_BUILD, KNOWN_AFTER_PULL
from envkit.plan.manner import Manner, in_manner
from envkit.plan.model import Action, Change, Plan
from envkit.plan.planner import basis_of, make_plan
from envkit.plan.saved import desired_digest
from envkit.reconcile import generations, journal
from envkit.reconcile.executor import Executor
from envkit.reconcile.interrupts import graceful
from envkit.reconcile.outcome import Outcome
from envkit.reconcile.verify import BUG, differences
from envkit.spec.environment import Dependency, Environment
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Outcome", "apply_plan"]

AS_WRITTEN = Manner()
FRESH = 1.0
"""So old may a look be, in seconds, that is not repeated under the lock."""


def apply_plan(  # noqa: PLR0913  (keyword-only: what an apply needs to know)
    plan: Plan, backend: Backend, environment: Environment, *, materials: Materials, emit: Emit = ignore,
    parallel: int = 4, lock_timeout: float | None = None, home: Home, manner: Manner = AS_WRITTEN,
    command: str = "", observed: ObservedState | None = None,
) -> Outcome:  # fmt: skip
    """Make it so, in this manner, and say how it went.

    The plan is made again under the lock, unless it comes from a look (observed) so fresh that nobody has had the lock
    since: what somebody else has done meanwhile is not done twice, and nothing is done to an address that the plan left
    alone, unless there is nothing any more. Where the plan could not know an image's digest, services are planned again
    once it is built, so that an image that comes out the same replaces nothing. A failure skips what requires it and
    nothing else. Raises InputError for a plan with errors, ConflictError when the lock is not had, KeyboardInterrupt
    after an interrupt (the journal is written first). command: what the journal calls it instead of apply or down.

    Afterwards the live objects are compared with what was predicted; a difference goes into the journal and is said to
    be a bug.
    """
    if any(item.is_error for item in plan.diagnostics):
        raise InputError(plan.diagnostics)
    if plan.is_empty:
        if plan.destroy and not plan.partial:
            backend.forget(environment.name)
            _forget(home, environment.name)
        if plan.destroy or plan.partial or not os.path.exists(home.intent(environment.name)):
            return Outcome()
    with backend.session(
        environment, materials=materials, emit=emit, parallel=parallel, lock_timeout=lock_timeout
    ) as session:
        run = _Run(plan, backend, environment, session, emit, parallel, home)
        run.manner, run.command, run.observed = manner, command, observed
        run.carry_out()
    journal.finish(home, environment.name, run.outcome.generation)
    if plan.destroy and not plan.partial and run.outcome.result == "done":
        _forget(home, environment.name)
    if run.outcome.interrupted:
        raise KeyboardInterrupt
    return run.outcome


class _Run:
    """One plan under one session."""

    def __init__(
        self, plan: Plan, backend: Backend, environment: Environment, session: Session, emit: Emit, parallel: int,
        home: Home,
    ) -> None:  # fmt: skip
        self._plan, self._backend, self._environment, self._home = plan, backend, environment, home
        self._emit = emit
        self._session = session
        self._executor = Executor(session, emit, parallel)
        self._images: Mapping[str, str] = {}
        self._carried: list[Change] = []
        self.manner, self.command = AS_WRITTEN, ""
        self.observed: ObservedState | None = None
        self.outcome = self._executor.outcome

    def carry_out(self) -> None:
        started, result, name = time.monotonic(), "aborted", self._environment.name
        if journal.settle(self._home, name):
            self._session.apply((), lambda change, error: None)  # what it did is remembered as this one's
        self.outcome.generation = journal.last_generation(self._home, name) + 1
        journal.begin(self._home, name, self._entry("cut off", 0))
        try:
            with graceful(self._executor.stop):
                self._stages()
            result = self.outcome.result
        finally:
            self._record(result, time.monotonic() - started)

    def _stages(self) -> None:
        changes = self._plan.changes if self._is_fresh() else self._again(self._observe())
        images = [change for change in changes if change.address.kind == "image" and change.action is not Action.NOOP]
        if images:
            self._carried += images
            self._executor.run(images)
            if not self.outcome.interrupted and any(_depends_on_build(change) for change in changes):
                changes = self._again(self._observe())
            if self.outcome.failed:
                changes = self._useful(changes)
        if not self.outcome.interrupted:
            changes = in_manner(changes, self.manner)
            self._carried += changes
            self._session.announce(changes)
            self._executor.run(changes)
            if self.outcome.failed and not self.outcome.interrupted:
                self._executor.roll_back()
        self._note_unchanged()

    def _is_fresh(self) -> bool:
        seen = self.observed
        if seen is None or not 0 <= time.time() - seen.at < FRESH or not self._session.is_current(seen.at):
            return False
        self._images = seen.images
        return True

    def _observe(self) -> ObservedState:
        observed = self._backend.observe(self._environment)
        self._images = observed.images
        return observed

    def _again(self, observed: ObservedState) -> Sequence[Change]:
        """The plan's changes as they are now: the same decisions from fresh facts, within the plan's addresses."""
        plan = self._plan
        if basis_of(observed) == plan.basis:
            return plan.changes
        if plan.destroy:
            volumes = any(change.address.kind == "volume" for change in plan.changes)
            timeout = next((change.timeout for change in plan.changes if change.timeout is not None), None)
            only = {Address.parse(text) for text in plan.partial}
            from envkit.plan.destroy import make_destroy_plan

            return make_destroy_plan(
                observed, volumes=volumes, timeout=timeout, environment=self._environment, only=only
            ).changes
        demanded = [item for item in self._known(plan.replace, observed) if item not in self.outcome.done]
        fresh = make_plan(
            self._environment, observed, self._backend.capabilities(), only=self._known(plan.partial, observed),
            replace=demanded,
        )  # fmt: skip
        planned = {change.address: change for change in plan.effective}
        return [self._within(change, planned.get(change.address)) for change in fresh.changes]

    def _useful(self, changes: Sequence[Change]) -> Sequence[Change]:
        """The changes without new networks and volumes that nobody will use, as the images of their services failed."""
        services = [change for change in changes if change.address.kind == "service" and change.resource]
        lost = set(self.outcome.failed)
        while more := {change.address.replica(1) for change in services if _needs(change, lost)} - lost:
            lost |= more
        used = {item.address for change in services if change.address.replica(1) not in lost for item in _all(change)}
        kept = []
        for change in changes:
            if change.action is Action.CREATE and change.address.kind in ("network", "volume") and (
                change.address not in used
            ):  # fmt: skip
                text = "skipped: nothing that uses it can be made"
                self.outcome.skipped[change.address] = text.removeprefix("skipped: ")
                self._emit(Event(EventKind.SKIPPED, str(change.address), change.action.word, text))
            else:
                kept.append(change)
        return kept

    def _within(self, change: Change, planned: Change | None) -> Change:
        """The change, or nothing at all where the plan did not foresee one, or no loss of data. What has vanished while
        somebody else held the lock is made, as the plan took it for granted."""
        if change.action is Action.CREATE and not (self._plan.partial or self.manner.exact):
            return change
        if planned is not None and (planned.loses_data or not change.loses_data):
            return change
        return replace(change, action=Action.NOOP, attributes=(), requires=(), loses_data=False)

    def _known(self, texts: Sequence[str], observed: ObservedState) -> list[Address]:
        known = {(item.kind, item.name) for item in (*self._environment.resources, *observed.resources)}
        found = [Address.parse(text) for text in texts]
        return [item for item in found if (item.kind, item.name) in known]

    def _note_unchanged(self) -> None:
        outcome = self.outcome
        settled = {*outcome.done, *outcome.failed, *outcome.skipped}
        for change in self._plan.effective:
            if change.address in settled:
                continue
            if outcome.interrupted:
                outcome.skipped[change.address] = "interrupted"
            else:
                outcome.unchanged.append(change.address)
                text = "left as it is: nothing about it changes after all"
                self._emit(Event(EventKind.SKIPPED, str(change.address), change.action.word, text))

    def _verify(self) -> None:
        """Say what is not as predicted."""
        concerned = {change.address for change in self._carried}
        after = self._backend.observe(self._environment, thorough=False, only=concerned)
        self.outcome.differs = differences(self._carried, self.outcome, after)
        for text in self.outcome.differs:
            self._emit(Event(EventKind.WARNING, text.partition(" ")[0], "apply", f"{text}. {BUG}"))

    def _record(self, result: str, seconds: float) -> None:
        name = self._environment.name
        if self._plan.destroy and not self._plan.partial and result == "done":
            return  # nothing of the environment is left, its journal included
        if result in ("done", "failed"):
            self._verify()
        if result == "done" and not self._plan.destroy:
            if any(change.address.kind == "image" for change in self._plan.effective):
                self._observe()
            generations.write_generation(self._home, self.outcome.generation, self._environment, self._images)
        journal.append_entry(self._home, name, self._entry(result, seconds))

    def _entry(self, result: str, seconds: float) -> Mapping[str, Any]:
        return journal.make_entry(
            self._plan, self.outcome, generation=self.outcome.generation, directory=self._environment.directory,
            desired=desired_digest(self._environment), seconds=seconds, result=result,
            command=self.command,
        )  # fmt: skip


def _all(change: Change) -> Sequence[Dependency]:
    return change.resource.depends_on if change.resource else ()


def _needs(change: Change, lost: Collection[Address]) -> bool:
    return change.action is not Action.NOOP and any(
        item.required and item.address in lost for item in _all(change)
    )


def _depends_on_build(change: Change) -> bool:
    unknown = (KNOWN_AFTER_BUILD, KNOWN_AFTER_PULL)
    return change.observed is not None and any(item.after in unknown for item in change.attributes)


def _forget(home: Home, environment: str) -> None:
    """Remove the journal of an environment that is no more."""
    import contextlib

    remove_tree(generations.directory_of(home, environment))
    remove_tree(journal.path_of(home, environment))
    journal.forget(home, environment)
    with contextlib.suppress(OSError):  # not empty: the backend keeps something of its own there
        os.rmdir(home.environment(environment))
