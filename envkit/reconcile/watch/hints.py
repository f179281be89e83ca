"""Hints where something may have changed: watchdog's events in one set, whatever thread they come from.

A hint says "look there", never what happened. Directories are watched rather than files, since editors save by
renaming. Where the kernel's queue overflows (inotify(7), IN_Q_OVERFLOW), the hint is "look everywhere". A directory
that went away and came back is watched anew by `follow`.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, ObservedWatch

from envkit.errors import HostError
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileModifiedEvent, FileClosedEvent, FileDeletedEvent, FileMovedEvent, FileAttribEvent,
    DirCreatedEvent, DirDeletedEvent, DirMovedEvent, DirAttribEvent,
]  # fmt: skip
"""What is asked of the kernel: nothing that reading alone would bring about."""


@value
class Hints:
    """paths: absolute ones to look at; everywhere: events were lost; others: what else woke the watch."""

    paths: frozenset[str] = frozenset()
    everywhere: bool = False
    others: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.paths or self.everywhere or self.others)


class Queue:
    """Collects hints, and hands them over together once it has been quiet for a while."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._paths: set[str] = set()
        self._others: set[str] = set()
        self._everywhere = False
        self._first = self._last = 0.0

    def put(self, *paths: str) -> None:
        with self._condition:
            self._paths.update(paths)
            self._touch()

    def wake(self, reason: str) -> None:
        """A hint that is no path."""
        with self._condition:
            self._others.add(reason)
            self._touch()

    def overflow(self) -> None:
        with self._condition:
            self._everywhere = True
            self._touch()

    def _touch(self) -> None:
        self._last = time.monotonic()
        self._first = self._first or self._last
        self._condition.notify()

    def take(self, timeout: float, quiet: Callable[[int, float], float]) -> Hints:
        """What has come; nothing after timeout seconds without anything. quiet(number of paths, age of the first in
        seconds): how long nothing more may have come."""
        deadline = time.monotonic() + timeout
        with self._condition:
            while not self._first:
                if (left := deadline - time.monotonic()) <= 0 or not self._condition.wait(left):
                    if self._first:
                        break
                    return Hints()
            while True:
                now = time.monotonic()
                left = self._last + quiet(len(self._paths), now - self._first) - now
                if left <= 0:
                    break
                self._condition.wait(left)
            taken = Hints(frozenset(self._paths), self._everywhere, frozenset(self._others))
            self._paths.clear()
            self._others.clear()
            self._everywhere, self._first = False, 0.0
        return taken


class _Handler(FileSystemEventHandler):
    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type == "modified" and event.is_directory:
            return  # what is in it has events of its own
        paths = (os.fsdecode(path) for path in (event.src_path, event.dest_path) if path)
        self._queue.put(*paths)


class Follower:
    """Keeps watchdog's watches where they are wanted; its events go to the queue."""

    def __init__(self, queue: Queue) -> None:
        self._handler = _Handler(queue)
        self._observer = _observer(queue)
        self._watches: dict[tuple[str, bool], tuple[ObservedWatch, tuple[int, int]]] = {}
        self._observer.start()

    @property
    def places(self) -> list[str]:
        return sorted(path for path, _ in self._watches)

    def follow(self, roots: Iterable[str], files: Iterable[str]) -> list[str]:
        """Watch these trees and these files, whether they exist or not, and nothing else; the directories of which the
        watch is new. Raises HostError when the kernel's limit of watches is reached."""
        wanted = places(roots, files)
        for key in [key for key in self._watches if key not in wanted or self._watches[key][1] != _identity(key[0])]:
            watch, _ = self._watches.pop(key)
            self._observer.unschedule(watch)
        new = []
        for key in sorted(wanted):
            if key not in self._watches:
                identity = _identity(key[0])
                try:
                    watch = self._observer.schedule(
                        self._handler, key[0], recursive=key[1], event_filter=EVENTS
                    )
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise HostError(
                        "A directory cannot be watched", f"{key[0]}: {error.strerror or error}",
                        "raise /proc/sys/fs/inotify/max_user_watches, or watch less",
                    ) from error  # fmt: skip
                self._watches[key] = watch, identity
                new.append(key[0])
        return new

    def close(self) -> None:
        self._observer.unschedule_all()
        self._observer.stop()
        self._observer.join()


def _observer(queue: Queue) -> BaseObserver:
    """watchdog's observer for this system; on Linux one that tells of lost events."""
    if sys.platform == "linux":
        from envkit.reconcile.watch.inotify import Observer as Linux

        return Linux(queue.overflow)
    from watchdog.observers import Observer

    return Observer()


def places(roots: Iterable[str], files: Iterable[str]) -> set[tuple[str, bool]]:
    """(directory, with everything below it) of all that must be watched so that no change is missed: each tree, and the
    nearest directory above it that exists, since the tree itself may go and come."""
    trees = {root for root in roots if os.path.isdir(root)}
    trees = {tree for tree in trees if not any(tree.startswith(other.rstrip("/") + "/") for other in trees)}
    wanted = {(tree, True) for tree in trees}
    for path in {*trees, *files, *(root for root in roots if not os.path.isdir(root))}:
        directory = os.path.dirname(path)
        while not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        if not any(directory == tree or directory.startswith(tree.rstrip("/") + "/") for tree in trees):
            wanted.add((directory, False))
    return wanted


def _identity(path: str) -> tuple[int, int]:
    try:
        info = os.stat(path)
    except OSError:
        return 0, 0
    return info.st_dev, info.st_ino


def quiet(count: int, age: float) -> float:
    """Seconds without a further hint after which a round begins: little for one file, more in the midst of many, and
    none once the first has waited long enough: many are one checkout, few in a long row are somebody at work."""
    return 0.0 if age > (5.0 if count > 10 else 1.0) else min(0.2, 0.012 + 0.004 * count)
