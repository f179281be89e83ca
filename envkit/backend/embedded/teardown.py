"""Remove instances with everything that is their own. Their processes have ended before.

Order: monitors gone, network, runtime state and cgroups, mounts, materials, files; each step is harmless when repeated,
so a teardown that was cut off is finished by the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from envkit.backend.embedded import instance, materials, parallel
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.rootfs import run_directory
from envkit.host import mounts, proc
from envkit.host.files import remove_tree
from envkit.host.home import Home
from envkit.host.steps import step

WIDTH = 4  # removals at a time: each of a dozen control groups makes the kernel wait
_MONITOR_PATIENCE = 2.0


def await_monitors(records: Iterable[Record]) -> None:
    """Wait until the conmons of dead instances have ended; they work in the record directories until then."""
    waiting: dict[int, None] = {}
    try:
        for record in records:
            if instance.monitor_is_alive(record):
                descriptor = proc.open_pidfd(instance.monitor_pid(record))
                if descriptor is not None:
                    waiting[descriptor] = None
        proc.wait_pidfds(waiting, _MONITOR_PATIENCE)
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def unmount_below(directories: Sequence[str], mounted: set[str] | None = None) -> None:
    """Unmount everything at or below the directories, the deepest first. mounted is brought up to date when given."""
    targets = mounted if mounted is not None else {row.target for row in mounts.mount_table()}
    prefixes = tuple(directory + "/" for directory in directories)
    for target in sorted((t for t in targets if t in directories or t.startswith(prefixes)), reverse=True):
        mounts.unmount(target)
        if mounted is not None:
            mounted.discard(target)


def remove(home: Home, records: Sequence[Record], mounted: set[str] | None = None) -> None:
    """Remove dead instances of one environment: network, runtime state, cgroups, mounts, secrets, files.

    mounted: the mount points of the engine namespace when the caller keeps track of them.
    """
    from envkit.backend.embedded import wiring

    if not records:
        return
    for record in records:
        if not record.complete:
            instance.end_unfinished(record)
    await_monitors(records)
    step("instance.detach")
    wiring.detach(home, records)
    unmount_below([record.directory for record in records] + [shm_directory(record) for record in records], mounted)
    step("instance.remove")
    parallel.each(records, _remove_one, WIDTH)


def _remove_one(record: Record) -> None:
    instance.forget(record)
    materials.remove(record.home, record.environment, record.id)
    remove_tree(shm_directory(record))
    remove_directory(record.directory)


def remove_directory(directory: str) -> None:
    """Remove a record directory; the record itself goes last, so that what remains of a cut-off removal is found."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        if name != "record.json":
            remove_tree(os.path.join(directory, name))
    remove_tree(directory)


def shm_directory(record: Record) -> str:
    """Where the /dev/shm of a shareable ipc namespace is mounted."""
    return os.path.join(run_directory(record.home, record.environment), "shm", record.id)
