"""What changed, as a layer: the upperdir of an overlay, or one tree against another.

Sources: OCI image-spec layer.md ("Creating", "Representing Changes"), kernel overlayfs.rst. The result depends on the
content alone: names in order, no user names, times clamped. A file that was only copied up, and a directory where
nothing but its time changed, are no difference.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from envkit.errors import HostError, ImageError
from envkit.image import tar
from envkit.image.tarwrite import Item, Stream, archive
from envkit.image.tree import Merged, is_opaque, is_whiteout, read_xattrs
from envkit.image.unpack import OPAQUE, WHITEOUT

_Found = tuple[str, os.stat_result]
_Step: TypeAlias = "Item | Iterator[_Step]"
_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFREG: tar.FILE, stat.S_IFDIR: tar.DIRECTORY, stat.S_IFLNK: tar.SYMLINK, stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE, stat.S_IFIFO: tar.FIFO,
}  # fmt: skip


def capture_upper(upper: str, lowers: Sequence[str], prefix: str, epoch: int | None = 0) -> Stream:
    """The layer that turns lowers (trees, bottom first) into what an overlay with this upperdir shows.

    The overlay was mounted for_capture and nothing writes to it any more. prefix: IdMap.overlay_prefix. epoch: times
    later than it (seconds) become it; None keeps all. Sockets are left out.
    """
    return Stream(archive(_Walk(prefix, epoch, complete=False).items(upper, Merged.of(lowers, prefix))))


def capture_tree(tree: str, lowers: Sequence[str], prefix: str, epoch: int | None = 0) -> Stream:
    """The layer that turns lowers (trees, bottom first) into tree, a complete root. As capture_upper."""
    return Stream(archive(_Walk(prefix, epoch, complete=True).items(tree, Merged.of(lowers, prefix))))


class _Walk:
    def __init__(self, prefix: str, epoch: int | None, *, complete: bool) -> None:
        self._prefix = prefix
        self._limit = None if epoch is None else epoch * 10**9
        self._complete = complete
        self._links: dict[tuple[int, int], str] = {}
        self._pending: list[Item] = []  # unchanged directories, written once something below them has changed

    def items(self, root: str, below: Merged) -> Iterator[Item]:
        """Every entry of the layer, in order. Raises HostError when something cannot be read."""
        try:
            yield from self._items(root, below)
        except OSError as error:
            raise HostError("a layer cannot be captured", str(error)) from error

    def _items(self, root: str, below: Merged) -> Iterator[Item]:
        stack: list[Iterator[_Step]] = [self._directory(root, ".", below)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, Iterator):
                stack.append(item)
            else:
                yield item

    def _directory(self, path: str, name: str, below: Merged) -> Iterator[_Step]:
        """A directory's own entry, its whiteouts, its children; a child directory comes as an iterator."""
        info = os.lstat(path)
        xattrs = read_xattrs(path)
        self._check_whole(path)
        opaque = is_opaque(path, self._prefix)
        entry = self._entry(name, info, tar.DIRECTORY, xattrs)
        self._pending.append((entry, ()))
        depth = len(self._pending)
        if opaque or not _same_directory(info, xattrs, below):
            yield from self._flush()
        if opaque:
            yield from self._marker(name, OPAQUE)
            below = Merged((), self._prefix)
        here = "" if name == "." else name + "/"
        for child, whiteout in self._children(path, below):
            where = f"{path}/{child}"
            if whiteout:
                if below.find(child):
                    yield from self._flush()
                    yield from self._marker(name, WHITEOUT + child)
                continue
            if child.startswith(WHITEOUT):
                raise ImageError("a layer cannot hold a file of this name", here + child, f"{WHITEOUT} marks deletions")
            found = os.lstat(where)
            if stat.S_ISDIR(found.st_mode):
                yield self._directory(where, here + child, below.enter(child))
            else:
                yield from self._file(where, here + child, found, below.find(child))
        del self._pending[depth - 1 :]

    def _children(self, path: str, below: Merged) -> list[tuple[str, bool]]:
        """(name, is a whiteout), in the order of the names that the archive gets."""
        with os.scandir(path) as entries:
            found = {entry.name: self._is_whiteout(entry) for entry in entries}
        if self._complete:
            found.update(dict.fromkeys(below.names() - found.keys(), True))
        return sorted(found.items(), key=lambda item: os.fsencode(WHITEOUT + item[0] if item[1] else item[0]))

    def _file(self, path: str, name: str, info: os.stat_result, below: _Found | None) -> Iterator[Item]:
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return
        self._check_whole(path)
        xattrs = read_xattrs(path)
        if below and _same_file(path, info, xattrs, *below):
            return
        yield from self._flush()
        if info.st_nlink > 1:
            key = (info.st_dev, info.st_ino)
            if first := self._links.get(key):
                link = self._entry(name, info, tar.HARDLINK, {})
                link.linkname = first
                yield link, ()
                return
            self._links[key] = name
        entry = self._entry(name, info, kind, xattrs)
        if kind == tar.SYMLINK:
            entry.linkname = os.readlink(path)
        elif kind in (tar.CHARACTER, tar.BLOCK_DEVICE):
            entry.major, entry.minor = os.major(info.st_rdev), os.minor(info.st_rdev)
        yield entry, _content(path) if kind == tar.FILE else ()

    def _entry(self, name: str, info: os.stat_result, kind: str, xattrs: dict[str, bytes]) -> tar.Entry:
        return tar.Entry(
            name, kind, mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid, xattrs=xattrs,
            size=info.st_size if kind == tar.FILE else 0, mtime=self._clamp(info.st_mtime_ns),
        )  # fmt: skip

    def _marker(self, directory: str, name: str) -> Iterator[Item]:
        yield tar.Entry(name if directory == "." else f"{directory}/{name}", mode=0o644, mtime=self._clamp(0)), ()

    def _flush(self) -> Iterator[Item]:
        """The directories above what is about to be written, once."""
        for place, item in enumerate(self._pending):
            if item is not _WRITTEN:
                yield item
                self._pending[place] = _WRITTEN

    def _clamp(self, mtime: int) -> int:
        return mtime if self._limit is None else min(mtime, self._limit)

    def _check_whole(self, path: str) -> None:
        """Raise HostError when the content is not here but where an attribute points to."""
        for name in ("redirect", "metacopy"):
            if self._has(path, name):
                raise HostError(
                    "an overlay's upper directory cannot be captured", f"{path} has {self._prefix}{name}",
                    "mount it with redirect_dir=off,metacopy=off",
                )  # fmt: skip

    def _is_whiteout(self, entry: os.DirEntry[str]) -> bool:
        if entry.is_dir(follow_symlinks=False) or entry.is_symlink():
            return False
        info = entry.stat(follow_symlinks=False)
        return is_whiteout(info) or (
            stat.S_ISREG(info.st_mode) and info.st_size == 0 and self._has(entry.path, "whiteout")
        )  # fmt: skip

    def _has(self, path: str, attribute: str) -> bool:
        return self._prefix + attribute in os.listxattr(path, follow_symlinks=False)


_WRITTEN: Item = (tar.Entry(""), ())


def _content(path: str) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while block := os.read(descriptor, _CHUNK):
            yield block
    finally:
        os.close(descriptor)


def _same_directory(info: os.stat_result, xattrs: dict[str, bytes], below: Merged) -> bool:
    if not below.directories:
        return False
    old = os.lstat(below.directories[0])
    return _owner(old) == _owner(info) and read_xattrs(below.directories[0]) == xattrs


def _same_file(path: str, info: os.stat_result, xattrs: dict[str, bytes], old_path: str, old: os.stat_result) -> bool:
    if old.st_nlink > 1 or info.st_nlink > 1:  # which names are one file is part of the content
        return False
    if _owner(old) != _owner(info) or old.st_size != info.st_size or old.st_rdev != info.st_rdev:
        return False
    if read_xattrs(old_path) != xattrs:
        return False
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path) == os.readlink(old_path)
    if not stat.S_ISREG(info.st_mode):
        return True
    pairs = zip(_content(path), _content(old_path), strict=True)
    try:
        return all(new == before for new, before in pairs)
    except ValueError:
        return False


def _owner(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_mode, info.st_uid, info.st_gid
