"""What an engine cannot keep with its objects: one small file per environment and engine below ENVKIT_HOME/engines.

containers: id -> {"spec", "fingerprint", "facts"}: what was last applied to a container, where that is not what its
labels say, and what it looked like afterwards (an engine adds defaults, and drops limits that the kernel lacks).
instances, networks, volumes: address -> {"spec", "fingerprint"} of what was there, so that what has vanished is named.
images: name -> {"spec", "fingerprint", "id"}. pulled: reference -> when its registry was asked last. owed: address ->
the paths for whose sake it is to be restarted. All of it may be lost: drift is then seen by the labels alone.
"""

from __future__ import annotations

import os

from envkit.host.files import make_directory, read_json, write_json
from envkit.lean import sha256, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envkit.address import Address
    from envkit.backend.engine_api import EngineAddress
    from envkit.host.home import Home

_PARTS = ("containers", "objects", "images", "stopped", "owed", "pulled")


class Ledger:
    """The file of one environment; `save` writes it when something was changed."""

    def __init__(self, home: Home, address: EngineAddress, environment: str) -> None:
        key = sha256(address.url.encode()).hexdigest()[:12]
        self.directory = os.path.join(home.root, "engines", key)
        self.path = os.path.join(self.directory, f"{environment}.json")
        self.lock_path = os.path.join(self.directory, f"{environment}.lock")
        self._data = _read(self.path)
        self._before = repr(self._data)

    # -- containers

    def container(self, identity: str) -> Mapping[str, Any]:
        """{"spec", "fingerprint", "facts"} of a container, {} when nothing is known."""
        found: Mapping[str, Any] = self._data["containers"].get(identity) or {}
        return found

    def note_container(self, identity: str, facts: Mapping[str, Any], **applied: Any) -> None:
        """applied: spec and fingerprint, where they are not those of the labels any more."""
        kept = {key: value for key, value in self.container(identity).items() if key != "facts"}
        self._data["containers"][identity] = {**kept, **applied, "facts": dict(facts)}

    def keep_containers(self, present: set[str]) -> None:
        """Forget the containers that are no more."""
        for part in ("containers", "stopped"):
            self._data[part] = {key: value for key, value in self._data[part].items() if key in present}

    def is_stopped(self, identity: str) -> bool:
        """Whether envkit itself stopped the container."""
        return identity in self._data["stopped"]

    def note_stopped(self, identity: str, stopped: bool) -> None:
        self._data["stopped"].pop(identity, None)
        if stopped:
            self._data["stopped"][identity] = True

    # -- what was there

    def object(self, address: Address) -> Mapping[str, Any]:
        """{"spec", "fingerprint"} as last applied, {} when it never was, or was taken away by envkit."""
        found: Mapping[str, Any] = self._data["objects"].get(str(address)) or {}
        return found

    def note_object(self, address: Address, spec: Mapping[str, Any], fingerprint: str) -> None:
        self._data["objects"][str(address)] = {"spec": dict(spec), "fingerprint": fingerprint}

    def forget_object(self, address: Address) -> None:
        self._data["objects"].pop(str(address), None)

    def owed(self, address: Address) -> list[str]:
        """The paths for whose sake an instance was to be restarted, and has not been."""
        found: list[str] = self._data["owed"].get(str(address)) or []
        return found

    def note_owed(self, address: Address, paths: Sequence[str]) -> None:
        self._data["owed"].pop(str(address), None)
        if paths:
            self._data["owed"][str(address)] = list(paths)

    # -- images

    def image(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._data["images"].get(name) or {}
        return found

    def note_image(self, name: str, spec: Mapping[str, Any], fingerprint: str, identity: str) -> None:
        self._data["images"][name] = {"spec": dict(spec), "fingerprint": fingerprint, "id": identity}

    def forget_image(self, name: str) -> None:
        self._data["images"].pop(name, None)

    def pulled(self, reference: str) -> float:
        """When a registry was asked about it last, in seconds since the epoch; 0: never."""
        return float(self._data["pulled"].get(reference) or 0.0)

    def note_pulled(self, reference: str, when: float) -> None:
        self._data["pulled"][reference] = when

    @property
    def images(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self._data["images"]
        return found

    # -- the file

    def save(self) -> None:
        """Write it where it has changed."""
        if repr(self._data) != self._before:
            make_directory(self.directory, 0o700)
            write_json(self.path, self._data, 0o600, durable=False)
            self._before = repr(self._data)

    def remove(self) -> None:
        """Forget everything, the lock's file included."""
        for path in (self.path, self.lock_path):
            with suppress(FileNotFoundError):
                os.unlink(path)
        for directory in (self.directory, os.path.dirname(self.directory)):
            with suppress(OSError):
                os.rmdir(directory)


def _read(path: str) -> dict[str, Any]:
    found = read_json(path)
    data: dict[str, Any] = found if isinstance(found, dict) else {}
    return {part: data[part] if isinstance(data.get(part), dict) else {} for part in _PARTS}
