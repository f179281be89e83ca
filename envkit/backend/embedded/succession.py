"""Start-first: an instance takes the place of the one beside it. Cut off anywhere, the next session finishes it.

The order, and why: the successor is made in the replica's free place, unknown by its names and unpublished; the gate;
its record becomes complete, which is the one moment that decides who serves; names and ports change hands at once; the
old one's connections end; it is stopped and removed. Whatever is found with two instances afterwards is finished from
the records alone: a successor that is not complete goes, one that is complete takes over.
"""

from __future__ import annotations

from contextlib import ExitStack

from envkit.backend.embedded import gate, hooks, instance, supervision, teardown
from envkit.backend.embedded import record as records
from envkit.events import ignore
from envkit.host.steps import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from envkit.backend.embedded.job import Job
    from envkit.backend.embedded.record import Record
    from envkit.events import Emit
    from envkit.host.home import Home

WIDTH = 32
"""Instances that are waited for at a time: a thread each, asleep for the most part."""


def see_through(job: Job, serial: AbstractContextManager[object], mounted: set[str], emit: Emit) -> None:
    """Watch a new instance, and let it take over from the one that it was made beside.

    serial: who changes networks and mounts of the session. Raises ApplyError when it cannot be relied on; then nothing
    of it is complete.
    """
    record, old = job.record, job.old
    assert record is not None
    if record.healthcheck is not None:
        supervision.ensure_running(record.home, record.environment)
    if old is None or not job.beside:
        gate.watch(record)
        return
    with records.locked(record):  # nobody starts it again until it is known to be good
        gate.watch(record, old)
        step("succession.commit")
        record.complete = True
        record.save(durable=False)
    with serial:
        _take_over(record.home, [(record, old)])
    retire(old, job.change.timeout, emit)
    with serial:
        step("succession.remove")
        teardown.remove(record.home, [old], mounted)


def _take_over(home: Home, pairs: Sequence[tuple[Record, Record]]) -> None:
    """Names and published ports lead to the first of each pair from now on."""
    if not any(record.netns for pair in pairs for record in pair):
        return
    from envkit.backend.embedded import publish

    step("succession.take-over")
    publish.take_over(home, pairs[0][0].environment, {new.id: old.id for new, old in pairs})


def retire(old: Record, timeout: float | None, emit: Emit) -> None:
    """Let an instance that nobody is led to any more finish, and stop it."""
    with ExitStack() as stack:
        stack.enter_context(records.locked(old))
        old.desired = "stopped"  # the supervisor starts it no more
        old.save(durable=False)
        step("succession.drain")
        gate.drain(old, old.stop_grace if timeout is None else timeout)
        hooks.pre_stop([old], emit)
        step("succession.stop")
        instance.stop_all([old], {} if timeout is None else {old.id: timeout})


def finish(home: Home, environment: str, mounted: set[str]) -> None:
    """Make one instance of two wherever a replacement was cut off. The environment's lock is held by the caller."""
    found = records.pairs([row for row in records.load_all(home, environment) if not row.oneoff])
    if not found:
        return
    late = [(serving, other) for serving, other in found if serving.complete and not other.is_waiting]
    if late:
        _take_over(home, late)
    for _, other in found:
        step("succession.finish")
        if other.is_waiting:
            instance.kill_all([other])
        else:
            retire(other, None, ignore)
    teardown.remove(home, [other for _, other in found], mounted)
