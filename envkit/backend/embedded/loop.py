"""The supervisor's event loop: descriptors, timers, child processes. One thread; asleep unless something is due.

Times are seconds since the epoch as they were when the loop was made, counted on by the monotonic clock, so that a
clock that is set never moves a deadline.
"""

from __future__ import annotations

import heapq
import os
import select
import time
from collections.abc import Callable, Sequence
from itertools import count

Callback = Callable[[], None]


class Timer:
    """One appointment; cancel() is enough to forget it."""

    __slots__ = ("_callback", "cancelled")

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._callback()


class Loop:
    """`run()` until `stop()`."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._offset = time.time() - time.monotonic()
        self._stopped = False

    def now(self) -> float:
        return self._offset + time.monotonic()

    def watch(self, descriptor: int, callback: Callback) -> None:
        """Call back whenever the descriptor is readable (a pidfd: has ended)."""
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """To be called before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def at(self, when: float, callback: Callback) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def after(self, seconds: float, callback: Callback) -> Timer:
        return self.at(self.now() + seconds, callback)

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            for descriptor, _ in self._poll.poll(self._sleep()):
                callback = self._callbacks.get(descriptor)
                if callback:
                    callback()
            now = self.now()
            while self._timers and (self._timers[0][0] <= now or self._timers[0][2].cancelled):
                heapq.heappop(self._timers)[2].fire()

    def _sleep(self) -> float:
        """Seconds until the next appointment, -1 for ever."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.now()) if self._timers else -1

    def spawn(
        self, argv: list[str], ended: Callable[[int], None], *, output: int | None = None,
        inherit: Sequence[int] = (),
    ) -> int:  # fmt: skip
        """Start a program; ended(exit code, negative for a signal) is called when it has ended. Returns its pid.

        stdin is /dev/null; stdout and stderr go to the descriptor output (None: to the loop's own stderr).
        """
        sink = 2 if output is None else output
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, sink, 1),
            (os.POSIX_SPAWN_DUP2, sink, 2),
        ]
        for descriptor in inherit:
            os.set_inheritable(descriptor, True)
        try:
            pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        finally:
            for descriptor in inherit:
                os.set_inheritable(descriptor, False)
        process = os.pidfd_open(pid)

        def reap() -> None:
            self.unwatch(process)
            os.close(process)
            ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        self.watch(process, reap)
        return pid
