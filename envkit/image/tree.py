"""Unpacked layers seen as overlayfs would merge them, without a mount.

Source: kernel overlayfs.rst, "whiteouts and opaque directories", "Nesting overlayfs mounts" (the xattr form).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

# What a machine adds on its own; it says nothing about the content.
_LOCAL = ("trusted.overlay.", "user.overlay.", "security.selinux", "security.ima", "security.evm")


def is_whiteout(info: os.stat_result) -> bool:
    """Whether a file found in a layer's tree says "deleted" by being the device 0:0."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(directory: str, prefix: str) -> bool:
    """Whether a directory of a layer's tree hides what the layers below have there. prefix: IdMap.overlay_prefix."""
    try:
        return os.getxattr(directory, prefix + "opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False  # ENODATA; also where the file system has no such attributes


def read_xattrs(path: str | int) -> dict[str, bytes]:
    """The extended attributes that belong to the content, in order of name. path: not followed if a symlink."""
    follow = isinstance(path, int)
    names = os.listxattr(path, follow_symlinks=follow)
    return {
        name: os.getxattr(path, name, follow_symlinks=follow) for name in sorted(names) if not name.startswith(_LOCAL)
    }


class Merged:
    """A directory of the merged view. directories: its places in the trees, topmost first; none: it is not there."""

    __slots__ = ("directories", "prefix")

    def __init__(self, directories: Sequence[str], prefix: str) -> None:
        self.directories = tuple(directories)
        self.prefix = prefix

    @classmethod
    def of(cls, trees: Sequence[str], prefix: str) -> Merged:
        """The root of trees, bottom first."""
        return cls(trees[::-1], prefix)

    def find(self, name: str) -> tuple[str, os.stat_result] | None:
        """Where a child is and what; None when there is none."""
        for directory in self.directories:
            path = f"{directory}/{name}"
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                continue
            return None if is_whiteout(info) else (path, info)
        return None

    def enter(self, name: str) -> Merged:
        """A child directory. A symlink is none."""
        found = []
        for directory in self.directories:
            path = f"{directory}/{name}"
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(info.st_mode):
                break
            found.append(path)
            if is_opaque(path, self.prefix):
                break
        return Merged(found, self.prefix)

    def walk_to(self, path: str) -> Merged:
        """The directory at a relative path."""
        here = self
        for name in path.split("/") if path else ():
            here = here.enter(name)
        return here

    def names(self) -> set[str]:
        """The names of the children."""
        names: set[str] = set()
        hidden: set[str] = set()
        for directory in self.directories:
            with os.scandir(directory) as entries:
                found = {entry.name: is_whiteout(entry.stat(follow_symlinks=False)) for entry in entries}
            names |= {name for name, whiteout in found.items() if not whiteout} - hidden
            hidden |= {name for name, whiteout in found.items() if whiteout} - names
        return names
