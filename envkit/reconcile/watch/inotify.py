"""watchdog's observer for Linux, which tells of lost events and holds nothing up.

watchdog rebuilds its watches after an overflow of the kernel's queue (inotify(7), IN_Q_OVERFLOW) but passes no word of
it on; and it keeps back whatever follows the first half of a move for half a second.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, field
from typing import Any

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyFD
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class _Grouper(InotifyMoveEventGrouper):
    delay = 0.02  # seconds that the second half of a move may take; its first half holds up all that follow


@dataclass
class _Group(InotifyWatchGroup):
    overflowed: Any = None
    _move_event_grouper: InotifyMoveEventGrouper = field(default_factory=_Grouper, init=False)

    def on_queue_overflow(self) -> None:
        super().on_queue_overflow()
        self.overflowed()


class _Emitter(InotifyEmitter):
    """watchdog's own, with word of lost events."""

    overflowed: Callable[[], None]

    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self._inotify_fd, os.fsencode(self.watch.path), is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(), follow_symlink=False, overflowed=self.overflowed,
        )  # fmt: skip


class Observer(BaseObserver):
    """overflowed: called from a thread of its own when events were lost."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        logging.getLogger("watchdog").setLevel(logging.CRITICAL)  # it would say on stderr what we handle
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)  # of a move whose halves came apart
        self.descriptor = InotifyFD()
        self.descriptor.start()
        emitter = type("Emitter", (_Emitter,), {"overflowed": staticmethod(overflowed)})
        super().__init__(emitter, timeout=1, inotify_fd=self.descriptor)

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self.descriptor.stop()
        self.descriptor.join()
