"""One instance under supervision: its health, its restarts, its log.

The record says what is wanted, the runtime's files and a pidfd what is; nothing is remembered here that health.json
and supervisor.json do not have, so that another supervisor can go on at any moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from envkit.backend.embedded import health, restart, rotate
from envkit.backend.embedded import record as records
from envkit.backend.embedded.loop import Timer
from envkit.backend.embedded.probe import Probe
from envkit.backend.embedded.runtime import Init, runtime_of
from envkit.errors import EnvkitError
from envkit.host import proc
from envkit.host.inotify import MODIFY, ONESHOT
from envkit.lean import json

if TYPE_CHECKING:
    from envkit.backend.embedded.forward import Forwarder
    from envkit.backend.embedded.supervisor import Supervisor

_EXIT_PATIENCE = 2.0  # seconds that conmon has to write the exit code
_REQUEST_LOST = 30.0  # seconds without the new log file that conmon was asked for
_FASTEST_WRITER = 200e6  # bytes a second that a log may grow by before it is looked at
_FORWARDED = ("syslog", "journald")


class Supervised:
    """The instance of one record directory."""

    def __init__(self, supervisor: Supervisor, directory: str) -> None:
        self.supervisor = supervisor
        self.loop = supervisor.loop
        self.directory = directory
        self.watch = -1  # inotify's number for the directory
        self.record: records.Record | None = None
        self.attempts = restart.read(directory)
        self.monitor: health.Monitor | None = None
        self._init: Init | None = None  # of the life that is being watched
        self._pidfd: int | None = None
        self._probe: Probe | None = None
        self._forwarder: Forwarder | None = None
        self._reviving = False
        self._closed = False
        self._look_pause = 0.005
        self._log_seen = (0.0, 0)  # when it was looked at, and how long it was then
        self._log_missing = 0.0
        self._timers: dict[str, Timer] = {}

    def close(self) -> None:
        """Let go of it: it is not this supervisor's any more."""
        self._closed = True
        self._end_life()
        if self._forwarder is not None:
            self._forwarder.close()
        for timer in self._timers.values():
            timer.cancel()

    def refresh(self) -> None:
        """Compare the record and the runtime with what is being watched."""
        if self._closed:
            return
        try:
            self.record = records.load(self.supervisor.home, self.directory)
        except EnvkitError as error:
            self.supervisor.complain(f"{self.directory}: {error}")
            return
        if self.record is None:
            return
        self._forward(self.record)
        runtime = runtime_of(self.supervisor.home)
        init = runtime.init(self.record.id)
        if init is None or not proc.is_alive(init.pid, init.start):
            if self.record.desired != "running" and self.attempts.next is not None:
                self.attempts.next = None  # stopped while it waited for its restart
                self._save_attempts()
            if self._pidfd is None and init is not None:
                self._set_timer("end", 0.0, self._consider_end)
            return
        if runtime.is_waiting(self.record.id):
            self._look_pause = min(0.5, self._look_pause * 2)
            self._set_timer("look", self._look_pause, self.refresh)
        elif init != self._init:
            self._begin_life(init)
        else:
            self._watch_log()

    def _set_timer(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        if self._closed:
            return
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self.loop.after(seconds, callback)

    # -- one life, from start to exit --

    def _begin_life(self, init: Init) -> None:
        assert self.record is not None
        self._end_life()
        pidfd = proc.open_pidfd(init.pid, init.start)
        if pidfd is None:
            self._set_timer("end", 0.0, self._consider_end)
            return
        self._init, self._pidfd, self._look_pause = init, pidfd, 0.005
        self.loop.watch(pidfd, self._ended)
        started = self.supervisor.started_at(init.start)
        if self.attempts.pid != init.pid or self.attempts.ended or self.attempts.next is not None:
            if self.attempts.next is None or not self._reviving:
                self.attempts.attempts = 0  # somebody has started it on purpose
            self.attempts.pid, self.attempts.started = init.pid, started
            self.attempts.ended, self.attempts.next = False, None
            self._save_attempts()
            self._event("start")
        if health.argv_of(self.record.healthcheck) is not None:
            self.monitor = health.Monitor(health.Check(self.record.healthcheck or {}), started, init.pid)
            self.monitor.resume(health.read(self.directory))
            self._plan_probe()
        self._watch_log()

    def _end_life(self) -> None:
        for name in ("probe", "log"):
            if name in self._timers:
                self._timers.pop(name).cancel()
        if self._pidfd is not None:
            self.loop.unwatch(self._pidfd)
            os.close(self._pidfd)
        self._pidfd = self._init = self.monitor = None
        if self._probe is not None:
            self._probe.kill()

    def _ended(self) -> None:
        self._end_life()
        self._set_timer("end", 0.02, self._consider_end)

    def _consider_end(self, patience: float = _EXIT_PATIENCE) -> None:
        """Tell what happened, and start it again if the policy says so."""
        if self._reviving:
            return  # _revived() comes back to it
        record = self.record = records.load(self.supervisor.home, self.directory)
        if record is None:
            return
        runtime = runtime_of(self.supervisor.home)
        init = runtime.init(record.id)
        if init is None or runtime.is_waiting(record.id):
            return  # it never ran
        if proc.is_alive(init.pid, init.start):
            self.refresh()
            return
        if self.attempts.ended and self.attempts.pid == init.pid:
            self._resume_restart(record)
            return
        code = _exit_code(record)
        if code is None and patience > 0 and _monitor_is_alive(record):
            self._set_timer("end", 0.02, lambda: self._consider_end(patience - 0.02))
            return
        started = self.supervisor.started_at(init.start)
        if self.attempts.pid != init.pid:
            self._event("start")  # too short a life to have been seen
        self.attempts.pid, self.attempts.started, self.attempts.ended = init.pid, started, True
        oom = code == 137 and os.path.exists(record.path("persist/oom"))
        self._event("die", f"exit code {'unknown' if code is None else code}")
        if oom:
            self._event("oom", "killed by the kernel: out of memory")
        if restart.is_well(record.restart, self.loop.now() - started):
            self.attempts.attempts = 0
        self._decide(record, code)

    # -- restarts --

    def _decide(self, record: records.Record, code: int | None) -> None:
        policy = record.restart
        self.attempts.next = None
        if record.desired == "running" and not record.oneoff:
            if restart.wanted(policy, code, self.attempts.attempts):
                self.attempts.next = self.loop.now() + restart.pause(policy, self.attempts.attempts)
            elif self.attempts.attempts:
                self._event("give-up", f"{self.attempts.attempts} restarts have not helped")
        self._save_attempts()
        self._resume_restart(record)

    def _resume_restart(self, record: records.Record) -> None:
        if record.oneoff and os.path.exists(record.path("remove-when-ended")):
            self._discard()
        if self.attempts.next is not None and record.desired == "running" and not self._reviving:
            self._set_timer("restart", max(0.0, self.attempts.next - self.loop.now()), self._revive)

    def _revive(self) -> None:
        """Start it again in a process of its own: a create that hangs must not hold up the others' checks."""
        if self._reviving or self._pidfd is not None:
            return
        self.attempts.attempts += 1
        self._save_attempts()
        self._reviving = True
        self.loop.spawn(self.supervisor.command("revive", self.directory), self._revived)

    def _revived(self, code: int) -> None:
        if code == 0:
            self.attempts.restarts += 1
            self._save_attempts()
            self._event("restart", f"attempt {self.attempts.attempts}")
        self.refresh()
        self._reviving = False
        if code == 1 and self.record is not None:
            self._event("restart-failed", "the supervisor's log says why")
            self._decide(self.record, None)
        elif code not in (0, 1) and self.attempts.next is not None and self._pidfd is None:
            self.attempts.next = None
            self._save_attempts()

    def _discard(self, pause: float = 1.0) -> None:
        """Remove a one-off that nobody waits for; again after a while if that fails."""

        def discarded(code: int) -> None:
            if code and not self._closed:
                self._set_timer("discard", pause, lambda: self._discard(min(60.0, pause * 2)))

        self.loop.spawn(self.supervisor.command("discard", self.directory), discarded)

    # -- health --

    def _plan_probe(self) -> None:
        if self.monitor is not None and self._probe is None:
            self._set_timer("probe", max(0.0, self.monitor.due() - self.loop.now()), self._start_probe)

    def _start_probe(self) -> None:
        record, monitor = self.record, self.monitor
        if record is None or monitor is None or self._probe is not None:
            return
        extra = monitor.is_extra(self.loop.now())
        if self.supervisor.is_paused(record) or (extra and not self.supervisor.may_probe_early()):
            self._set_timer("probe", 0.05 if extra else monitor.check.interval, self._start_probe)
            return
        life = self._init

        def done(start: float, end: float, code: int, output: str) -> None:
            self._probe = None
            self.supervisor.probes -= 1
            if self.monitor is monitor and self._init == life:
                self._probed(monitor, start, end, code, output)
            elif self.monitor is not None:
                self._plan_probe()

        try:
            process = self.supervisor.process_of(self.directory)
            self.supervisor.probes += 1
            runtime = runtime_of(self.supervisor.home)
            self._probe = Probe(
                self.loop, runtime, record.id, process, monitor.check.argv, monitor.check.timeout, done
            )
        except FileNotFoundError:
            self.supervisor.probes -= 1  # the record is being deleted

    def _probed(self, monitor: health.Monitor, start: float, end: float, code: int, output: str) -> None:
        before = monitor.status
        changed = monitor.finished(start, end, code, output)
        if monitor.status != before:
            self._event("health_status", monitor.status)
        if changed:
            self._save("health.json", monitor.to_json())
        self._plan_probe()

    # -- the log --

    def _forward(self, record: records.Record) -> None:
        """Have its lines sent on as `logging` says now."""
        logging = record.spec.get("logging") or {}
        if self._forwarder is not None and self._forwarder.logging != record.spec.get("logging"):
            self._forwarder.close()
            self._forwarder = None
        if self._forwarder is None and logging.get("driver") in _FORWARDED:
            from envkit.backend.embedded.forward import Forwarder

            self._forwarder = Forwarder(record, self.supervisor.complain)

    def _watch_log(self) -> None:
        """Wait for the next line; what is written meanwhile costs nothing."""
        if self.record is None or self._limits() is None or self.record.log_driver == "none":
            return
        armed = self.supervisor.notify(f"{self.directory}/log", MODIFY | ONESHOT, self._log_changed)
        if not armed or self._log_size() != self._log_seen[1]:
            self._set_timer("log", 0.1, self._log_changed)

    def _log_changed(self) -> None:
        """Rotate the log if it is full, else come back when it may be; while it rests only inotify is awake."""
        limits = self._limits()
        if self.record is None or limits is None or self._init is None:
            return
        limit, files = limits
        if not rotate.settle(self.directory, files):
            self._await_new_log()
            return
        self._log_missing = 0.0
        size, now = self._log_size(), self.loop.now()
        then, before = self._log_seen
        self._log_seen = (now, size)
        if size >= limit:
            rotate.rotate(self.directory, files)
            self._log_seen = (now, -1)
            self._set_timer("log", 0.05, self._log_changed)
        elif size == before:
            self._watch_log()
        else:
            known = 0 <= before < size and now - then < 5.0
            speed = (size - before) / max(now - then, 0.001) if known else _FASTEST_WRITER
            self._set_timer("log", min(1.0, max(0.02, (limit - size) / max(speed, 1.0) / 2)), self._log_changed)

    def _await_new_log(self) -> None:
        """conmon may be slow (it syncs the old file first); only after long is the request taken for lost."""
        now = self.loop.now()
        self._log_missing = self._log_missing or now
        if now - self._log_missing > _REQUEST_LOST:
            rotate.ask_again(self.directory)
            self._log_missing = now
        self._set_timer("log", 0.02 if now - self._log_missing < 1.0 else 2.0, self._log_changed)

    def _limits(self) -> tuple[int, int] | None:
        return rotate.limits_of(self.record.spec.get("logging")) if self.record else None

    def _log_size(self) -> int:
        try:
            return os.stat(f"{self.directory}/log").st_size
        except (FileNotFoundError, NotADirectoryError):
            return 0

    # -- what is kept --

    def _event(self, event: str, detail: str = "") -> None:
        if self.record is not None:
            self.supervisor.event(str(self.record.address), event, detail)

    def _save_attempts(self) -> None:
        self._save("supervisor.json", self.attempts.to_json())

    def _save(self, name: str, value: dict[str, Any]) -> None:
        """Write a state file in the record directory, whole or not at all; a directory that is gone is fine."""
        temporary = f"{self.directory}/.{name}.{os.getpid()}.{os.urandom(4).hex()}"  # see host.leftovers
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(json.dumps(value).encode())
            os.rename(temporary, f"{self.directory}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return


# instance.py can tell these as well, with imports that a resident process does without


def _exit_code(record: records.Record) -> int | None:
    text = records.slurp(record.exit_file)
    return int(text) if text else None


def _monitor_is_alive(record: records.Record) -> bool:
    return proc.is_alive(int(records.slurp(record.path("conmon.pid")) or 0))
