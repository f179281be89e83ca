"""Networks that go while the last of their containers are being removed: stopped containers are in none any more."""

from __future__ import annotations

import threading

from envkit.backend.engine_api import EngineNotFoundError
from envkit.errors import EnvkitError
from envkit.lean import suppress
from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.address import Address
    from envkit.backend.engine_api import Engine
    from envkit.plan.model import Change


class Leaving:
    """The networks that one session takes away. What does not go here (it is still used) goes in its turn, or says why
    it cannot."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running: set[Address] = set()
        self._networks: dict[Address, str] = {}
        self._threads: dict[Address, threading.Thread] = {}
        self._gone: set[Address] = set()

    def announce(self, changes: Sequence[Change]) -> None:
        """What is about to be done. Networks are taken away early where every service that is touched goes."""
        services = [change for change in changes if change.address.kind == "service"]
        services = [change for change in services if change.action is not Action.NOOP]
        with self._lock:
            if services and all(change.action is Action.DELETE for change in services):
                self._running = {change.address for change in services}
                self._networks = {
                    change.address: str(change.observed.attributes["network_id"]) for change in changes
                    if change.address.kind == "network" and change.action is Action.DELETE
                    and change.observed is not None and change.observed.attributes.get("network_id")
                }  # fmt: skip

    def note_stopped(self, address: Address) -> None:
        """A container has stopped, and will be removed."""
        with self._lock:
            if address not in self._running:
                return
            self._running.discard(address)
            if self._running:
                return
            for network, identity in self._networks.items():
                self._threads[network] = threading.Thread(target=self._remove, args=(network, identity), daemon=True)
                self._threads[network].start()

    def _remove(self, address: Address, identity: str) -> None:
        try:
            with suppress(EngineNotFoundError):
                self._engine.delete(f"/networks/{identity}")
        except EnvkitError:
            return  # it is tried again in its turn
        self._gone.add(address)

    def is_gone(self, address: Address) -> bool:
        """Whether the network has gone already."""
        with self._lock:
            thread = self._threads.get(address)
        if thread is not None:
            thread.join()
        return address in self._gone
