"""Carry out a batch of service changes: old instances go, new ones are prepared together and created a few at a time.

The order, and why: everything that can fail without a trace is looked at first (images, users, mounts, ports), then
old instances are stopped all at once; networks are attached in one batch; a record is written with complete=False
before its first lasting effect and with complete=True after its last one, so that whatever cuts this off is seen.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from envkit.backend.embedded import (
    hooks,
    instance,
    parallel,
    process,
    resolve,
    rootfs,
    supervision,
    volumes,
)
from envkit.backend.embedded import record as records
from envkit.backend.embedded.bundling import Bundler
from envkit.backend.embedded.job import Job
from envkit.backend.embedded.prepare import Workshop
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.wiring import Wires
from envkit.errors import ApplyError, EnvkitError, NotFoundError, way_out
from envkit.events import Emit, Event, EventKind
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home
from envkit.host.steps import step
from envkit.lean import json
from envkit.plan.model import Action, Change, Effect
from envkit.spec.environment import Environment

WINDOW = 4  # creations at a time: more gain nothing (two cores, each creation is four processes)


class Services:
    """The service side of one session."""

    def __init__(self, home: Home, environment: Environment, workshop: Workshop, emit: Emit,
                 digest_of: Callable[[str], str]) -> None:  # fmt: skip
        self.home = home
        self.environment = environment
        self.workshop = workshop
        self.emit = emit
        self.digest_of = digest_of
        self.host = os.uname().nodename
        self.cgroups = Cgroups.of(home)
        self.wires = Wires(home, environment)
        self.bundler = Bundler(environment, workshop, self.wires)
        self.serial = threading.RLock()  # two batches at once would fight for the same cores and the network state

    def apply(self, changes: Sequence[Change], done: Callable[[Change, BaseException | None], None]) -> None:
        """See backend.base.Session.apply, for service changes."""
        jobs = [Job(change) for change in changes]
        reported: set[int] = set()

        def report(job: Job) -> None:
            if id(job) not in reported:
                reported.add(id(job))
                done(job.change, job.error)

        with self.serial:
            self._make_so(jobs, report)
        watched = [job for job in jobs if job.is_open and job.is_watched]
        if watched:
            from envkit.backend.embedded import succession

            parallel.each(watched, lambda job: self._see_through(job, report), succession.WIDTH)

    def _make_so(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        """Everything but what takes time by itself: watching new instances, and letting old ones finish."""
        for job in jobs:
            self._guarded(job, self._begin)
        self._choose_ports(jobs)
        for job in jobs:
            if not job.is_open or (job.old is None and job.record is None):
                report(job)
        self._remove_old([job for job in jobs if job.is_open and job.old is not None and not job.beside], report)
        starting = [job for job in jobs if job.is_open and job.record is not None and self._must_start(job)]
        begun = set(map(id, starting))
        for job in jobs:
            if job.is_open and job.record is not None and id(job) not in begun:
                self._guarded(job, self._update)
                report(job)
        self._start(starting, report)

    # -- what is to be done

    def _guarded(self, job: Job, work: Callable[[Job], None]) -> None:
        try:
            work(job)
        except EnvkitError as error:
            job.error = self._named(job, error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            text = f"{where}{error.strerror}"
            job.error = self._named(job, EnvkitError("A file operation failed", text, way_out(error)))

    def _named(self, job: Job, error: EnvkitError) -> EnvkitError:
        if isinstance(error, ApplyError):
            return error
        return ApplyError(error.summary, error.detail, error.hint, address=str(job.change.address))

    def _begin(self, job: Job) -> None:
        change = job.change
        present = records.find(self.home, self.environment.name, change.address)
        if change.action is Action.DELETE or change.resource is None:
            job.old = present
            return
        digest = change.image_digest or self.digest_of(str(change.resource.spec["image"]))
        job.picture = self.workshop.picture(digest)
        if change.action is Action.UPDATE and present is not None:
            resolve.refresh(present, change.resource, job.picture.config)
            job.record = present
            return
        job.old, job.fresh = present, True
        job.record = resolve.new_record(
            self.home, self.environment.name, change.resource, change.address, job.picture, identity=records.new_id(),
            host=self.host,
        )  # fmt: skip
        if change.action is Action.REPLACE_START_FIRST and change.start and present is not None and present.complete:
            job.beside = True
            job.record.directory, job.record.turn = records.other_place(present.directory), present.turn + 1
        job.record.created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        job.record.cgroup = resolve.cgroup(self.cgroups, self.environment.name, job.record.id, job.record.spec)
        instance.signal_number(job.record.stop_signal)
        self._check_name(job.record)
        self._check_early(job)

    def _check_name(self, record: Record) -> None:
        if not record.spec.get("container_name"):
            return
        other = records.find_named(self.home, record.name)
        if other is not None and other.directory != record.directory:
            raise ApplyError(
                "A container name is taken", f"{record.name!r} is {other.address} of environment {other.environment!r}",
                "choose another `container_name:`", address=str(record.address),
            )  # fmt: skip

    def _check_early(self, job: Job) -> None:
        """What would fail late (a mount's source, a user) fails before the old instance is stopped."""
        assert job.record is not None and job.picture is not None
        spec = job.record.spec
        process.arguments(spec, job.picture.config)
        user = str(spec.get("user") or job.picture.config.get("User") or "")
        self.workshop.user(job.picture, user, spec.get("group_add") or ())
        for row in spec.get("mounts") or ():
            if row["type"] == "bind" and not row.get("create_host_path") and not os.path.exists(row["source"]):
                raise NotFoundError(
                    "A bind mount's source does not exist", f"{row['source']} (mounted at {row['target']})",
                    "create it, or write `bind: {create_host_path: true}` for an empty directory",
                )  # fmt: skip

    def _choose_ports(self, jobs: Sequence[Job]) -> None:
        """Published ports are chosen, and conflicts found, before anything is taken away."""
        going = [job.old for job in jobs if job.is_open and job.old is not None]
        rows = [job.record for job in jobs if job.is_open and job.record is not None and job.wants_ports]
        failed = self.wires.choose_ports(rows, going)
        for job in jobs:
            if job.record is not None and job.record.id in failed:
                job.error = self._named(job, failed[job.record.id])

    def _must_start(self, job: Job) -> bool:
        if job.fresh:
            return True
        if any(item.effect in (Effect.RESTART, Effect.REPLACE) for item in job.change.attributes):
            return True
        assert job.record is not None
        status = instance.status(job.record)
        return not status.is_alive and any(item.path == "state" for item in job.change.attributes)

    def _update(self, job: Job) -> None:
        assert job.record is not None
        from envkit.backend.embedded import inplace

        inplace.update(job.record, job.change, self.wires)

    # -- going

    def _remove_old(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        old = [job.old for job in jobs if job.old is not None]
        if not old:
            return
        hooks.pre_stop(old, self.emit)
        if self._are_all(jobs):  # it would only follow every step of the end, on the same cores
            supervision.end(self.home, self.environment.name)
        from envkit.backend.embedded import teardown

        timeouts = {
            job.old.id: job.change.timeout for job in jobs if job.old is not None and job.change.timeout is not None
        }
        try:
            with ExitStack() as locks:
                for record in old:
                    locks.enter_context(records.locked(record))
                    record.desired = "stopped"  # the supervisor starts nothing again from here on
                    record.save(durable=False)
                instance.stop_all(old, timeouts)
                teardown.remove(self.home, old, self.workshop.mounted)
            self._drop_anonymous([job.old for job in jobs if job.old is not None and job.change.drop_anonymous])
            if not self.environment.hardened:
                gone = [job.old for job in jobs if job.old is not None and job.change.action is Action.DELETE]
                volumes.leave_behind(self.home, [name for record in gone for name in record.anonymous.values()])
        except EnvkitError as error:
            for job in jobs:
                job.error = self._named(job, error)
        for job in jobs:
            if job.record is None or not job.is_open:
                report(job)

    def _are_all(self, jobs: Sequence[Job]) -> bool:
        """Whether the jobs are the end of every instance that there is. The session starts a supervisor again where
        something is left all the same."""
        try:
            present = set(os.listdir(self.home.instances(self.environment.name)))
        except FileNotFoundError:
            return False
        return present == {job.old.key for job in jobs if job.old is not None and job.record is None}

    def _drop_anonymous(self, gone: Sequence[Record]) -> None:
        """Remove the anonymous volumes of removed instances that nobody else has mounted (`volumes_from`)."""
        if names := {name for record in gone for name in record.anonymous.values()}:
            for name in names - volumes.users(self.home).keys():
                volumes.remove(self.home, name)

    # -- coming

    def _start(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        self._stop_for_restart([job for job in jobs if not job.fresh])
        self._wire(jobs, report)
        before = hooks.PreStart(self, jobs)

        def run(job: Job) -> None:
            self._guarded(job, self._bundle)
            if job.is_open and job.change.start:
                self._guarded(job, lambda job: self._prepare(before, job))
            if job.is_open:
                self._guarded(job, self._launch if job.change.start else self._keep)
            if not job.is_open:
                self._undo(job)
            if not (job.is_open and job.is_watched):
                report(job)

        parallel.each([job for job in jobs if job.is_open], run, WINDOW)

    def _stop_for_restart(self, jobs: Sequence[Job]) -> None:
        """Stop instances that are about to be started anew; until then the supervisor is told to leave them alone."""
        rows = [job.record for job in jobs if job.record is not None]
        timeouts = {
            job.record.id: job.change.timeout for job in jobs if job.record and job.change.timeout is not None
        }
        hooks.pre_stop(rows, self.emit)
        for record in rows:
            with records.locked(record):
                record.desired = "stopped"
                record.save(durable=False)
        instance.stop_all(rows, timeouts)

    def make_ready(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        """Everything but the processes: records, networks, published ports, roots, volumes, bundles.

        What fails is undone and reported. `run` makes its one-offs ready with this.
        """
        self._choose_ports(jobs)
        for job in jobs:
            if not job.is_open:
                self._undo(job)
                report(job)
        self._wire([job for job in jobs if job.is_open], report)
        for job in jobs:
            if job.is_open:
                self._guarded(job, self._settled_bundle)
                if not job.is_open:
                    self._undo(job)
                    report(job)

    def _wire(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        """Write the records of what is going to be, then attach and publish the whole batch at once."""
        for job in jobs:
            if job.fresh and job.record is not None:
                job.record.complete = False
                job.record.save(durable=False)
        step("services.recorded")
        rows = [job.record for job in jobs if job.record is not None]
        try:
            self.wires.attach(rows)
            self.wires.enforce(rows)
        except EnvkitError as error:
            for job in jobs:
                job.error = self._named(job, error)
                self._undo(job)
                report(job)

    def _settled_bundle(self, job: Job) -> None:
        self.wires.settle()
        self._bundle(job)

    def _bundle(self, job: Job) -> None:
        assert job.record is not None and job.picture is not None
        for text in self.bundler.write(job.record, job.picture):
            self.emit(Event(EventKind.WARNING, str(job.record.address), job.change.action.word, text))
        job.record.desired = "running"

    def _prepare(self, before: hooks.PreStart, job: Job) -> None:
        if job.record is not None and job.record.spec.get("pre_start"):
            self.wires.settle()
        before.run(job)

    def _launch(self, job: Job) -> None:
        record = job.record
        assert record is not None
        with records.locked(record):
            instance.create(record)
            self.wires.settle()
            instance.start(record)
            step("services.started")
            hooks.post_start(record, self.emit)
            record.complete, record.pending = not job.beside, []
            record.save(durable=False)

    def _see_through(self, job: Job, report: Callable[[Job], None]) -> None:
        from envkit.backend.embedded import succession

        self._guarded(job, lambda job: succession.see_through(job, self.serial, self.workshop.mounted, self.emit))
        if job.record is not None and job.record.is_waiting:
            with self.serial:
                self._undo(job)
            if isinstance(job.error, ApplyError):
                job.error.hint = f"the instance that was there goes on serving; {job.error.hint}"
        report(job)

    def _keep(self, job: Job) -> None:
        """It is made and not started: `start` and the next apply find all they need."""
        assert job.record is not None
        self.wires.settle()
        job.record.desired, job.record.complete = "stopped", True
        job.record.save(durable=False)

    def take_away(self, record: Record) -> None:
        """Leave nothing of an instance that has served its purpose (a `pre_start` hook's)."""
        from envkit.backend.embedded import teardown

        instance.kill_all([record])
        teardown.remove(self.home, [record], self.workshop.mounted)

    def _undo(self, job: Job) -> None:
        """Leave nothing of an instance that could not be made; one that was restarted keeps its files."""
        record = job.record
        if record is None:
            return
        if isinstance(job.error, ApplyError) and not job.error.log:
            job.error.log = tuple(instance.last_lines(record, 20))
        instance.kill_all([record])
        if job.fresh:
            from envkit.backend.embedded import teardown

            teardown.remove(self.home, [record], self.workshop.mounted)


def drop_unused_roots(home: Home, environment: str, rows: Sequence[Record], mounted: set[str]) -> None:
    """Unmount the shared roots that none of the environment's instances stands on or has bound (`type: image`)."""
    used = set()
    for record in rows:
        used.add(record.root)
        if any(row["type"] == "image" for row in record.spec.get("mounts") or ()):
            with open(record.path("config.json"), "rb") as file:
                used |= {row["source"] for row in json.loads(file.read())["mounts"] if row["type"] == "bind"}
    rootfs.drop_unused(home, environment, used, mounted)
