"""Containers that are created while their network is being made, which takes an engine longest.

An engine looks for a container's network when it starts it. What else a container needs must be there: a volume that is
not, it would make itself, without labels. Nothing here is needed for an apply to be right: what was not made ahead is
made in its turn.
"""

from __future__ import annotations

import threading

from envkit.backend.engine_api import EngineNotFoundError
from envkit.plan.model import Action

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from envkit.address import Address
    from envkit.backend.docker.services import Made, Services
    from envkit.plan.model import Change

_FREE = frozenset({"network", "volume", "image"})


class Ahead:
    """The containers that one session makes ahead."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._state = threading.Condition()
        self._volumes: dict[Address, bool | None] = {}
        self._made: dict[Address, Made | BaseException | None] = {}
        self._waiting: set[Address] = set()
        self._asked: set[Address] = set()
        self._closed = False

    def begin(self, changes: Sequence[Change], width: int) -> None:
        """Make the first of the new containers, width of them, as far as nothing but a network keeps them from it."""
        if not any(_creates(change, "network") for change in changes) or self._services.engine.is_podman:
            return
        free = [change for change in changes if _creates(change, "service") and self._is_free(change)]
        with self._state:
            for change in changes:
                if _creates(change, "volume"):
                    self._volumes.setdefault(change.address, None)
            chosen = [change for change in free if change.address not in self._asked][:width]
            self._waiting = {change.address for change in chosen}
        for change in chosen:
            threading.Thread(target=self._make, args=(change,), name="ahead", daemon=True).start()

    def _is_free(self, change: Change) -> bool:
        spec = change.resource.spec if change.resource else {}
        networks: Collection[str] = spec.get("networks") or ()
        return (
            change.address not in self._services.present
            and all(item.address.kind in _FREE for item in change.requires)
            and not any(spec.get(key) for key in ("secrets", "configs", "links", "external_links", "volumes_from"))
            and not any(str(spec.get(key) or "").startswith("service:") for key in ("network_mode", "pid", "ipc"))
            and (len(networks) <= 1 or self._services.engine.version >= (1, 44))
        )

    def _make(self, change: Change) -> None:
        found: Made | BaseException | None = None
        resource = change.resource
        try:
            needed = [item.address for item in change.requires if item.address in self._volumes]
            with self._state:
                self._state.wait_for(lambda: self._closed or all(self._volumes[item] is not None for item in needed))
                ready = not self._closed and all(self._volumes[item] for item in needed)
            if ready and resource is not None:
                found = self._services.make(change.address, resource, None, digest=change.image_digest)
        except EngineNotFoundError:
            found = None  # this engine wants the network first
        except Exception as error:  # noqa: BLE001 - raised where the container is asked for
            found = error
        with self._state:
            self._made[change.address] = found
            self._waiting.discard(change.address)
            self._state.notify_all()

    def note_volume(self, address: Address, *, done: bool) -> None:
        """A volume is there, or cannot be made."""
        with self._state:
            self._volumes[address] = done
            self._state.notify_all()

    def take(self, address: Address) -> Made | None:
        """The container of this address; None when none was made. Raises what its creation raised."""
        with self._state:
            self._asked.add(address)
            self._state.wait_for(lambda: address not in self._waiting)
            found = self._made.pop(address, None)
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """Remove what nobody has taken: its network could not be made, or the apply was interrupted."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            self._state.wait_for(lambda: not self._waiting)
        for found in self._made.values():
            if found is not None and not isinstance(found, BaseException):
                self._services.discard_made(found.identity)


def _creates(change: Change, kind: str) -> bool:
    return change.address.kind == kind and change.action is Action.CREATE
