"""The supervisor: one small process per running environment that checks health, restarts what ended, rotates logs.

It may be killed at any moment: containers, logs and exit codes are conmon's, decisions are in the record directories,
and the next envkit command starts it again. It sleeps in epoll on pidfds, inotify and timers, and ends by itself when
no instance is left. Standard library only, and as little of that as possible: it is resident.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from envkit import __version__
from envkit.backend.embedded import events
from envkit.backend.embedded import record as records
from envkit.backend.embedded.loop import Loop
from envkit.backend.embedded.probe import end_strays
from envkit.backend.embedded.runtime import runtime_of
from envkit.backend.embedded.supervised import Supervised
from envkit.backend.embedded.supervision import command, lock_path
from envkit.errors import ConflictError
from envkit.host.cgroups import join
from envkit.host.home import Home
from envkit.host.inotify import CLOSE_WRITE, CREATE, DELETE, MOVED_FROM, MOVED_TO, ONLYDIR, Inotify, Notice
from envkit.host.lock import Lock
from envkit.lean import json

if TYPE_CHECKING:
    from envkit.backend.embedded.resolver import Resolver

_EARLY_PROBES = 4  # at a time, of those that only look whether a service is up already
_LINGER = 1.0  # seconds without an instance before it ends
_NAMES = frozenset({"record.json", "pid"})  # of a record directory: what tells of a new state


class Supervisor:
    """What the instances under supervision share."""

    def __init__(self, home: Home, environment: str) -> None:
        self.home = home
        self.environment = environment
        self.loop = Loop()
        self.probes = 0
        self._inotify = Inotify()
        self._handlers: dict[int, Callable[[Notice], None]] = {}
        self._instances: dict[str, Supervised] = {}
        self._base_watch: int | None = None
        self._resolver: Resolver | None = None
        self._boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self._empty_since: float | None = None

    # -- what Supervised needs --

    def command(self, verb: str, directory: str) -> list[str]:
        return command(verb, self.home.root, directory)

    def started_at(self, ticks: int) -> float:
        """Seconds since the epoch of a start time in clock ticks since boot."""
        return self._boot + ticks / os.sysconf("SC_CLK_TCK")

    def event(self, address: str, event: str, detail: str) -> None:
        events.record(self.home.environment(self.environment), address, event, detail)

    def complain(self, text: str) -> None:
        """A line in supervisor.log."""
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
        sys.stderr.flush()

    def may_probe_early(self) -> bool:
        return self.probes < _EARLY_PROBES

    def is_paused(self, record: records.Record) -> bool:
        """`pause` leaves a mark; whether it still holds is asked of the kernel, at the price of a few imports."""
        if not record.cgroup or not os.path.exists(record.path("paused")):
            return False
        from envkit.host.cgroups import Cgroups

        return Cgroups.of(self.home).is_frozen(record.cgroup)

    def process_of(self, directory: str) -> dict[str, Any]:
        """The `process` of a bundle's config.json. Raises FileNotFoundError."""
        with open(f"{directory}/config.json", "rb") as file:
            process: dict[str, Any] = json.loads(file.read())["process"]
        return process

    def notify(self, path: str, mask: int, callback: Callable[[], None]) -> bool:
        """Call back at the next notice about path; False when it does not exist."""
        watch = self._inotify.add(path, mask)
        if watch is not None:
            self._handlers[watch] = lambda notice: callback()
        return watch is not None

    # -- the environment --

    def run(self) -> None:
        """Supervise until no instance is left."""
        self.loop.watch(self._inotify.fileno(), self._notices)
        self._watch_networks()
        self._scan()
        if self._instances:
            self.loop.run()

    def _watch_networks(self) -> None:
        """Serve names as soon as there is a network; from then on the resolver follows the networks by itself."""
        directory = self.home.environment(self.environment)
        watch = self._inotify.add(directory, MOVED_TO | ONLYDIR)

        def changed(notice: Notice) -> None:
            if notice.name == "network.json":
                self._serve_names()

        if watch is not None:
            self._handlers[watch] = changed
        if os.path.exists(f"{directory}/network.json"):
            self._serve_names()

    def _serve_names(self) -> None:
        if self._resolver is not None:
            return
        from envkit.backend.embedded.resolver import Resolver

        self._resolver = Resolver(self.home, self.environment)
        self.loop.watch(self._resolver.fileno(), self._resolver.handle)
        for gateway, reason in self._resolver.unserved.items():
            self.complain(f"names are not served on {gateway}: {reason}")

    def close(self) -> None:
        if self._resolver is not None:
            self.loop.unwatch(self._resolver.fileno())
            self._resolver.close()
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()

    def _notices(self) -> None:
        lost = False
        for notice in self._inotify.read():
            handler = self._handlers.get(notice.watch)
            if notice.mask & 0x8000:  # IN_IGNORED: the watch is gone
                self._handlers.pop(notice.watch, None)
                lost = lost or notice.watch == self._base_watch
            elif handler:
                handler(notice)
            lost = lost or notice.watch < 0
        if lost:
            self._scan()

    def _scan(self) -> None:
        """Take in what is there."""
        base = self.home.instances(self.environment)
        mask = CREATE | MOVED_TO | DELETE | MOVED_FROM | ONLYDIR
        self._base_watch = self._inotify.add(base, mask)
        names = set(os.listdir(base)) if self._base_watch is not None else set()
        if self._base_watch is not None:
            self._handlers[self._base_watch] = self._changed
        for name in self._instances.keys() - names:
            self._drop(name)
        for name in sorted(names):
            self._take(name)
        self._consider_leaving()

    def _changed(self, notice: Notice) -> None:
        if notice.mask & (DELETE | MOVED_FROM):
            self._drop(notice.name)
        else:
            self._drop(notice.name)
            self._take(notice.name)
        self._consider_leaving()

    def _take(self, name: str) -> None:
        directory = f"{self.home.instances(self.environment)}/{name}"
        instance = self._instances.get(name) or Supervised(self, directory)
        watch = self._inotify.add(directory, CLOSE_WRITE | MOVED_TO | ONLYDIR)
        if watch is None:
            return
        self._instances[name] = instance
        instance.watch = watch
        self._handlers[watch] = lambda notice: self._record_changed(instance, notice)
        instance.refresh()

    def _record_changed(self, instance: Supervised, notice: Notice) -> None:
        if notice.name in _NAMES:
            instance.refresh()

    def _drop(self, name: str) -> None:
        if instance := self._instances.pop(name, None):
            instance.close()
            self._handlers.pop(instance.watch, None)
            self._inotify.remove(instance.watch)

    def _consider_leaving(self) -> None:
        if not self._instances:
            self.loop.after(_LINGER, self._leave_if_empty)

    def _leave_if_empty(self) -> None:
        if not self._instances:
            self.loop.stop()


def main() -> NoReturn:
    """`run HOME ENVIRONMENT CGROUP…`: be the supervisor, in these control groups. `revive HOME DIRECTORY`: start one
    instance again; exit code 0 done, 1 failed, 3 not wanted any more, 4 it runs already. `discard HOME DIRECTORY`:
    remove a one-off that has ended."""
    verb, root, what = sys.argv[1:4]
    if verb == "revive":
        from envkit.backend.embedded.revive import revive

        sys.exit(revive(Home(root), what))
    if verb == "discard":
        from envkit.backend.embedded.discard import discard

        discard(Home(root), what)
        sys.exit(0)
    os.chdir("/")
    os.umask(0o077)
    for directory in sys.argv[4:]:
        join(directory, os.getpid(), make=False)  # absent: the environment has gone
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    home, lock = Home(root), Lock(lock_path(Home(root), what), {"version": __version__})
    while True:
        killed = lock.holder() is not None  # who leaves in peace empties the file
        try:
            lock.acquire(1.0)
        except ConflictError:
            sys.exit(0)  # another one supervises it
        supervisor = Supervisor(home, what)
        if killed:
            end_strays(runtime_of(home), {record.id for record in records.load_all(home, what)})
        try:
            supervisor.run()
        finally:
            supervisor.close()
        lock.release()
        if not records.load_all(home, what):  # whoever saw the lock held may have made a record meanwhile
            sys.exit(0)
