"""start, stop, restart, kill, pause, unpause of existing instances: in parallel, without regard to dependencies.

What is wanted is written into the record before anything is done, so that the supervisor, and whoever comes after a
cut-off, does not bring back what was stopped. A call returns when it is so.
"""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from envkit.address import Address
from envkit.backend.embedded import events, hooks, instance, parallel, supervision
from envkit.backend.embedded import record as records
from envkit.backend.embedded.record import Record
from envkit.errors import ApplyError, EngineStoppedError, EnvkitError, NotFoundError
from envkit.events import Emit, Event, EventKind
from envkit.host.home import Home
from envkit.host.mountinfo import is_mount
from envkit.host.namespace import Engine, is_netns
from envkit.observed.state import InstanceState

_WIDTH = 4


def control(
    home: Home, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
    timeout: float | None = None,
) -> None:  # fmt: skip
    """See backend.base.Backend.control. signal: for kill (SIGKILL) and instead of the stop signal; timeout: seconds
    instead of the grace period. Raises NotFoundError before anything is done, ApplyError for the first that failed
    after all have been tried."""
    rows = [_record(home, environment, address) for address in addresses]
    if verb in ("start", "restart"):
        engine = Engine(home)
        if engine.is_live():
            engine.enter()
        if not engine.inside or not all(_stands(record) for record in rows):
            raise EngineStoppedError(
                "The engine has been stopped", "the machine was started anew, and mounts and networks are gone",
                "`envkit apply` brings everything back", address=str(addresses[0]) if addresses else "",
            )  # fmt: skip
    failures: dict[str, EnvkitError] = {}

    def finished(record: Record) -> None:
        failure = failures.get(record.id)
        kind = EventKind.FAILED if failure else EventKind.DONE
        emit(Event(kind, str(record.address), verb, failure.summary if failure else ""))
        if failure is None:
            events.record(home.environment(environment), str(record.address), verb, signal)

    def attempt(record: Record) -> None:
        try:
            if _ONE_BY_ONE[verb](record, signal):
                hooks.post_start(record, emit)
        except EnvkitError as error:
            failures[record.id] = error
        finished(record)

    for record in rows:
        emit(Event(EventKind.STARTED, str(record.address), verb))
    if verb in ("stop", "restart"):
        hooks.pre_stop(rows, emit)
        try:
            _stop(rows, timeout, signal)
        except EnvkitError as error:
            failures = {record.id: error for record in rows}
    if verb in _ONE_BY_ONE and not failures:
        parallel.each(rows, attempt, _WIDTH)
    else:
        for record in rows:
            finished(record)
    if verb in ("start", "restart"):
        supervision.ensure_running(home, environment)
    for record in rows:
        if record.id in failures:
            raise _named(record, failures[record.id])


def _record(home: Home, environment: str, address: Address) -> Record:
    record = records.find(home, environment, address)
    if record is None:
        raise NotFoundError("There is no such instance", str(address), "`envkit ps` lists what there is")
    return record


def _named(record: Record, error: EnvkitError) -> ApplyError:
    if isinstance(error, ApplyError):
        return error
    return ApplyError(error.summary, error.detail, error.hint, address=str(record.address))


def _stands(record: Record) -> bool:
    """Whether everything that a reboot takes is there: the root is mounted, the network namespace is pinned."""
    if instance.status(record).is_alive:
        return True
    return is_mount(record.root) and (not record.netns or is_netns(record.netns))


def _want(record: Record, desired: str) -> Record | None:
    """Write down what is wanted of the record as it is now (its lock is held); None when it has been deleted."""
    now = records.load(record.home, record.directory)
    if now is not None and (now.desired != desired or now.pending):
        now.desired, now.pending = desired, []
        now.save(durable=False)  # a power cut ends the instance as well
    return now


def _stop(rows: Sequence[Record], timeout: float | None, signal: str) -> None:
    """All get their signal before anybody is waited for."""
    with ExitStack() as locks:
        present = []
        for record in rows:
            locks.enter_context(records.locked(record))
            if (now := _want(record, "stopped")) is not None:
                if signal:
                    now.stop_signal = signal
                present.append(now)
        instance.stop_all(present, {} if timeout is None else {record.id: timeout for record in present})
        for record in present:
            _unmark(record)


def _start(record: Record, _: str) -> bool:
    """Whether it has been started now."""
    with records.locked(record):
        now = _want(record, "running")
        if now is None or instance.status(now).is_alive:
            return False
        instance.create(now)
        instance.start(now)
    return True


def _kill(record: Record, signal: str) -> None:
    number = instance.signal_number(signal or "SIGKILL")
    final = number in (signals.SIGKILL, instance.signal_number(record.stop_signal))
    hurried = number == signals.SIGKILL and _is_busy(record)
    if hurried:  # somebody waits for the end of its grace period
        instance.kill(record, number)
    with records.locked(record):
        now = _want(record, "stopped") if final else record
        if now is None or (hurried and not instance.status(now).is_alive):
            return
        if not instance.status(now).is_alive:
            raise ApplyError("The instance is not running", str(now.address), address=str(now.address))
        if number == signals.SIGKILL:
            instance.kill_all([now])
            _unmark(now)
        else:
            instance.kill(now, number)


def _is_busy(record: Record) -> bool:
    """Whether somebody holds the instance's lock."""
    import fcntl

    try:
        descriptor = os.open(record.path("lock"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def pause(record: Record, _: str = "") -> None:
    """Freeze a running instance; the supervisor leaves it alone. Raises ApplyError when it is not running."""
    with records.locked(record):
        state = instance.status(record).state
        if state is InstanceState.PAUSED:
            return
        if state is not InstanceState.RUNNING:
            raise ApplyError("The instance is not running", str(record.address), address=str(record.address))
        os.close(os.open(record.path("paused"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        instance.pause(record)


def unpause(record: Record, _: str = "") -> None:
    """Let a frozen instance go on; fine when it is not frozen."""
    with records.locked(record):
        if instance.status(record).state is InstanceState.PAUSED:
            instance.resume(record)
        _unmark(record)


def _unmark(record: Record) -> None:
    """The mark tells the supervisor to ask the kernel before it probes."""
    with suppress(FileNotFoundError):
        os.unlink(record.path("paused"))


_ONE_BY_ONE: dict[str, Callable[[Record, str], bool | None]] = {
    "start": _start, "restart": _start, "kill": _kill, "pause": pause, "unpause": unpause,
}  # fmt: skip
