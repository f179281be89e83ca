"""The lifecycle events of an environment: start, die, oom, health_status, restart, stop, kill, pause, exec …

`environments/ENV/events.jsonl`, one JSON object a line, appended in one write by whoever acts (the supervisor, the
commands); the file before it is kept as `events.jsonl.1`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from envkit.lean import json

if TYPE_CHECKING:
    from envkit.host.inotify import Inotify

_LIMIT = 4 << 20


def record(directory: str, address: str, event: str, detail: str = "") -> None:
    """Append an event to the environment in directory (environments/ENV); nothing when that is gone.

    detail: one line for people, never a secret, never a whole command line.
    """
    row = {"time": _now(), "address": address, "event": event, "detail": detail}
    try:
        file = os.open(f"{directory}/events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        os.write(file, json.dumps(row, ensure_ascii=False).encode() + b"\n")
        if os.fstat(file).st_size > _LIMIT:
            _rotate(file, directory)
    finally:
        os.close(file)


def _rotate(file: int, directory: str) -> None:
    """Begin a new file, unless another writer is doing it or has done it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(f"{directory}/events.jsonl").st_ino == os.fstat(file).st_ino:
            os.rename(f"{directory}/events.jsonl", f"{directory}/events.jsonl.1")
    except (BlockingIOError, FileNotFoundError):
        return


def _now() -> str:
    moment = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 1_000_000_000))
    return f"{seconds}.{moment % 1_000_000_000:09d}Z"


def events(directory: str, since: float | None = None, follow: bool = False) -> Iterator[dict[str, str]]:
    """The recorded events from `since` (seconds since the epoch) on; with follow also the coming ones, until the
    environment is gone."""
    first = "" if since is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since)) + f"{since % 1:.9f}Z"[1:]
    if not follow:
        for name in ("events.jsonl.1", "events.jsonl"):
            yield from _rows(_read(f"{directory}/{name}"), first)
        return
    from envkit.host import inotify

    with inotify.Inotify() as watcher:
        mask = inotify.MODIFY | inotify.CREATE | inotify.MOVED_TO | inotify.DELETE_SELF | inotify.ONLYDIR
        if watcher.add(directory, mask) is None:
            return
        yield from _rows(_read(f"{directory}/events.jsonl.1"), first)
        yield from _follow(directory, watcher, first)


def _follow(directory: str, watcher: Inotify, first: str) -> Iterator[dict[str, str]]:
    import select

    from envkit.host.inotify import DELETE_SELF, IGNORED

    poll = select.poll()
    poll.register(watcher.fileno(), select.POLLIN)
    path = f"{directory}/events.jsonl"
    file: int | None = None
    rest = b""
    try:
        while True:
            if file is None:
                file = _open(path)
            if file is not None:
                replaced = _inode(path) != os.fstat(file).st_ino  # an open file would keep its directory from going
                while data := os.read(file, 1 << 16):
                    rest += data
                complete, _, rest = rest.rpartition(b"\n")
                yield from _rows(complete, first)
                if replaced:
                    os.close(file)
                    file, rest = None, b""
                    if os.path.exists(path):
                        continue
            poll.poll()
            if any(notice.mask & (DELETE_SELF | IGNORED) for notice in watcher.read()):
                return
    finally:
        if file is not None:
            os.close(file)


def _rows(data: bytes, first: str) -> Iterator[dict[str, str]]:
    for line in data.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a write that a power cut has cut short
        if isinstance(row, dict) and str(row.get("time", "")) >= first:
            yield {str(key): str(value) for key, value in row.items()}


def _read(path: str) -> bytes:
    file = _open(path)
    if file is None:
        return b""
    with os.fdopen(file, "rb") as stream:
        return stream.read()


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
