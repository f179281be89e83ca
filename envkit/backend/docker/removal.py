"""Containers removed with the volumes that are theirs alone; at once, or beside the start of a successor."""

from __future__ import annotations

import threading
import time

from envkit.backend.docker import places
from envkit.backend.engine_api import EngineConflictError, EngineNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from envkit.backend.engine_api import Engine

_ATTEMPTS, _PAUSE = 20, 0.1


def discard(engine: Engine, item: Mapping[str, Any], *, anonymous: bool = False) -> None:
    """Remove a container at once, with the volumes of its files, and on demand its anonymous ones."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            engine.delete(f"/containers/{item['Id']}", force=True, v=anonymous)
        except EngineNotFoundError:
            break
        except EngineConflictError:  # somebody else is removing it
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        else:
            break
    drop(engine, places.file_volumes(engine, item))


def drop(engine: Engine, volumes: Iterable[str]) -> None:
    """Remove volumes that nobody else has."""
    for name in volumes:
        try:
            engine.delete(f"/volumes/{name}")
        except (EngineNotFoundError, EngineConflictError):
            continue  # gone, or mounted by somebody else as well (`volumes_from`)


class Beside:
    """Work that has begun in a thread of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._failed = error

    def join(self) -> None:
        """Wait for its end, whatever that is."""
        self._thread.join()

    def finish(self) -> None:
        """Wait for its end. Raises what it raised."""
        self.join()
        if self._failed is not None:
            raise self._failed
