"""Putting layers into the store: blob, tree, and the configuration that lists them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envkit.digest import canonical_json
from envkit.errors import ImageError
from envkit.host import files
from envkit.host.lock import Lock
from envkit.host.proc import boot_id
from envkit.host.steps import step
from envkit.image import media
from envkit.image.compression import decompressed, detect
from envkit.image.manifest import LayerInfo, chain_id
from envkit.image.tar import Source
from envkit.image.unpack import unpack
from envkit.spec.dockerfile.platform import architecture
from envkit.values import replace

if TYPE_CHECKING:
    from envkit.image.store import Store

__all__ = [
    "add_layer", "architecture", "encode_config", "make_tree", "rebase_layer", "settle", "timestamp", "verify_layer",
]  # fmt: skip

def add_layer(store: Store, source: Source, below: Sequence[LayerInfo], created_by: str, origin: str) -> LayerInfo:
    """See Store.add_layer."""
    blob = store.put_blob(source)
    path = store.blob_path(blob.digest)
    with open(path, "rb") as file:
        kind = detect(file.read(6))
    diff_id = blob.digest if kind == "none" else _diff_id(store, path)
    chain = chain_id(below[-1].chain_id if below else "", diff_id)
    layer = LayerInfo(blob.digest, blob.size, media.layer_type(kind), diff_id, chain, created_by, origin)
    make_tree(store, layer, below)
    return layer


def rebase_layer(store: Store, layer: LayerInfo, below: Sequence[LayerInfo]) -> LayerInfo:
    """See Store.rebase_layer."""
    chain = chain_id(below[-1].chain_id if below else "", layer.diff_id)
    moved = replace(layer, chain_id=chain)
    make_tree(store, moved, below)
    return moved


def make_tree(store: Store, layer: LayerInfo, below: Sequence[LayerInfo]) -> Sequence[str]:
    """Unpack a stored layer, unless it is unpacked already; the trees below must exist.

    Returns what this machine could not keep, one line each (see unpack.unpack).
    """
    path = store.tree_path(layer)
    if store.is_tree(path):
        return ()
    blob = store.blob_path(layer.digest)
    temporary = store.temporary()
    os.mkdir(temporary, 0o755)
    try:
        with open(blob, "rb") as file, decompressed(file, store.limits) as plain:
            hashed = _Hashed(plain, store.limits.bytes * 2)
            lost = unpack(hashed, temporary, store.ids, [store.tree_path(item) for item in below], store.limits)
            hashed.drain()
        if hashed.digest() != layer.diff_id:
            raise _wrong_content(layer, hashed.digest())
        _publish(temporary, path)
    finally:
        files.remove_tree(temporary)
    return lost


def verify_layer(store: Store, layer: LayerInfo) -> None:
    """Raise ImageError unless the stored blob's content is what diff_id says."""
    if media.compression(layer.media_type) == "none":
        found = layer.digest
    else:
        found = _diff_id(store, store.blob_path(layer.digest))
    if found != layer.diff_id:
        raise _wrong_content(layer, found)


def _wrong_content(layer: LayerInfo, found: str) -> ImageError:
    return ImageError(
        "a layer is not what the image's configuration says",
        f"{layer.digest}: expected content {layer.diff_id}, got {found}", "the archive is damaged; get the image again",
    )  # fmt: skip


def _publish(temporary: str, path: str) -> None:
    """Rename a finished tree to its place. A tree of an earlier boot that never settled gives way; a trustworthy one
    of somebody who was faster stays."""
    marker = path + ".boot"
    with Lock(os.path.dirname(path) + ".lock", {"purpose": "putting the tree of a layer into its place"}):
        if os.path.isdir(path):
            if _boot_of(marker) in ("", boot_id()):
                return
            files.remove_tree(path)  # before the new marker, which would vouch for it
        files.write_atomic(marker, boot_id().encode(), durable=False)
        step("store.tree")
        os.rename(temporary, path)


def _boot_of(marker: str) -> str:
    try:
        with open(marker, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def settle(root: str) -> None:
    """See Store.settle. syncfs(2) writes everything of the file system."""
    trees = os.path.join(root, "trees")
    try:
        descriptor = os.open(trees, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        markers = [name for name in os.listdir(descriptor) if name.endswith(".boot")]
        fresh = [name for name in markers if _boot_of(os.path.join(trees, name)) == boot_id()]
        if not fresh:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), trees)
        for name in fresh:
            os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def encode_config(config: Mapping[str, Any], layers: Sequence[LayerInfo]) -> bytes:
    """The configuration blob: config with rootfs, history and created filled in (config.md, "Properties")."""
    created = timestamp()
    value: dict[str, Any] = {"created": created, "architecture": architecture(), "os": "linux", **config}
    value["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    if "history" not in value:
        value["history"] = [{"created": created, "created_by": layer.created_by or "envkit"} for layer in layers]
    return canonical_json(value)


def timestamp() -> str:
    """SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch) as RFC 3339, 1970 when it is unset."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _diff_id(store: Store, path: str) -> str:
    with open(path, "rb") as file, decompressed(file, store.limits) as plain:
        hashed = _Hashed(plain, store.limits.bytes * 2)
        hashed.drain()
        return hashed.digest()


class _Hashed:
    """A reader that remembers the digest of what went through, and stops at a limit."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source, self._limit = source, limit
        self._hash = hashlib.sha256()
        self._total = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self._total += len(data)
        if self._total > self._limit:
            raise ImageError("a layer's archive is too large", f"more than {self._limit} bytes")
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            continue

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()
