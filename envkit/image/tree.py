"""Looking at unpacked layers as overlayfs would. Source: kernel overlayfs.rst, "whiteouts and opaque directories"."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple


class DirectoryInfo(NamedTuple):
    """mtime in ns."""

    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: dict[str, bytes]


def is_whiteout(info: os.stat_result) -> bool:
    """Whether a file found in a layer's tree says "deleted"."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(directory: str, prefix: str) -> bool:
    """Whether a directory of a layer's tree hides what the layers below have there."""
    try:
        return os.getxattr(directory, prefix + "opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False  # ENODATA; also where the file system has no such attributes


class Lowers:
    """The merged view of trees, bottom first, for a few lookups without a mount."""

    def __init__(self, trees: Sequence[str], prefix: str) -> None:
        self._trees = list(reversed(trees))
        self._prefix = prefix

    def find_directory(self, path: str) -> DirectoryInfo | None:
        """The directory at path (relative; no component may be a symlink), None where there is none."""
        for tree in self._trees:
            found, goes_on = self._look(tree, path)
            if found is not None:
                return found
            if not goes_on:
                return None
        return None

    def _look(self, tree: str, path: str) -> tuple[DirectoryInfo | None, bool]:
        where = tree
        info = os.lstat(where)
        for part in path.split("/") if path else ():
            where = os.path.join(where, part)
            try:
                info = os.lstat(where)
            except FileNotFoundError:
                return None, not self._hides_below(tree, os.path.dirname(where))
            if not stat.S_ISDIR(info.st_mode):
                return None, False
        xattrs = {
            key: os.getxattr(where, key, follow_symlinks=False)
            for key in os.listxattr(where, follow_symlinks=False)
            if not key.startswith(self._prefix)
        }
        return DirectoryInfo(stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns, xattrs), False

    def _hides_below(self, tree: str, directory: str) -> bool:
        """Whether directory, or one above it inside tree, is opaque."""
        while len(directory) > len(tree):
            if is_opaque(directory, self._prefix):
                return True
            directory = os.path.dirname(directory)
        return False

    def list_root(self) -> set[str]:
        """The names in the merged root directory."""
        names: set[str] = set()
        hidden: set[str] = set()
        for tree in self._trees:
            with os.scandir(tree) as entries:
                for entry in entries:
                    whiteout = is_whiteout(entry.stat(follow_symlinks=False))
                    if entry.name not in hidden and not whiteout:
                        names.add(entry.name)
                    if whiteout and entry.name not in names:
                        hidden.add(entry.name)
        return names
