"""Locks between envkit processes: flock(2) on a file that says who holds it.

The kernel drops the lock with its process, so a lock is never stale; the file's text is for messages only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from envkit.errors import ConflictError
from envkit.host import proc
from envkit.lean import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_POLL = 0.05


class Lock:
    """An exclusive lock at path; `with Lock(path, who):` waits for it as long as it takes.

    who is any JSON data about the holder (`{"command": "envkit apply"}`); host, pid, time and boot id are added.
    A lock object is used by one thread; the file stays after release.
    """

    def __init__(self, path: str, who: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.who = dict(who or {})
        self._descriptor = -1
        self.touched = 0.0
        """When somebody else took or gave back the lock last, before this object had it (seconds since the epoch)."""

    def acquire(
        self, timeout: float | None = None, on_wait: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        """Take the lock, waiting at most timeout seconds (None: for ever, 0: not at all).

        on_wait is called once, with the holder's information, before waiting. Raises ConflictError naming the holder.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _try(descriptor):
                if timeout != 0 and on_wait:
                    on_wait(self.holder() or {})
                self._wait(descriptor, timeout)
            self.touched = os.fstat(descriptor).st_mtime
            self._write(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _wait(self, descriptor: int, timeout: float | None) -> None:
        if timeout is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return
        deadline = time.monotonic() + timeout
        while not _try(descriptor):
            if time.monotonic() >= deadline:
                raise ConflictError(
                    "another envkit process holds the lock",
                    f"{describe(self.holder() or {})}; lock file {self.path}",
                    "wait for it to finish, or give a longer --lock-timeout",
                )
            time.sleep(_POLL)

    def _write(self, descriptor: int) -> None:
        info = {
            "who": self.who, "host": os.uname().nodename, "pid": os.getpid(), "command": _command_line(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "boot_id": proc.boot_id(),
        }  # fmt: skip
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(info).encode(), 0)

    def holder(self) -> dict[str, Any] | None:
        """What the present or last holder wrote; None when it wrote nothing yet or has released the lock."""
        try:
            with open(self.path, "rb") as file:
                value = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def is_current(self) -> bool:
        """Whether the held file still is the one at path; a former holder may have removed it while we waited."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor >= 0

    def __enter__(self) -> Lock:
        if not self.held:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock at path now."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


def describe(info: Mapping[str, Any]) -> str:
    """One line about a holder, for people."""
    if not info:
        return "its holder has not said who it is"
    return f"held by process {info.get('pid')} on {info.get('host')} since {info.get('time')}: {info.get('command')}"


def _command_line() -> str:
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").split(b"\0")
    return " ".join(word.decode(errors="replace") for word in words)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
