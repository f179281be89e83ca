"""Some threads for one batch of work. `concurrent.futures` (with logging) would cost an apply 8 ms."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    T = TypeVar("T")


def for_each(work: Callable[[T], None], items: Sequence[T], width: int) -> None:
    """Do the work for every item, width at a time, and return when all of it is done. It must raise nothing."""
    if len(items) <= 1 or width <= 1:
        for item in items:
            work(item)
        return
    for thread in begin(work, items, width):
        thread.join()


def begin(work: Callable[[T], None], items: Sequence[T], width: int) -> Sequence[threading.Thread]:
    """The threads that do the work for every item, width at a time, in the items' order."""
    waiting = iter(items)
    lock = threading.Lock()

    def taken() -> Iterable[T]:
        while True:
            with lock:
                try:
                    item = next(waiting)
                except StopIteration:
                    return
            yield item

    def run() -> None:
        for item in taken():
            work(item)

    threads = [threading.Thread(target=run, name="envkit", daemon=True) for _ in range(min(width, len(items)))]
    for thread in threads:
        thread.start()
    return threads
