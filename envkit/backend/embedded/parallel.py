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
