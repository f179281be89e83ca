"""Writing tar archives that are the same bytes for the same content: PAX, and no field that the content does not fix.

Source: POSIX pax, "pax Interchange Format". Extended headers carry only what ustar fields cannot. User and group names
are left empty, as names mean nothing outside the image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from envkit.errors import ImageError
from envkit.image import tar

_CODES = {
    tar.FILE: b"0", tar.HARDLINK: b"1", tar.SYMLINK: b"2", tar.CHARACTER: b"3", tar.BLOCK_DEVICE: b"4",
    tar.DIRECTORY: b"5", tar.FIFO: b"6",
}  # fmt: skip
_RECORD = 10240  # an archive is a whole number of these, as GNU tar writes and some readers want


Item = tuple[tar.Entry, Iterable[bytes]]


def archive(items: Iterable[Item]) -> Iterator[bytes]:
    """The bytes of an archive of (entry, its content). A file's content must have entry.size bytes: holes are written
    out. Raises ImageError when a file changed meanwhile."""
    total = 0
    for entry, data in items:
        header = encode(entry)
        yield header
        total += len(header)
        if entry.kind != tar.FILE:
            continue
        length = 0
        for block in data:
            yield block
            length += len(block)
        if length != entry.size:
            raise ImageError("a file changed while it was read", f"{entry.name}: {length} bytes, not {entry.size}")
        padding = -length % tar.BLOCK
        yield bytes(padding)
        total += length + padding
    yield bytes(2 * tar.BLOCK + -(total + 2 * tar.BLOCK) % _RECORD)


class Stream:
    """What an iterator of bytes yields, as a file to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._pending = b""

    def read(self, size: int, /) -> bytes:
        """At most size bytes; none at the end."""
        parts = [self._pending]
        length = len(self._pending)
        while length < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            length += len(chunk)
        data = b"".join(parts)
        self._pending = data[size:]
        return data[:size]


def sparse_map(segments: Sequence[tuple[int, int]]) -> bytes:
    """What precedes the data of a sparse file: GNU tar manual, "Storing Sparse Files", PAX format 1.0."""
    numbers = [len(segments), *(number for segment in segments for number in segment)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % tar.BLOCK)


def encode(entry: tar.Entry, *, sparse: bool = False) -> bytes:
    """The header blocks of an entry. sparse: a file whose data is sparse_map(entry.segments), then the segments."""
    name = os.fsencode(entry.name + ("/" if entry.kind == tar.DIRECTORY else ""))
    link = os.fsencode(entry.linkname)
    records: dict[bytes, bytes] = {}
    prefix = b""
    size = entry.size if entry.kind == tar.FILE else 0
    if sparse:
        segments = entry.segments or ()
        records[b"GNU.sparse.major"], records[b"GNU.sparse.minor"] = b"1", b"0"
        records[b"GNU.sparse.name"], records[b"GNU.sparse.realsize"] = name, b"%d" % size
        above, _, last = name.rpartition(b"/")
        name = (above + b"/" if above else b"") + b"GNUSparseFile.0/" + last
        size = len(sparse_map(segments)) + sum(length for _, length in segments)
    if len(name) > 100:
        prefix, short = _split(name)
        if short is None:
            records[b"path"] = name
            short = name[-100:] if entry.kind != tar.DIRECTORY else name[-100:-1] + b"/"
        name = short
    if len(link) > 100:
        records[b"linkpath"], link = link, link[:100]
    seconds, nanoseconds = divmod(entry.mtime, 10**9)
    if nanoseconds or not 0 <= seconds < 8**11:
        records[b"mtime"] = _time(entry.mtime)
    for key, value, limit in ((b"uid", entry.uid, 8**7), (b"gid", entry.gid, 8**7), (b"size", size, 8**11)):
        if value >= limit:
            records[key] = b"%d" % value
    for attribute, content in entry.xattrs.items():
        key = os.fsencode(attribute).replace(b"%", b"%25").replace(b"=", b"%3D")  # as GNU tar does
        records[b"SCHILY.xattr." + key] = content
    head = b""
    if records:
        text = b"".join(_record(key, records[key]) for key in sorted(records))
        head = _header(b"./PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2][:80], b"x", mode=0o644, size=len(text))
        head += text + bytes(-len(text) % tar.BLOCK)
    return head + _header(
        name, _CODES[entry.kind], mode=entry.mode, uid=entry.uid if entry.uid < 8**7 else 0,
        gid=entry.gid if entry.gid < 8**7 else 0, size=size if size < 8**11 else 0,
        mtime=seconds if 0 <= seconds < 8**11 else 0, link=link, device=(entry.major, entry.minor), prefix=prefix,
    )  # fmt: skip


def _header(  # noqa: PLR0913  the fields of the format
    name: bytes, code: bytes, *, mode: int, size: int, uid: int = 0, gid: int = 0, mtime: int = 0, link: bytes = b"",
    device: tuple[int, int] = (0, 0), prefix: bytes = b"",
) -> bytes:  # fmt: skip
    block = b"".join(
        (
            name.ljust(100, b"\0"), b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime), b" " * 8, code,
            link.ljust(100, b"\0"), b"ustar\00000", bytes(64), b"%07o\0%07o\0" % device, prefix.ljust(155, b"\0"),
            bytes(12),
        )
    )  # fmt: skip
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """ustar's prefix and name, where a slash is in the right place."""
    cut = name.rfind(b"/", 0, 156)
    while cut > 0:
        if 0 < len(name) - cut - 1 <= 100:
            return name[:cut], name[cut + 1 :]
        if len(name) - cut - 1 > 100:
            break
        cut = name.rfind(b"/", 0, cut)
    return b"", None


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _time(mtime: int) -> bytes:
    whole, fraction = divmod(abs(mtime), 10**9)
    text = f"{'-' if mtime < 0 else ''}{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return text.encode()
