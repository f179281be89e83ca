"""A directory with everything it has, as a tar archive that GNU tar and `unpack` read: numeric owners, extended
attributes, hard links, holes. Unlike a layer's, its times are the files' own, and others may write meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat

from envkit.image import tar
from envkit.image.tarwrite import encode, sparse_map
from envkit.image.tree import read_xattrs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from envkit.image.tar import Entry

_KINDS = {
    stat.S_IFREG: tar.FILE, stat.S_IFDIR: tar.DIRECTORY, stat.S_IFLNK: tar.SYMLINK, stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE, stat.S_IFIFO: tar.FIFO,
}  # fmt: skip
_CHUNK = 1 << 20
_RECORD = 10240
_MOST_SEGMENTS = 10_000  # of what has more, the holes are written out


class Packer:
    """One archive. bytes and files count what is in it; `lost` says what is not as it was, one line each."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.bytes = self.files = 0
        self.lost: list[str] = []
        self._links: dict[tuple[int, int], str] = {}

    def pack(self) -> Iterator[bytes]:
        """The archive's bytes: `./` first, then names in order, parents before children."""
        total = 0
        for block in self._blocks():
            total += len(block)
            yield block
        yield bytes(2 * tar.BLOCK + -(total + 2 * tar.BLOCK) % _RECORD)

    def _blocks(self) -> Iterator[bytes]:
        pending = ["."]
        while pending:
            name = pending.pop()
            path = self.root if name == "." else f"{self.root}/{name}"
            try:
                info = os.lstat(path)
                if stat.S_ISDIR(info.st_mode):
                    below = sorted(os.listdir(path), key=os.fsencode, reverse=True)
                    yield encode(self._entry(name, tar.DIRECTORY, info, path))
                    pending += [child if name == "." else f"{name}/{child}" for child in below]
                else:
                    yield from self._other(name, path, info)
            except FileNotFoundError:
                self.lost.append(f"{name}: went while it was read")

    def _other(self, name: str, path: str, info: os.stat_result) -> Iterator[bytes]:
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            self.lost.append(f"{name}: a socket, which no archive can hold")
            return
        if info.st_nlink > 1 and (first := self._links.get((info.st_dev, info.st_ino))):
            yield encode(tar.Entry(name, tar.HARDLINK, linkname=first, mode=stat.S_IMODE(info.st_mode),
                                   uid=info.st_uid, gid=info.st_gid, mtime=info.st_mtime_ns))  # fmt: skip
            return
        if kind == tar.FILE:
            yield from self._file(name, path)
        else:
            entry = self._entry(name, kind, info, path)
            if kind == tar.SYMLINK:
                entry.linkname = os.readlink(path)
            entry.major, entry.minor = os.major(info.st_rdev), os.minor(info.st_rdev)
            yield encode(entry)
        self.files += 1
        if info.st_nlink > 1:
            self._links[info.st_dev, info.st_ino] = name

    def _file(self, name: str, path: str) -> Iterator[bytes]:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            entry = self._entry(name, tar.FILE, info, descriptor)
            entry.size = info.st_size
            segments = _segments(descriptor, info)
            length = 0
            if segments is None:
                yield encode(entry)
                segments = [(0, entry.size)]
            else:
                entry.segments = segments
                yield encode(entry, sparse=True)
                head = sparse_map(segments)
                yield head
                length = len(head)
            for place, size in segments:
                length += size
                yield from self._data(descriptor, name, place, size)
            yield bytes(-length % tar.BLOCK)
            self.bytes += entry.size
        finally:
            os.close(descriptor)

    def _data(self, descriptor: int, name: str, place: int, size: int) -> Iterator[bytes]:
        """Exactly size bytes: the header has said so already."""
        end = place + size
        while place < end:
            block = os.pread(descriptor, min(_CHUNK, end - place), place)
            if not block:
                self.lost.append(f"{name}: was cut while it was read; the rest of it is zeros")
                for start in range(place, end, _CHUNK):
                    yield bytes(min(_CHUNK, end - start))
                return
            yield block
            place += len(block)

    def _entry(self, name: str, kind: str, info: os.stat_result, place: str | int) -> Entry:
        try:
            xattrs = read_xattrs(place)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.ELOOP):
                raise
            xattrs = {}
        return tar.Entry(
            name, kind, mode=stat.S_IMODE(info.st_mode), uid=info.st_uid, gid=info.st_gid, mtime=info.st_mtime_ns,
            xattrs=xattrs,
        )  # fmt: skip


def _segments(descriptor: int, info: os.stat_result) -> list[tuple[int, int]] | None:
    """(offset, length) of the data of a file with holes; None for one without."""
    if not info.st_size or info.st_blocks * 512 >= info.st_size:
        return None
    found: list[tuple[int, int]] = []
    place = 0
    while place < info.st_size:
        try:
            begin = os.lseek(descriptor, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                break
            raise
        place = min(os.lseek(descriptor, begin, os.SEEK_HOLE), info.st_size)
        if begin < place:
            found.append((begin, place - begin))
        if len(found) > _MOST_SEGMENTS:
            return None
    if found == [(0, info.st_size)]:
        return None
    if not found or sum(found[-1]) < info.st_size:
        found.append((info.st_size, 0))  # GNU tar wants the map to reach the end
    return found
