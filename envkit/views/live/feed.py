"""What the view shows, as it changes: one thread each asks for states, for usage, for drift, and follows the logs.

All of it through the backend's port. A question is asked again after a pause that is in proportion to what it cost, so
that an idle view stays below some two percent of a core however many services there are.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque

from envkit.backend.base import LogQuery
from envkit.errors import EnvkitError
from envkit.plan.planner import make_plan
from envkit.views.live.picture import Picture, rows_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envkit.backend.base import Backend, LogEntry, Usage
    from envkit.plan.model import Plan
    from envkit.spec.environment import Environment

KEPT = 1000
"""So many lines of each instance are kept."""

_STATES, _USAGE, _DRIFT, _LOGS = 1.0, 2.0, 5.0, 2.0  # seconds between two questions, at least
_SHARE = 0.004  # of a core, that each question may take


class Journal:
    """The last lines of one instance. number: how many there have been, so that a reader knows what is new."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self.lines: deque[str] = deque(lines, maxlen=KEPT)
        self.number = len(self.lines)

    def add(self, line: str) -> None:
        self.lines.append(line)
        self.number += 1


_EMPTY = Journal()


class Feed:
    """load: the environment of the files as they are now (raises EnvkitError), None where there are no files. only: the
    services that are shown, planned: those whose plan is; all when empty. drawn and heard are called from other threads
    when there is a new picture, and when there are new lines."""

    def __init__(
        self, backend: Backend, environment: Environment, load: Callable[[], Environment] | None, *,
        only: Sequence[str] = (), planned: Sequence[str] = (), drawn: Callable[[], None] = lambda: None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.drawn, self.heard = drawn, heard
        self.environment = environment
        self._backend, self._load, self._only = backend, load, tuple(only)
        self._planned = tuple(planned)
        self._usage: list[Usage] = []
        self._plan: Plan | None = None
        self._problems: dict[str, str] = {}
        self._journals: dict[str, Journal] = defaultdict(Journal)
        self._ended = threading.Event()
        self._wakes: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self.picture = Picture(environment.name, backend.name)

    def look(self) -> Picture:
        """Everything but logs, once. Raises EnvkitError when not even the states can be known."""
        self._guarded("usage", self._ask_usage)
        self._guarded("drift", self._ask_drift)
        self._ask_states()
        return self.picture

    def start(self, *, logs: bool = True) -> None:
        """Ask from now on, until end(). logs: for what the services print (and what they use) as well."""
        questions = [("states", self._ask_states, _STATES), ("drift", self._ask_drift, _DRIFT)]
        if logs:
            questions += [("usage", self._ask_usage, _USAGE), ("logs", self._ask_logs, _LOGS)]
        for name, ask, pause in questions:
            self._wakes[name] = threading.Event()
            asking = threading.Thread(target=self._repeat, args=(name, ask, pause), name=name, daemon=True)
            self._threads.append(asking)
            asking.start()

    def end(self) -> None:
        self._ended.set()
        self.hurry()

    def join(self, timeout: float) -> None:
        """After end(): wait for the last answers; one that follows lines may not come."""
        for asking in self._threads:
            asking.join(timeout)

    def hurry(self) -> None:
        """Something has been done: ask now."""
        for wake in self._wakes.values():
            wake.set()

    def journal(self, address: str) -> Journal:
        """The lines of an instance; an empty one where there are none."""
        return self._journals.get(address, _EMPTY)

    def _repeat(self, name: str, ask: Callable[[], None], pause: float) -> None:
        wake = self._wakes[name]
        while not self._ended.is_set():
            begun = time.thread_time()
            self._guarded(name, ask)
            wake.wait(max(pause, (time.thread_time() - begun) / _SHARE))
            wake.clear()

    def _guarded(self, name: str, ask: Callable[[], None]) -> None:
        """Ask; what cannot be known is said, and asked for again."""
        try:
            ask()
        except (EnvkitError, OSError) as error:
            self._problems[name] = str(error)
        else:
            self._problems.pop(name, None)

    def _ask_states(self) -> None:
        rows = rows_of(
            self._backend.instances(self.environment.name), self._usage, self.environment, time.time(), self._only
        )
        problem = "; ".join(dict.fromkeys(self._problems.copy().values()))
        self.picture = Picture(self.environment.name, self._backend.name, rows, self._plan, problem)
        if not self._ended.is_set():
            self.drawn()

    def _ask_usage(self) -> None:
        self._usage = self._backend.usage(self.environment.name)

    def _ask_drift(self) -> None:
        if self._load is None:
            return
        before = self._plan
        try:
            environment = self._load()
            observed = self._backend.observe(environment)
            chosen = tuple(f"service.{name}" for name in self._planned)
            self._plan = make_plan(environment, observed, self._backend.capabilities(), only=chosen)
            self.environment = environment
        except EnvkitError:
            self._plan = None
            raise
        finally:
            if before != self._plan and "states" in self._wakes:
                self._wakes["states"].set()

    def _ask_logs(self) -> None:
        """Follow until there is nothing more to follow. What is read again then is recognised, so that only what is new
        comes to those who read along."""
        query = LogQuery(self._only, follow=True, tail=KEPT)
        known: dict[str, int] = defaultdict(int)  # lines of a journal that have been read again
        for entry in self._backend.logs(self.environment.name, query):
            if self._ended.is_set():
                return
            address = _address(entry)
            journal, at = self._journals[address], known[address]
            if at < len(journal.lines) and journal.lines[at] == entry.line:
                known[address] = at + 1
                continue
            if at < len(journal.lines):
                journal = self._journals[address] = Journal(list(journal.lines)[:at])
            journal.add(entry.line)
            known[address] = len(journal.lines)
            self.heard()


def _address(entry: LogEntry) -> str:
    return f"service.{entry.service}" if entry.replica == 1 else f"service.{entry.service}[{entry.replica}]"
