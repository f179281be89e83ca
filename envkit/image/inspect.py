"""What each layer of an image adds, changes, hides, and ships in vain. Reads the unpacked trees."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from envkit.image.reference import familiar
from envkit.image.store import Store, StoredImage
from envkit.image.tree import is_opaque, is_whiteout


def inspect_image(store: Store, reference: str) -> dict[str, Any]:
    """The model of `image inspect --json`: name, digest, references, config, and for each layer, bottom first, digest,
    size (bytes of the blob), created_by, source, the numbers of paths added, changed and deleted, and wasted_bytes:
    what it ships though a later layer hides or replaces it. Raises NotFoundError."""
    image, layers = _analyse(store, reference)
    return {
        "name": familiar(image.references[0]) if image.references else image.digest,
        "digest": image.digest, "references": list(image.references), "config": image.config,
        "layers": [{key: value for key, value in layer.items() if key != "files"} for layer in layers],
    }  # fmt: skip


def inspect_layers(store: Store, reference: str) -> list[dict[str, Any]]:
    """The layers as in inspect_image, each with its `files`: change (`added`, `changed`, `deleted`), size in bytes,
    path, and where it applies hidden_by, the number of the layer (from 1) that hides it."""
    return _analyse(store, reference)[1]


class _Change(NamedTuple):
    change: str
    size: int
    path: str


class _Node:
    """A path of the merged view. layer: the number of the one that made it; inode: to count hard links once."""

    __slots__ = ("children", "inode", "layer", "owner", "path", "size")

    def __init__(self, path: str, layer: int, info: os.stat_result | None = None) -> None:
        self.path, self.layer = path, layer
        self.size = info.st_size if info and stat.S_ISREG(info.st_mode) else 0
        self.inode = info.st_ino if info else 0
        self.owner = _owner(info) if info else (0, 0, 0)
        self.children: dict[str, _Node] | None = {} if info is None or stat.S_ISDIR(info.st_mode) else None


def _owner(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid


_WORDS = ("added", "changed", "deleted")
_Row = dict[str, Any]


def _analyse(store: Store, reference: str) -> tuple[StoredImage, list[_Row]]:
    image = store.image(reference)
    trees = store.ensure_trees(image)
    merged = _Merge(store.ids.overlay_prefix)
    rows: list[_Row] = []
    for number, (layer, tree) in enumerate(zip(image.layers, trees, strict=True)):
        changes = sorted(merged.add(number, tree), key=lambda change: change.path)
        counts = {word: sum(change.change == word for change in changes) for word in _WORDS}
        rows.append(
            {
                "digest": layer.digest, "size": layer.size, "created_by": layer.created_by, "source": layer.source,
                **counts, "wasted_bytes": 0, "files": [change._asdict() for change in changes],
            }
        )  # fmt: skip
    for number, row in enumerate(rows):
        row["wasted_bytes"] = merged.wasted(number)
        for item in row["files"]:
            if item["change"] != "deleted" and (hider := merged.hidden.get((number, item["path"]))) is not None:
                item["hidden_by"] = hider + 1
    return image, rows


class _Merge:
    """The layers put on one another."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._root = _Node("", -1)
        self._sizes: dict[tuple[int, int], int] = {}  # (layer, inode) -> bytes
        self._names: dict[tuple[int, int], int] = {}  # -> names still visible
        self.hidden: dict[tuple[int, str], int] = {}  # (layer, path) -> the layer that hides it

    def add(self, number: int, tree: str) -> Iterator[_Change]:
        """Put a layer on top; yields what it does."""
        stack = [(tree, self._root, False)]
        while stack:
            directory, node, opaque = stack.pop()
            opaque = opaque or is_opaque(directory, self._prefix)
            with os.scandir(directory) as entries:
                found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
            below = node.children if node.children is not None else {}
            for name in list(below) if opaque else ():
                if name not in found:
                    yield self._delete(below, name, number)
            for name, info in found.items():
                if is_whiteout(info):
                    if name in below:
                        yield self._delete(below, name, number)
                    continue
                new, change = self._put(number, node, name, info)
                if change:
                    yield _Change(change, new.size, new.path)
                if new.children is not None:
                    stack.append((f"{directory}/{name}", new, opaque))

    def _put(self, number: int, parent: _Node, name: str, info: os.stat_result) -> tuple[_Node, str]:
        """Set a child; returns it and `added`, `changed` or (a directory listed again) nothing."""
        assert parent.children is not None
        old = parent.children.get(name)
        new = _Node(f"{parent.path}/{name}", number, info)
        if old is not None and old.children is not None and new.children is not None:
            change = "" if old.owner == new.owner else "changed"
            old.owner = new.owner
            return old, change
        if old is not None:
            self._hide(old, number)
        parent.children[name] = new
        if new.children is None:
            key = (number, new.inode)
            self._sizes[key] = new.size
            self._names[key] = self._names.get(key, 0) + 1
        return new, "changed" if old is not None else "added"

    def _delete(self, children: dict[str, _Node], name: str, number: int) -> _Change:
        old = children.pop(name)
        self._hide(old, number)
        return _Change("deleted", 0, old.path)

    def _hide(self, node: _Node, number: int) -> None:
        waiting = [node]
        while waiting:
            current = waiting.pop()
            if current.children is not None:
                waiting += current.children.values()
                continue
            self.hidden[current.layer, current.path] = number
            self._names[current.layer, current.inode] -= 1

    def wasted(self, number: int) -> int:
        """Bytes of the layer's files of which no name is left."""
        return sum(size for key, size in self._sizes.items() if key[0] == number and not self._names[key])
