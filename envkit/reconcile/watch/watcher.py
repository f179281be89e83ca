"""Rounds: look where hints say, bring the environment up to date, carry files into instances, restart, run commands.

One thread does all of it, one round after the other; what changes meanwhile is the next round's. The last environment
that could be compiled stays the desired one until another can be.
"""

from __future__ import annotations

import threading
import time

from envkit.address import Address
from envkit.errors import ApplyError, EnvkitError
from envkit.events import Event, EventKind
from envkit.observed.state import InstanceState
from envkit.reconcile.watch import actions
from envkit.reconcile.watch.converge import Converger
from envkit.reconcile.watch.hints import Follower, Hints, Queue, quiet
from envkit.reconcile.watch.round import Act, Round
from envkit.reconcile.watch.rules import Rule, is_volatile, mirrored
from envkit.reconcile.watch.sight import Difference, Sight
from envkit.reconcile.watch.watched import images_of, watched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from envkit.backend.base import Backend
    from envkit.config.environment import Loaded
    from envkit.config.inputs import Asked
    from envkit.events import Emit
    from envkit.observed.state import Instance
    from envkit.reconcile.watch.contents import Changes
    from envkit.spec.environment import Environment

POLL = 5.0
"""Seconds after which a look is taken for instances that somebody else has made."""
SCAN = 60.0
"""Seconds after which everything is looked at, at the earliest: what no event tells of (network file systems)."""
_SHARE = 400  # a look at everything takes at most this part of the time between two of them
_RUNNING = (InstanceState.RUNNING, InstanceState.PAUSED)


class Watcher:
    """load: compiles the environment, with digests of build inputs that are taken for granted; digest: of a build
    input now. services: whose rules count, all when empty. report: called after each round that did something."""

    def __init__(
        self, backend: Backend, load: Callable[[Mapping[Asked, str]], Loaded], digest: Callable[[Asked], str | None],
        converger: Converger, report: Callable[[Round], None], *, emit: Emit, services: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._backend, self._load, self._converger = backend, load, converger
        self._report, self._emit, self._services = report, emit, services
        self._queue = Queue()
        self._sight = Sight(digest)
        self._follower: Follower | None = None
        self._rules: tuple[Rule, ...] = ()
        self._known: set[str] = set()  # lives of instances that have what was synced
        self._refused: set[str] = set()  # those that could not take it; tried again when something changes
        self._volatile: set[str] = set()  # services that lose with a restart what was synced
        self._mirrored: dict[Rule, str] = {}
        self._invalid = False
        self._stopped = threading.Event()

    @property
    def environment(self) -> Environment:
        return self._loaded.environment

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    def begin(self, loaded: Loaded) -> list[str]:
        """Follow everything that decides about this environment, and remember how it is now; what is doubtful about
        its rules. Before the first apply: what changes meanwhile is not missed."""
        self._backend.prepare()
        self._follower = Follower(self._queue)
        return self._adopt(loaded)

    def applied(self) -> None:
        """What `begin` was told of has been applied: only what changes is planned from now on."""
        self._converger.settled(self.environment)

    def run(self) -> None:
        """Rounds until `stop`, or KeyboardInterrupt."""
        try:
            self._round(Hints(), first=True)
            scan = time.monotonic() + SCAN
            while not self._stopped.is_set():
                hints = self._queue.take(POLL, quiet)
                if self._stopped.is_set():
                    return
                began = time.monotonic()
                if not hints and began >= scan:
                    hints = Hints(everywhere=True)
                self._round(hints)
                if hints.everywhere:
                    now = time.monotonic()
                    scan = now + max(SCAN, _SHARE * (now - began))
        finally:
            self.close()

    def stop(self) -> None:
        """Called from another thread: no further round begins."""
        self._stopped.set()
        self._queue.wake("stop")

    def close(self) -> None:
        """End the threads; harmless to repeat."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    # -- one round

    def _round(self, hints: Hints, *, first: bool = False) -> None:
        began, made = time.monotonic(), Round()
        try:
            if hints.paths or hints.everywhere:
                hints = self._follow(hints)
            difference = self._sight.look(hints)
            if difference.concerns_environment:
                self._converge(difference, made)
            self._carry(difference.changes, made, look=first or bool(difference) or not hints)
        except (EnvkitError, OSError) as error:
            made.problems.append(_as_error(error))
        made.seconds = time.monotonic() - began
        if made:
            self._report(made)

    def _follow(self, hints: Hints) -> Hints:
        """Watch anew what went away and came back; what is in it has had no events."""
        assert self._follower is not None
        new = self._follower.follow(self._roots, self._files)
        return Hints(hints.paths | frozenset(new), hints.everywhere, hints.others) if new else hints

    def _converge(self, difference: Difference, made: Round) -> None:
        try:
            loaded = self._load(self._sight.digests)
        except EnvkitError as error:
            self._invalid = True
            made.problems.append(error)
            return
        made.mended, self._invalid = self._invalid, False
        for note in self._adopt(loaded):
            self._emit(Event(EventKind.WARNING, action="watch", message=note))
        self._converger.converge(loaded, made)

    def _adopt(self, loaded: Loaded) -> list[str]:
        """Watch what this environment is made of from now on; what is doubtful about its new rules."""
        self._loaded, before = loaded, self._rules
        seen = watched(loaded, self._services)
        digests = {row[:5]: row[5] for row in loaded.inputs.trees}
        owned = {
            name: tuple(dict.fromkeys(
                asked for image in images_of(loaded.environment, name) for asked in loaded.inputs.owned.get(image, ())
            ))
            for name in loaded.environment.services
        }  # fmt: skip
        assert self._follower is not None
        self._rules, self._roots, self._files = seen.rules, seen.roots, seen.files
        self._follower.follow(self._roots, self._files)
        self._sight.watch(seen, digests, owned)
        self._mirrored = {
            rule: host for rule in self._rules if rule.syncs and (host := mirrored(rule, loaded.environment))
        }
        self._volatile = {rule.service for rule in self._rules if rule.syncs and is_volatile(rule, loaded.environment)}
        return [note for rule in self._rules if rule not in before and (note := self._doubt(rule))]

    def _doubt(self, rule: Rule) -> str:
        if host := self._mirrored.get(rule):
            return f"{rule}: {host} is bound where it would sync to; it is left out"
        if rule.action == "rebuild" and not self._sight.builds(rule):
            return f"{rule}: the image of {rule.service} is not built here; there is nothing to rebuild"
        return ""

    def _life(self, row: Instance) -> str:
        """What is known of an instance is true as long as this is the same."""
        return f"{row.id} {row.pid}" if row.service in self._volatile else row.id

    # -- instances

    def _carry(self, changes: Mapping[Rule, Changes], made: Round, *, look: bool) -> None:
        """Sync, restart and run commands in what is running. look: also where nothing has changed, for new ones."""
        syncing = [rule for rule in self._rules if rule.syncs and rule not in self._mirrored]
        acting = [rule for rule in self._rules if rule.action != "rebuild" and rule in changes]
        if not acting and not (look and syncing):
            return
        rows = [row for row in self._backend.instances(self.environment.name) if row.replica]
        running = {self._life(row): row for row in rows if row.state in _RUNNING}
        fresh = running.keys() - self._known - (set() if changes else self._refused)
        self._known &= running.keys()
        self._refused &= running.keys() - fresh
        for life, row in running.items():
            if life in self._refused:
                continue
            wanted = {
                rule: self._whole(rule) if life in fresh else changes.get(rule)
                for rule in syncing if rule.service == row.service
            }  # fmt: skip
            taken = [self._sync(row, rule, part, made) for rule, part in wanted.items() if part]
            if all(taken):
                self._known.add(life)
            else:
                self._known.discard(life)
                self._refused.add(life)
        old = [row for life, row in running.items() if life not in fresh]
        self._restart({rule.service for rule in acting if rule.action in ("restart", "sync+restart")}, old, made)
        for rule in acting:
            if rule.action == "sync+exec":
                self._exec(rule, [row for row in running.values() if row.service == rule.service], made)

    def _whole(self, rule: Rule) -> Changes:
        """What a new instance lacks: everything, or what is different from when watching began."""
        return self._sight.all_of(rule) if rule.initial else self._sight.since(rule)

    def _sync(self, row: Instance, rule: Rule, changes: Changes, made: Round) -> bool:
        """Whether it is in the instance now."""
        directory, _ = rule.place
        address = _address(row)
        try:
            self._backend.sync_to(
                self.environment.name, address, directory, actions.removals(rule, changes),
                actions.pack(rule, changes.changed),
            )  # fmt: skip
        except (EnvkitError, OSError) as error:
            made.problems.append(_as_error(error, str(address)))
            return False
        made.acts.append(Act("sync", str(address), *_named(rule, changes)))
        return True

    def _restart(self, services: set[str], rows: Iterable[Instance], made: Round) -> None:
        from envkit.reconcile.lifecycle import in_order, with_restarted

        named = set(with_restarted(self.environment, services))
        addresses = [_address(row) for row in rows if row.service in named]
        if not addresses:
            return
        try:
            in_order(self._backend, self.environment, addresses, "restart", emit=self._emit)
        except EnvkitError as error:
            made.problems.append(error)
            return
        made.acts += [Act("restart", str(address)) for address in addresses]

    def _exec(self, rule: Rule, rows: Iterable[Instance], made: Round) -> None:
        from envkit.backend.base import ExecRequest

        hook = rule.hook
        for row in rows:
            address = _address(row)
            request = ExecRequest(
                address, tuple(hook["command"]), stdin=False, user=hook["user"], working_dir=hook["working_dir"],
                environment=hook["environment"], privileged=hook["privileged"],
            )  # fmt: skip
            try:
                code = self._backend.exec(self.environment.name, request)
            except EnvkitError as error:
                made.problems.append(error)
                continue
            made.acts.append(Act("exec", str(address), detail=" ".join(hook["command"])))
            if code:
                detail = f"{' '.join(hook['command'])} ended with exit code {code}"
                made.problems.append(ApplyError("The command of `sync+exec` failed", detail, address=str(address)))


def _address(row: Instance) -> Address:
    return Address("service", row.service, row.replica)


def _named(rule: Rule, changes: Changes) -> tuple[int, str]:
    """How many files it were, and the one where it was one."""
    paths = [path for path in {*changes.changed, *changes.removed} if path or rule.is_file]
    return len(paths), (paths[0] or rule.path.rpartition("/")[2]) if len(paths) == 1 else ""


def _as_error(error: Exception, address: str = "") -> EnvkitError:
    if isinstance(error, EnvkitError):
        return error
    assert isinstance(error, OSError)
    return ApplyError("The system refused", f"{error.filename or ''}: {error.strerror}", address=address)
