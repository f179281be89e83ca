"""Layers by what they were made from: `images/cache/KEY`, one small JSON file per key. A root for gc.

The key is the caller's digest of a layer's inputs. The value names a stored layer; an entry whose blob is gone is none.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from envkit.digest import is_digest
from envkit.host import files
from envkit.image.manifest import LayerInfo
from envkit.image.store import Store


def recall(store: Store, key: str) -> LayerInfo | None:
    """The layer that was made from these inputs. Its chain_id is that of then: see Store.rebase_layer."""
    path = _path(store, key)
    layer = _read(path)
    if layer is None or not os.path.exists(store.blob_path(layer.digest)):
        return None
    os.utime(path)  # the time of the last use, for `stale`
    return layer


def peek(store: Store, key: str) -> LayerInfo | None:
    """recall that changes nothing on the disk."""
    layer = _read(_path(store, key))
    return layer if layer and os.path.exists(store.blob_path(layer.digest)) else None


def remember(store: Store, key: str, layer: LayerInfo) -> None:
    """Let key mean layer."""
    store.prepare()
    path = _path(store, key)
    files.make_directory(os.path.dirname(path))
    files.write_json(path, layer._asdict(), durable=False)


def forget(store: Store, key: str) -> None:
    """Drop a key; absent is fine."""
    files.remove_tree(_path(store, key))


def entries(store: Store) -> Iterator[tuple[str, LayerInfo, float]]:
    """(key, layer, seconds since its last use) of every entry."""
    directory = os.path.dirname(_path(store, "sha256:" + "0" * 64))
    now = time.time()
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        key = f"sha256:{name}"
        layer = _read(os.path.join(directory, name)) if is_digest(key) else None
        if layer is not None:
            yield key, layer, now - os.stat(os.path.join(directory, name)).st_mtime


def _path(store: Store, key: str) -> str:
    if not is_digest(key):
        raise ValueError(f"not a digest: {key!r}")
    return os.path.join(store.root, "cache", key[7:])


def _read(path: str) -> LayerInfo | None:
    value = files.read_json(path)
    if not isinstance(value, dict) or set(value) != set(LayerInfo._fields):
        return None
    return LayerInfo(**value)
