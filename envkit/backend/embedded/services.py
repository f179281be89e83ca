"""Carry out a batch of service changes: old instances go, new ones are prepared together and created a few at a time.

The order, and why: everything that can fail without a trace is looked at first (images, users, mounts, ports), then
old instances are stopped all at once; networks are attached in one batch; a record is written with complete=False
before its first lasting effect and with complete=True after its last one, so that whatever cuts this off is seen.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from envkit.address import Address
from envkit.backend.embedded import (
    bundle,
    instance,
    limits,
    namespaces,
    parallel,
    process,
    resolve,
    rootfs,
    teardown,
    wiring,
)
from envkit.backend.embedded import record as records
from envkit.backend.embedded.mounts import SHM_SIZE
from envkit.backend.embedded.picture import Picture
from envkit.backend.embedded.prepare import Bind, Workshop
from envkit.backend.embedded.record import Record
from envkit.errors import ApplyError, EnvkitError, NotFoundError
from envkit.events import Emit, Event, EventKind
from envkit.host import mounts
from envkit.host.cgroups import Cgroups
from envkit.host.files import make_directory, write_atomic
from envkit.host.home import Home
from envkit.host.steps import step
from envkit.plan.model import Action, Change, Effect
from envkit.spec.environment import Environment

WINDOW = 4  # creations at a time: more gain nothing (two cores, each creation is four processes)


@dataclass(slots=True)
class Job:
    """One change on its way. old: the instance that goes; record: the one that is to run afterwards (the same object
    for a restart in place); fresh: record is a new instance."""

    change: Change
    old: Record | None = None
    record: Record | None = None
    fresh: bool = False
    picture: Picture | None = None
    binds: list[Bind] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def is_open(self) -> bool:
        return self.error is None


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
        self.wires = wiring.Wires(home, environment)
        self._shared_ipc = {
            str(item.spec["ipc"]).removeprefix("service:")
            for item in environment.services.values()
            if str(item.spec.get("ipc") or "").startswith("service:")
        }

    def apply(self, changes: Sequence[Change], done: Callable[[Change, BaseException | None], None]) -> None:
        """See backend.base.Session.apply, for service changes."""
        jobs = [Job(change) for change in changes]
        reported: set[int] = set()

        def report(job: Job) -> None:
            if id(job) not in reported:
                reported.add(id(job))
                done(job.change, job.error)

        for job in jobs:
            self._guarded(job, self._begin)
        self._choose_ports(jobs)
        for job in jobs:
            if not job.is_open or (job.old is None and job.record is None):
                report(job)
        self._remove_old([job for job in jobs if job.is_open and job.old is not None], report)
        starting = [job for job in jobs if job.is_open and job.record is not None and self._must_start(job)]
        for job in jobs:
            if job.is_open and job.record is not None and job not in starting:
                self._guarded(job, self._update_in_place)
                report(job)
        self._start(starting, report)

    # -- what is to be done

    def _guarded(self, job: Job, work: Callable[[Job], None]) -> None:
        try:
            work(job)
        except EnvkitError as error:
            job.error = self._named(job, error)
        except OSError as error:
            job.error = self._named(job, EnvkitError("A file operation failed", f"{error.filename}: {error.strerror}"))

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
        digest = self.digest_of(str(change.resource.spec["image"]))
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
        job.record.created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        job.record.cgroup = self.cgroups.path_for(self.environment.name, job.record.id)
        instance.signal_number(job.record.stop_signal)
        self._check_name(job.record)
        self._check_peers(job)

    def _check_name(self, record: Record) -> None:
        if not record.spec.get("container_name"):
            return
        other = records.find_named(self.home, record.name)
        if other is not None and other.directory != record.directory:
            raise ApplyError(
                "A container name is taken", f"{record.name!r} is {other.address} of environment {other.environment!r}",
                "choose another `container_name:`", address=str(record.address),
            )  # fmt: skip

    def _check_peers(self, job: Job) -> None:
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
        fresh = [job.record for job in jobs if job.is_open and job.fresh and job.record is not None]
        failed = self.wires.choose_ports(fresh, going)
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

    # -- going

    def _remove_old(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        old = [job.old for job in jobs if job.old is not None]
        if not old:
            return
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
        except EnvkitError as error:
            for job in jobs:
                job.error = self._named(job, error)
        for job in jobs:
            if job.record is None or not job.is_open:
                report(job)

    # -- changing in place

    def _update_in_place(self, job: Job) -> None:
        record, change = job.record, job.change
        assert record is not None
        before = change.observed.spec.get("limits") if change.observed else None
        wanted = record.spec.get("limits") or {}
        drifted = any(item.path.startswith("limits.") for item in change.attributes)
        status = instance.status(record)
        if (before or {}) != wanted or drifted:
            self._rewrite_limits(record, wanted)
            if status.is_alive and record.cgroup:
                self.cgroups.write_limits(record.cgroup, wanted, before or {})
        record.limits = self.cgroups.effective(wanted)
        if any(item.path == "state" for item in change.attributes):
            instance.resume(record)
        if any(item.path.startswith(("published.", "networks.")) for item in change.attributes):
            self.wires.mend([record])
        record.desired, record.complete = "running", True
        record.save()

    def _rewrite_limits(self, record: Record, wanted: Mapping[str, Any]) -> None:
        """A later start must have the same limits: they are part of the bundle."""
        from envkit.backend.embedded import devices

        path = record.path("config.json")
        with open(path, "rb") as file:
            config = json.loads(file.read())
        old = config["linux"].get("resources")
        if old is None:
            return
        kept = limits.kept(wanted, self.cgroups.supported)
        config["linux"]["resources"] = {**limits.resources(kept, devices.number), "devices": old.get("devices", [])}
        write_atomic(path, json.dumps(config).encode(), 0o600, durable=False)

    # -- coming

    def _start(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        again = [job.record for job in jobs if not job.fresh and job.record is not None]
        instance.stop_all(again)
        self.make_ready(jobs, report)

        def run(job: Job) -> None:
            self._guarded(job, self._launch)
            if not job.is_open:
                self._undo(job)
            report(job)

        parallel.each([job for job in jobs if job.is_open], run, WINDOW)

    def make_ready(self, jobs: Sequence[Job], report: Callable[[Job], None]) -> None:
        """Everything but the processes: records, networks, roots, volumes, bundles, published ports.

        What fails is undone and reported. `run` makes its one-offs ready with this, too.
        """
        for job in jobs:
            if job.fresh and job.record is not None:
                job.record.complete = False
                job.record.save(durable=False)
        step("services.recorded")
        self._attach(jobs)
        for job in jobs:
            if job.is_open:
                self._guarded(job, self._prepare)
            if not job.is_open:
                self._undo(job)
                report(job)
        self.wires.publish([job.record for job in jobs if job.is_open and job.record is not None])

    def _attach(self, jobs: Sequence[Job]) -> None:
        rows = [job.record for job in jobs if job.is_open and job.record is not None]
        try:
            self.wires.attach(rows)
        except EnvkitError as error:
            for job in jobs:
                job.error = job.error or self._named(job, error)

    def _prepare(self, job: Job) -> None:
        record, picture = job.record, job.picture
        assert record is not None and picture is not None
        spec = record.spec
        names = {
            address.name: str(item.spec.get("name") or address.name)
            for address, item in self.environment.resources.items()
            if address.kind == "volume"
        }
        job.binds = self.workshop.mounts_of(record, spec, picture, self._inherited(spec), names)
        record.root = self.workshop.root(record, spec, picture, job.binds)
        for bind in job.binds:
            self.workshop.fill(picture, record.root, bind)
        spaces = namespaces.decide(
            spec, netns=record.netns, cgroup_v2=self.cgroups.version == "v2", shm_source=self._shm(record),
            find=self._peer,
        )  # fmt: skip
        if spaces.network_peer is not None and not spec.get("hostname"):
            record.hostname = spaces.network_peer.hostname
        files = self.wires.files(record, spaces.network_peer)
        facts, warnings = self.workshop.facts(record, spec, picture, job.binds, spaces, files)
        for text in warnings:
            self.emit(Event(EventKind.WARNING, str(record.address), job.change.action.word, text))
        record.limits = self.cgroups.effective(spec.get("limits") or {})
        config = bundle.encode(spec, picture.config, facts)
        write_atomic(record.path("config.json"), json.dumps(config).encode(), 0o600, durable=False)
        record.desired = "running"

    def _launch(self, job: Job) -> None:
        record = job.record
        assert record is not None
        with records.locked(record):
            instance.create(record)
            instance.start(record)
            step("services.started")
            record.complete = True
            record.save(durable=False)

    def _undo(self, job: Job) -> None:
        """Leave nothing of an instance that could not be made; one that was restarted keeps its files."""
        record = job.record
        if record is None:
            return
        if isinstance(job.error, ApplyError) and not job.error.log:
            job.error.log = tuple(instance.last_lines(record, 20))
        instance.kill_all([record])
        if job.fresh:
            teardown.remove(self.home, [record], self.workshop.mounted)

    # -- others

    def _peer(self, kind: str, name: str) -> namespaces.Peer | None:
        if kind == "service":
            record = records.find(self.home, self.environment.name, Address("service", name))
        else:
            record = records.find_named(self.home, name)
        if record is None:
            return None
        status = instance.status(record)
        shm = teardown.shm_directory(record)
        return namespaces.Peer(
            status.pid, record.hostname, record.directory, record.netns, record.network_mode == "host",
            shm if shm in self.workshop.mounted else "",
        )  # fmt: skip

    def _inherited(self, spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The mounts that `volumes_from` takes over, anonymous volumes included."""
        rows: list[Mapping[str, Any]] = []
        for text in spec.get("volumes_from") or ():
            name, _, mode = text.removeprefix("container:").partition(":")
            is_container = text.startswith("container:")
            found = (
                records.find_named(self.home, name) if is_container
                else records.find(self.home, self.environment.name, Address("service", name))
            )  # fmt: skip
            if found is None:
                raise NotFoundError("`volumes_from` names a service that is not there", name)
            rows += [_taken_over(row, found, mode == "ro") for row in found.spec.get("mounts") or ()]
            known = {str(row["target"]).rstrip("/") for row in rows}
            rows += [
                {"type": "volume", "target": target, "volume_name": volume, "read_only": mode == "ro"}
                for target, volume in found.anonymous.items()
                if target.rstrip("/") not in known
            ]
        return rows

    def _shm(self, record: Record) -> str:
        """The directory that is /dev/shm of an ipc namespace which others join, mounted; "" when nobody may."""
        spec = record.spec
        if spec.get("ipc") != "shareable" and record.service not in self._shared_ipc:
            return ""
        target = teardown.shm_directory(record)
        if target not in self.workshop.mounted:
            make_directory(target, 0o700)
            size = int(spec.get("shm_size") or SHM_SIZE)
            mounts.tmpfs(target, ("mode=1777", f"size={size}"), flags=mounts.MS_NOSUID | mounts.MS_NODEV)
            self.workshop.mounted.add(target)
        return target


def _taken_over(row: Mapping[str, Any], owner: Record, read_only: bool) -> Mapping[str, Any]:
    result = dict(row)
    if row["type"] == "volume" and not row.get("source"):
        result["volume_name"] = owner.anonymous.get(str(row["target"]), "")
    if read_only:
        result["read_only"] = True
    return result


def drop_unused_roots(home: Home, environment: str, mounted: set[str]) -> None:
    """Unmount the shared roots that no record names any more."""
    used = {record.root for record in records.load_all(home, environment)}
    used |= _image_mounts(home, environment)
    rootfs.drop_unused(home, environment, used, mounted)


def _image_mounts(home: Home, environment: str) -> set[str]:
    """The roots that are bound into instances as `type: image` mounts."""
    found = set()
    for record in records.load_all(home, environment):
        if not any(row["type"] == "image" for row in record.spec.get("mounts") or ()):
            continue
        with open(record.path("config.json"), "rb") as file:
            config = json.loads(file.read())
        found |= {row["source"] for row in config["mounts"] if row["type"] == "bind"}
    return found
