"""Look things up in a stack of layer trees without mounting it, as overlayfs would show them.

Sources: kernel Documentation/filesystems/overlayfs.rst (whiteouts: a character device 0:0; opaque directories: the
xattr `trusted.overlay.opaque`, or `user.overlay.opaque` where the mount has userxattr).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Sequence
from functools import lru_cache

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_MAX_LINKS = 40
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class Stack:
    """The trees of an image, bottom first, seen as one root. Trees never change, so answers may be kept."""

    def __init__(self, trees: Sequence[str]) -> None:
        self.trees = tuple(reversed(trees))

    def resolve(self, path: str) -> tuple[str, os.stat_result | None]:
        """(where path leads inside the root, what is there), symlinks followed; None: nothing is there.

        Missing parents are no error: the rest of the path is then taken as written. A loop of links resolves to the
        link itself.
        """
        todo = [part for part in path.split("/") if part not in ("", ".")]
        done: list[str] = []
        links = 0
        info = self._lookup("")
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            info = self._lookup(here)
            if info is not None and stat.S_ISLNK(info.st_mode) and links < _MAX_LINKS:
                links += 1
                text = self._link(here)
                if text.startswith("/"):
                    done = []
                todo = [item for item in text.split("/") if item not in ("", ".")] + todo
                continue
            done.append(part)
        final = "/".join(done)
        return "/" + final, self._lookup(final)

    def read(self, path: str, limit: int = 1 << 20) -> str:
        """The text of a regular file, "" when there is none."""
        where, info = self.resolve(path)
        if info is None or not stat.S_ISREG(info.st_mode):
            return ""
        for tree in self.trees:
            candidate = tree + where
            if os.path.lexists(candidate):
                with open(os.open(candidate, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                    return file.read(limit).decode(errors="replace")
        return ""

    def _link(self, relative: str) -> str:
        for tree in self.trees:
            try:
                return os.readlink(f"{tree}/{relative}")
            except OSError:
                continue
        return ""

    def _lookup(self, relative: str) -> os.stat_result | None:
        """lstat of a path none of whose parents is a symlink; None when absent or hidden."""
        for tree in self.trees:
            try:
                info = os.lstat(f"{tree}/{relative}" if relative else tree)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                if _hides(tree, relative):
                    return None
                continue
            if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                return None
            return info
        return None


def _hides(tree: str, relative: str) -> bool:
    """Whether a parent in this tree covers what lower trees have at relative: no directory, a whiteout, or opaque."""
    current = tree
    for part in relative.split("/")[:-1]:
        current = f"{current}/{part}"
        try:
            info = os.lstat(current)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return False
        if not stat.S_ISDIR(info.st_mode):
            return True
        if _is_opaque(current):
            return True
    return False


@lru_cache(maxsize=4096)
def _is_opaque(directory: str) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def normal(path: str) -> str:
    """An absolute path inside a container, without `..`, doubled or trailing slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))
