"""Hooks of a service: `pre_start` containers that run to their end before it, commands after its start and before its
stop. As in Compose, they belong to commands of the user: a restart by the policy runs none of them.

Source: Compose Specification 05-services.md, pre_start, post_start, pre_stop.
"""

from __future__ import annotations

import os
import threading

from envkit.backend.embedded import instance
from envkit.backend.embedded import record as records
from envkit.backend.prestart import spec_of
from envkit.errors import ApplyError, EnvkitError
from envkit.events import Event, EventKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from envkit.backend.embedded.job import Job
    from envkit.backend.embedded.record import Record
    from envkit.backend.embedded.services import Services
    from envkit.events import Emit

_LINES = 20  # of a hook's output that an error shows


# -- commands in a running instance


def post_start(record: Record, emit: Emit) -> None:
    """Run the commands, one after the other. Raises ApplyError for the first that fails, with its output."""
    for number, hook in enumerate(record.spec.get("post_start") or ()):
        _run(record, hook, f"post_start[{number}]", emit)


def pre_stop(rows: Iterable[Record], emit: Emit) -> None:
    """Run the commands of those that are running. A failure is a warning: what is to be stopped is stopped."""
    for record in rows:
        hooks = record.spec.get("pre_stop") or ()
        if not hooks or not instance.status(record).is_alive:
            continue
        for number, hook in enumerate(hooks):
            try:
                _run(record, hook, f"pre_stop[{number}]", emit)
            except ApplyError as error:
                said = f"{error.summary}: {error.detail}" + "".join(f"\n{line}" for line in error.log[-3:])
                emit(Event(EventKind.WARNING, str(record.address), "stop", said))
                break


def _run(record: Record, hook: Mapping[str, Any], name: str, emit: Emit) -> None:
    """One command, its output as LOG events."""
    import subprocess

    from envkit.backend.base import ExecRequest
    from envkit.backend.embedded.exec import Exec, adapted, process_of
    from envkit.backend.embedded.runtime import runtime_of

    request = ExecRequest(
        record.address, tuple(hook["command"]), user=str(hook.get("user") or ""),
        environment={key: value for key, value in (hook.get("environment") or {}).items() if value is not None},
        working_dir=str(hook.get("working_dir") or ""), privileged=bool(hook.get("privileged")),
    )  # fmt: skip
    root = f"/proc/{instance.status(record).pid}/root"
    with Exec(record, runtime_of(record.home), adapted(process_of(record), request, root)) as command:
        done = subprocess.run(
            command.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            pass_fds=command.files,
        )  # fmt: skip
        code = command.exit_code(done.returncode)
    lines = done.stdout.decode(errors="replace").splitlines()
    _tell(record, name, lines, emit)
    if code:
        raise _failure(record, name, code, lines)


def _tell(record: Record, name: str, lines: Sequence[str], emit: Emit) -> None:
    for line in lines:
        emit(Event(EventKind.LOG, str(record.address), name, line))


def _failure(record: Record, name: str, code: int | None, lines: Sequence[str]) -> ApplyError:
    return ApplyError(
        "A hook failed", f"{name} ended with exit code {'unknown' if code is None else code}",
        "its output is below; a hook that may fail ends with `|| true`", address=str(record.address),
        log=lines[-_LINES:],
    )  # fmt: skip


# -- containers before a start


class PreStart:
    """The `pre_start` hooks of one batch of jobs: each once for a service, or once per instance (`per_replica`)."""

    def __init__(self, services: Services, jobs: Sequence[Job]) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._ran: dict[tuple[str, int], ApplyError | None] = {}
        batch = {record.directory for job in jobs for record in (job.record, job.old) if record is not None}
        self._there = {
            record.service
            for record in records.load_all(services.home, services.environment.name)
            if record.complete and not record.oneoff and record.directory not in batch
        } if any(_hooks(job) for job in jobs) else set()  # fmt: skip

    def run(self, job: Job) -> None:
        """Have every hook run that has to before job's instance starts. Raises ApplyError.

        A service that has other instances is only growing: its hooks have been run for all.
        """
        assert job.record is not None
        for number, hook in enumerate(_hooks(job)):
            if hook.get("per_replica"):
                self._container(job, hook, number)
            elif job.record.service not in self._there:
                self._once(job, hook, number)

    def _once(self, job: Job, hook: Mapping[str, Any], number: int) -> None:
        assert job.record is not None
        key = (job.record.service, number)
        with self._lock:  # the others of the service wait for it
            if key not in self._ran:
                try:
                    self._container(job, hook, number)
                    self._ran[key] = None
                except ApplyError as error:
                    self._ran[key] = error
            if (failure := self._ran[key]) is not None:
                raise failure

    def _container(self, job: Job, hook: Mapping[str, Any], number: int) -> None:
        """Make a container as the service's, run it to its end, and take it away."""
        from envkit.backend.embedded.job import Job as Work
        from envkit.plan.model import Action, Change
        from envkit.spec.environment import Resource

        services, parent = self._services, job.record
        assert parent is not None
        name = f"pre_start[{number}]"
        spec = spec_of(parent.spec, hook)
        picture = services.workshop.picture(services.digest_of(str(spec["image"])))
        identity = records.new_id()
        change = Change(parent.address, Action.CREATE, resource=Resource(parent.address, spec, identity))
        record = _record(services, parent, change, picture, identity)
        work = Work(change, record=record, fresh=True, picture=picture)
        try:
            services.make_ready([work], lambda _: None)
            if work.error is not None:
                raise work.error
            instance.create(record)
            instance.start(record)
            code = _await(record)
            lines = instance.last_lines(record, 1000)
            _tell(parent, name, lines, services.emit)
            if code:
                raise _failure(parent, name, code, lines)
        except EnvkitError as error:
            if isinstance(error, ApplyError):
                raise
            raise ApplyError(error.summary, error.detail, error.hint, address=str(parent.address)) from error
        finally:
            services.take_away(record)


def _hooks(job: Job) -> Sequence[Mapping[str, Any]]:
    return job.record.spec.get("pre_start") or () if job.record is not None else ()


def _record(
    services: Services, parent: Record, change: Any, picture: Any, identity: str
) -> Record:
    from envkit.backend.embedded import resolve

    record = resolve.new_record(
        services.home, parent.environment, change.resource, parent.address, picture, identity=identity,
        host=services.host,
    )  # fmt: skip
    record.directory = os.path.join(services.home.instances(parent.environment), f"{parent.service}.hook-{identity}")
    record.name, record.oneoff = f"{parent.name}-pre_start-{identity}", True
    record.cgroup = resolve.cgroup(services.cgroups, parent.environment, identity, record.spec)
    record.healthcheck = None
    return record


def _await(record: Record, open_pidfd: Callable[[int, int], int | None] | None = None) -> int | None:
    """The exit code once it has ended; None when nobody knows it."""
    from envkit.host import proc

    init = instance.init_of(record)
    descriptor = (open_pidfd or proc.open_pidfd)(init.pid, init.start) if init is not None else None
    if descriptor is not None:
        try:
            while proc.wait_pidfds([descriptor], 3600.0):
                continue
        finally:
            os.close(descriptor)
    instance.await_exits([record])
    return instance.status(record).exit_code
