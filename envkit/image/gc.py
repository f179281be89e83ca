"""Removing what nothing needs any more: mark from the roots, sweep the rest.

Roots: every reference of the store, the images that something runs, the layers that the build cache remembers. Nothing
is swept while somebody loads, builds or starts from the store (Store.session).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from envkit.errors import ImageError, NotFoundError
from envkit.host import files
from envkit.host.steps import step
from envkit.image.manifest import LayerInfo, decode_config, decode_manifest, layer_infos
from envkit.image.memory import Memory
from envkit.image.store import Store

InUse = Iterable[str] | Callable[[], Iterable[str]]


class Report(NamedTuple):
    """removed: a line for each image name, blob, tree and leftover; bytes: what that freed, or would."""

    removed: tuple[str, ...]
    bytes: int


def collect(
    store: Store, *, in_use: InUse = (), dry_run: bool = False, unused_images: bool = False,
    cached: Iterable[LayerInfo] | None = None,
) -> Report:  # fmt: skip
    """Remove blobs and trees that no root reaches, and what killed processes left.

    in_use: manifest digests that something runs (a callable is asked once nobody can add any more). unused_images: the
    names of images that nothing runs go as well, and layers that only the build cache remembers. cached: those layers,
    when not the builder's; only their blobs stay, since a tree is made from its blob. dry_run: only say what would go.
    Raises ConflictError when the store is being worked on.
    """
    if not os.path.isdir(store.root):
        return Report((), 0)
    with store.session(exclusive=True):
        if unused_images:
            cached = ()
        elif cached is None:
            cached = Memory(store.home, store).layers()
        report = _Sweep(store, set(in_use() if callable(in_use) else in_use), dry_run).run(unused_images, cached)
        if not dry_run:
            store.settle()
        return report


class _Sweep:
    def __init__(self, store: Store, in_use: set[str], dry_run: bool) -> None:
        self._store, self._in_use, self._dry_run = store, in_use, dry_run
        self._removed: list[str] = []
        self._bytes = 0

    def run(self, unused_images: bool, cached: Iterable[LayerInfo]) -> Report:
        """Names first, then everything that has lost its last root."""
        roots = set(self._in_use)
        for name, digest in self._store.names().items():
            if unused_images and digest not in self._in_use:
                self._drop(f"image {name}", partial(self._store.untag, name))
            else:
                roots.add(digest)
        blobs, trees = self._reach(roots)
        blobs |= {layer.digest for layer in cached}
        self._sweep_blobs(blobs)
        self._sweep_trees(trees)
        self._sweep_temporary()
        return Report(tuple(self._removed), self._bytes)

    def _reach(self, roots: set[str]) -> tuple[set[str], set[str]]:
        """(digests of blobs, ChainIDs of trees) that the manifests need."""
        blobs: set[str] = set()
        trees: set[str] = set()
        for digest in roots:
            blobs.add(digest)
            try:
                manifest = decode_manifest(self._store.read_blob(digest), digest)
                config = decode_config(self._store.read_blob(manifest.config.digest), digest)
                layers: tuple[LayerInfo, ...] = layer_infos(manifest, config, digest)
            except (NotFoundError, ImageError):
                continue  # damaged: what is left of it goes with the rest
            blobs |= {manifest.config.digest, *(layer.digest for layer in layers)}
            trees |= {layer.chain_id for layer in layers}
        return blobs, trees

    def _sweep_blobs(self, wanted: set[str]) -> None:
        directory = os.path.join(self._store.root, "blobs/sha256")
        for name in sorted(os.listdir(directory)):
            if f"sha256:{name}" not in wanted:
                path = os.path.join(directory, name)
                self._bytes += os.path.getsize(path)
                self._drop(f"blob sha256:{name}", partial(files.remove_tree, path))

    def _sweep_trees(self, wanted: set[str]) -> None:
        directory = os.path.join(self._store.root, "trees")
        for name in sorted(os.listdir(directory)):
            if f"sha256:{name.removesuffix('.boot')}" in wanted:
                continue
            path = os.path.join(directory, name)
            if name.endswith(".boot"):
                self._forget(partial(files.remove_tree, path))
                continue
            self._bytes += disk_usage(path)
            self._drop(f"tree sha256:{name}", partial(self._remove_directory, path))

    def _sweep_temporary(self) -> None:
        directory = os.path.join(self._store.root, "tmp")
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            self._bytes += disk_usage(path)
            self._drop(f"leftover {name}", partial(files.remove_tree, path))

    def _remove_directory(self, path: str) -> None:
        """Out of sight by rename first, so that a tree is never seen half removed."""
        temporary = self._store.temporary()
        os.rename(path, temporary)
        files.remove_tree(temporary)

    def _drop(self, what: str, action: Callable[[], object]) -> None:
        self._removed.append(what)
        self._forget(action)

    def _forget(self, action: Callable[[], object]) -> None:
        step("gc.remove")
        if not self._dry_run:
            action()


def disk_usage(path: str) -> int:
    """Bytes that a file or a tree takes on the disk; a hard link counts once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        info = os.lstat(current)
        if (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512
        if os.path.isdir(current) and not os.path.islink(current):
            with os.scandir(current) as entries:
                waiting += [entry.path for entry in entries]
    return total
