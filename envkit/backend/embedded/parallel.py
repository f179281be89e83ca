"""Do one thing for many items in a few threads. Creating containers is mostly waiting for other processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def each(items: Sequence[T], work: Callable[[T], None], width: int) -> None:
    """Call work(item) for every item, at most width at a time, in order of beginning. work handles its own errors;
    what it raises all the same is raised here after all have ended."""
    if len(items) <= 1 or width <= 1:
        for item in items:
            work(item)
        return
    queue = iter(items)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        while True:
            with lock:
                item = next(queue, None)
            if item is None:
                return
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001  (raised below, in the caller's thread)
                failures.append(error)

    threads = [threading.Thread(target=run, name="envkit-worker") for _ in range(min(width, len(items)) - 1)]
    for thread in threads:
        thread.start()
    run()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class beside:
    """`with beside(work):` calls work in a thread of its own, and ends when both have; what either raises is raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="envkit-beside")

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  (raised below, in the caller's thread)
            self._failure = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure
