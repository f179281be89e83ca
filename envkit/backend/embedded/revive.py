"""Start one instance again, in a process of its own that the supervisor waits for."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from envkit.backend.embedded import instance
from envkit.backend.embedded import record as records
from envkit.errors import EnvkitError
from envkit.host.home import Home


def revive(home: Home, directory: str) -> int:
    """Create and start an instance that has ended. 0: done, 1: failed (stderr says why), 3: nobody wants it any more,
    4: it runs already."""
    with locked_if_there(directory):
        record = records.load(home, directory)
        if record is None or record.desired != "running" or not record.complete:  # it is only being made
            return 3
        if instance.status(record).is_alive:
            return 4
        try:
            instance.create(record)
            instance.start(record)
        except EnvkitError as error:
            sys.stderr.write(f"{record.address}: {error}\n")
            return 1
    return 0


@contextmanager
def locked_if_there(directory: str) -> Iterator[None]:
    """The instance's lock as `record.locked` takes it, but never making a directory that has just been deleted; then
    the record is found to be absent."""
    try:
        descriptor = os.open(f"{directory}/lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        descriptor = None
    try:
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
