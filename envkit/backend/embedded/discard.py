"""The end of one-offs: with their anonymous volumes, and with the environment when they were the last of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from envkit.backend.embedded import instance, salvage, teardown, volumes
from envkit.backend.embedded import record as records
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.revive import locked_if_there
from envkit.host import mounts
from envkit.host.home import Home
from envkit.host.lock import Lock
from envkit.host.namespace import Engine

MARK = "remove-when-ended"  # a file of the record directory: whoever sees its end (the supervisor) removes it


def volume_prefix(environment: str, identity: str) -> str:
    """How the names of a one-off's anonymous volumes begin; identity: its id."""
    return f"{environment}_run-{identity}-"


def remove_volumes(home: Home, identity: str, environment: str) -> None:
    """Remove a one-off's anonymous volumes."""
    prefix = volume_prefix(environment, identity)
    for volume in volumes.load_all(home, environment):
        if volume.name.startswith(prefix):
            volumes.remove(home, volume.name)


def discard(home: Home, directory: str) -> None:
    """End and remove the one-off of a record directory; fine when it is gone."""
    record = records.load(home, directory)
    if record is None or not record.oneoff:
        return
    name = record.environment
    engine = Engine(home)
    engine.enter()
    with Lock(os.path.join(home.environment(name), "lock"), {"command": "run", "environment": name}):
        with locked_if_there(directory):
            if (record := records.load(home, directory)) is not None:
                _remove(home, [record], None)
        if salvage.is_empty(home, name):
            salvage.remove_environment(home, name, {row.target for row in mounts.mount_table()})
            salvage.release_engine(home, engine)


def discard_all(
    home: Home, environment: str, mounted: set[str] | None = None, *, networks: Collection[str] | None = None
) -> None:
    """End and remove all one-offs of an environment, or those in one of the networks (keys). The environment's lock is
    held by the caller."""
    rows = [
        record for record in records.load_all(home, environment)
        if record.oneoff and (networks is None or set(networks) & set(record.spec.get("networks") or ()))
    ]  # fmt: skip
    _remove(home, rows, mounted)


def _remove(home: Home, rows: Sequence[Record], mounted: set[str] | None) -> None:
    instance.kill_all(rows)
    teardown.remove(home, rows, mounted)
    for record in rows:
        remove_volumes(home, record.id, record.environment)
