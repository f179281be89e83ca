"""What was made before, by key: HOME/cache/build/layers/KEY.json. Losing it costs time only.

One key can have several results: the same request, resolved to other versions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from envkit.host import files
from envkit.host.home import Home
from envkit.host.lock import Lock
from envkit.image.manifest import LayerInfo
from envkit.image.store import Store

_KEPT = 8  # results per key


def described(layer: LayerInfo, created_by: str, source: str) -> LayerInfo:
    """The same layer, as this image tells of it."""
    return LayerInfo(layer.digest, layer.size, layer.media_type, layer.diff_id, layer.chain_id, created_by, source)


class Made(NamedTuple):
    """A layer that exists, and what it was resolved to (JSON; None when nothing was)."""

    layer: LayerInfo
    resolved: Any


class Memory:
    """The layers that this installation has made."""

    def __init__(self, home: Home, store: Store) -> None:
        self._directory = os.path.join(home.cache, "build", "layers")
        self._store = store

    def _path(self, key: str) -> str:
        return os.path.join(self._directory, key.removeprefix("sha256:") + ".json")

    def lock(self, key: str) -> Lock:
        """Held while key's layer is looked up and made, so that two builds make it once."""
        files.make_directory(self._directory, 0o700)
        return Lock(self._path(key)[:-5] + ".lock", {"purpose": "making a layer"})

    def find(self, key: str, fits: Callable[[Any], bool] = lambda resolved: True) -> Made | None:
        """The latest result of key whose `resolved` fits and whose blob is still in the store."""
        for item in self._read(key):
            layer = LayerInfo(**item["layer"])
            if os.path.exists(self._store.blob_path(layer.digest)) and fits(item["resolved"]):
                return Made(layer, item["resolved"])
        return None

    def remember(self, key: str, layer: LayerInfo, resolved: Any = None) -> None:
        """Keep a result; an equal one moves to the front."""
        kept = {name: getattr(layer, name) for name in ("digest", "size", "media_type", "diff_id", "created_by")}
        new = {"layer": {**kept, "chain_id": layer.diff_id}, "resolved": resolved}
        rest = [item for item in self._read(key) if item["resolved"] != resolved]
        files.make_directory(self._directory, 0o700)
        files.write_json(self._path(key), [new, *rest][:_KEPT], durable=False)

    def find_image(self, key: str) -> str:
        """The digest of the image that was made for key, "" when none is remembered."""
        return next((str(item.get("image", "")) for item in self._read(key)), "")

    def remember_image(self, key: str, digest: str) -> None:
        """Keep which image was made for key."""
        files.make_directory(self._directory, 0o700)
        files.write_json(self._path(key), [{"image": digest}], durable=False)

    def layers(self) -> list[LayerInfo]:
        """Every layer that is remembered (for gc, which keeps their blobs)."""
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []
        keys = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        return [LayerInfo(**item["layer"]) for key in keys for item in self._read(key) if "layer" in item]

    def _read(self, key: str) -> list[dict[str, Any]]:
        value = files.read_json(self._path(key))
        return value if isinstance(value, list) else []
