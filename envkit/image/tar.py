"""Reading tar archives entry by entry, trusting nothing.

Formats: V7, ustar, PAX (POSIX.1-2001 pax, "pax Interchange Format"), GNU long names, GNU sparse files old and PAX 0.0,
0.1, 1.0 (GNU tar manual, "Basic Tar Format", "Storing Sparse Files"), extended attributes as SCHILY.xattr. Names are
text in the file system's encoding, bytes that it cannot express as surrogates. Checks the form, not the meaning:
`unpack` decides which names are acceptable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, Protocol

from envkit.errors import ImageError
from envkit.image.limits import DEFAULT, Limits

BLOCK = 512
FILE, HARDLINK, SYMLINK, DIRECTORY, FIFO = "file", "hard link", "symlink", "directory", "fifo"
CHARACTER, BLOCK_DEVICE = "character device", "block device"
_KINDS = {
    b"0": FILE, b"\0": FILE, b"7": FILE, b"S": FILE, b"1": HARDLINK, b"2": SYMLINK, b"3": CHARACTER,
    b"4": BLOCK_DEVICE, b"5": DIRECTORY, b"6": FIFO,
}  # fmt: skip
_XATTR = b"SCHILY.xattr."
_ZERO = bytes(BLOCK)
_CHUNK = 1 << 18


class Source(Protocol):
    """Anything that gives bytes."""

    def read(self, size: int, /) -> bytes: ...


class Entry:
    """One entry. size: of the file, holes included; mtime: ns since 1970; segments: (offset, length) of the data of a
    sparse file, None when it has no holes."""

    __slots__ = (
        "gid", "kind", "linkname", "major", "minor", "mode", "mtime", "name", "segments", "size", "uid", "xattrs",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913  a record of twelve fields
        self, name: str, kind: str = FILE, *, mode: int = 0o644, uid: int = 0, gid: int = 0, size: int = 0,
        mtime: int = 0, linkname: str = "", major: int = 0, minor: int = 0, xattrs: dict[str, bytes] | None = None,
        segments: list[tuple[int, int]] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime
        self.linkname = linkname
        self.major = major
        self.minor = minor
        self.xattrs = xattrs or {}
        self.segments = segments

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"


class Reader:
    """Iterate for the entries; `data()` gives the current one's content, which the next step skips if unread."""

    def __init__(self, source: Source, limits: Limits = DEFAULT) -> None:
        self._source = source
        self._limits = limits
        self._left = 0  # bytes of the current entry's data not yet read
        self._padding = 0
        self._name = "the first entry"
        self._globals: list[tuple[bytes, bytes]] = []

    def __iter__(self) -> Iterator[Entry]:
        while (header := self._next_header()) is not None:
            yield header

    def data(self) -> Iterator[bytes]:
        """The bytes of the current entry (of a sparse file: of its segments, joined)."""
        while self._left:
            block = self._source.read(min(self._left, _CHUNK))
            if not block:
                raise self._error("the archive ends inside an entry")
            self._left -= len(block)
            yield block

    def skip(self, file: IO[bytes]) -> None:
        """Pass over the current entry's data by seeking; file is the source."""
        file.seek(self._left, os.SEEK_CUR)
        self._left = 0

    def _next_header(self) -> Entry | None:
        records = self._globals.copy()
        long_name = long_link = None
        while True:
            block = self._next_block()
            if block is None:
                return None
            kind = block[156:157]
            size = self._number(block, 124, 12)
            if size < 0:
                raise self._error(f"a negative size {size}")
            if kind in b"xXg" and kind:
                parsed = self._records(self._metadata(size))
                if kind == b"g":
                    self._globals += parsed
                    self._check_count(len(self._globals))
                records += parsed
            elif kind == b"L":
                long_name = self._metadata(size).split(b"\0", 1)[0]
            elif kind == b"K":
                long_link = self._metadata(size).split(b"\0", 1)[0]
            elif kind == b"V":
                self._skip_data(size)
            else:
                return self._entry(block, kind, size, records, long_name, long_link)

    def _next_block(self) -> bytes | None:
        """The next header block, checked; None at the end of the archive."""
        for _ in self.data():
            pass
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0
        block = self._block()
        if block is None or block == _ZERO:
            return None
        stored = self._number(block, 148, 8)
        total = sum(block) - sum(block[148:156]) + 256
        if stored != total:
            signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
            if stored != signed:  # some old writers added up signed bytes
                raise self._error("a header has a wrong checksum")
        return block

    def _entry(
        self, block: bytes, code: bytes, size: int, records: list[tuple[bytes, bytes]], long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:  # fmt: skip
        name = _text(block, 0, 100)
        if block[257:263] == b"ustar\0" and (prefix := _text(block, 345, 155)):
            name = prefix + b"/" + name
        pax = dict(records)
        name = pax.get(b"path", long_name if long_name is not None else name)
        link = pax.get(b"linkpath", long_link if long_link is not None else _text(block, 157, 100))
        self._name = os.fsdecode(name)
        kind = _KINDS.get(code)
        if kind is None:
            raise self._error(f"an entry of unknown type {code!r}")
        if kind == FILE and name.endswith(b"/") and code in b"\0" + b"0":
            kind = DIRECTORY  # V7 had no type for directories
        if b"size" in pax:
            size = self._decimal(pax[b"size"], "size")
        xattrs = {
            os.fsdecode(key[len(_XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")): value
            for key, value in pax.items()
            if key.startswith(_XATTR)
        }  # fmt: skip
        self._left = size if kind not in (DIRECTORY, SYMLINK, CHARACTER, BLOCK_DEVICE, FIFO) else 0
        self._padding = -self._left % BLOCK
        entry = Entry(
            self._name, kind, mode=self._number(block, 100, 8) & 0o7777, size=size if kind == FILE else 0,
            uid=self._decimal(pax[b"uid"], "uid") if b"uid" in pax else self._number(block, 108, 8),
            gid=self._decimal(pax[b"gid"], "gid") if b"gid" in pax else self._number(block, 116, 8),
            mtime=self._time(pax[b"mtime"]) if b"mtime" in pax else self._number(block, 136, 12) * 10**9,
            linkname=os.fsdecode(link), xattrs=xattrs,
        )  # fmt: skip
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.major, entry.minor = self._number(block, 329, 8), self._number(block, 337, 8)
        if kind == FILE:
            if code == b"S":
                self._old_sparse(block, entry)
            elif any(key.startswith(b"GNU.sparse.") for key in pax):
                self._pax_sparse(entry, pax, records)
        if "\0" in entry.name or "\0" in entry.linkname:
            raise self._error("a name contains a zero byte")
        return entry

    # -- sparse files

    def _old_sparse(self, block: bytes, entry: Entry) -> None:
        segments = self._pairs(block, 386, 4)
        more, entry.size = block[482:483] not in (b"\0", b""), self._number(block, 483, 12)
        while more:
            extension = self._exactly(BLOCK)
            segments += self._pairs(extension, 0, 21)
            more = extension[504:505] != b"\0"
            self._check_count(len(segments))
        self._set_segments(entry, segments)

    def _pairs(self, block: bytes, start: int, count: int) -> list[tuple[int, int]]:
        found = []
        for place in range(start, start + 24 * count, 24):
            if block[place : place + 12].strip(b"\0 "):
                found.append((self._number(block, place, 12), self._number(block, place + 12, 12)))
        return found

    def _pax_sparse(self, entry: Entry, pax: dict[bytes, bytes], records: list[tuple[bytes, bytes]]) -> None:
        if b"GNU.sparse.name" in pax:
            self._name = entry.name = os.fsdecode(pax[b"GNU.sparse.name"])
        if pax.get(b"GNU.sparse.major") == b"1":
            entry.size = self._decimal(pax.get(b"GNU.sparse.realsize", b""), "GNU.sparse.realsize")
            numbers = self._map_in_data()
        else:
            entry.size = self._decimal(
                pax.get(b"GNU.sparse.size", pax.get(b"GNU.sparse.realsize", b"")), "GNU.sparse.size"
            )
            if b"GNU.sparse.map" in pax:
                numbers = [self._decimal(text, "GNU.sparse.map") for text in pax[b"GNU.sparse.map"].split(b",") if text]
            else:
                wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
                numbers = [self._decimal(value, "GNU.sparse") for key, value in records if key in wanted]
        self._set_segments(entry, list(zip(numbers[::2], numbers[1::2], strict=False)))

    def _map_in_data(self) -> list[int]:
        """Format 1.0: the count and the pairs are lines at the start of the data, padded to a block."""
        buffer = b""
        lines: list[bytes] = []
        wanted = 1
        while len(lines) < wanted:
            if self._left < BLOCK:
                raise self._error("a sparse file's map is cut off")
            buffer += self._exactly(BLOCK)
            self._left -= BLOCK
            *complete, buffer = buffer.split(b"\n")
            lines += complete
            if lines and wanted == 1:
                count = self._decimal(lines[0], "the count of a sparse map")
                self._check_count(count)
                wanted += 2 * count
            if len(buffer) > BLOCK:
                raise self._error("a sparse file's map is malformed")
        return [self._decimal(line, "a sparse map") for line in lines[1:wanted]]

    def _set_segments(self, entry: Entry, segments: list[tuple[int, int]]) -> None:
        self._check_count(len(segments))
        end = 0
        for offset, length in segments:
            if offset < end or length < 0:
                raise self._error("a sparse file's segments overlap")
            end = offset + length
        if end > entry.size or sum(length for _, length in segments) != self._left:
            raise self._error("a sparse file's map does not fit its size")
        entry.segments = [segment for segment in segments if segment[1]]

    def _check_count(self, count: int) -> None:
        if count > self._limits.segments:
            raise self._error(f"more than {self._limits.segments} segments or records")

    # -- pieces

    def _metadata(self, size: int) -> bytes:
        if size > self._limits.metadata:
            raise self._error(f"an extended header of {size} bytes; the limit is {self._limits.metadata}")
        data = self._exactly(size)
        if size % BLOCK:
            self._exactly(-size % BLOCK)
        return data

    def _records(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """PAX records: `LENGTH KEY=VALUE\\n`."""
        found = []
        place = 0
        while place < len(data):
            space = data.find(b" ", place, place + 20)
            if space < 0:
                if not data[place:].strip(b"\0"):
                    break
                raise self._error("a malformed extended header")
            end = place + self._decimal(data[place:space], "a record's length")
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if end > len(data) or end <= space + 1 or not equals or data[end - 1 : end] != b"\n":
                raise self._error("a malformed extended header")
            found.append((key, value))
            place = end
        return found

    def _skip_data(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK

    def _block(self) -> bytes | None:
        data = self._source.read(BLOCK)
        while 0 < len(data) < BLOCK:
            more = self._source.read(BLOCK - len(data))
            if not more:
                raise self._error("the archive is cut off")
            data += more
        return data or None

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        while len(data) < size:
            more = self._source.read(size - len(data))
            if not more:
                raise self._error("the archive is cut off")
            data += more
        return data

    def _number(self, block: bytes, start: int, length: int) -> int:
        """A number field: octal text, or GNU's base 256 when the top bit is set."""
        field = block[start : start + length]
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ((1 << (8 * length - 1)) - 1)
            return value - (1 << (8 * length - 1)) if field[0] & 0x40 else value
        text = field.partition(b"\0")[0].strip(b" ")
        if not text:
            return 0
        if not text.isdigit() or b"8" in text or b"9" in text:
            raise self._error(f"a header has a malformed number {text!r}")
        return int(text, 8)

    def _decimal(self, text: bytes, what: str) -> int:
        if not text.isdigit() or len(text) > 20:
            raise self._error(f"{what} is not a number: {text[:40]!r}")
        return int(text)

    def _time(self, text: bytes) -> int:
        sign = -1 if text.startswith(b"-") else 1
        whole, _, fraction = text.removeprefix(b"-").partition(b".")
        if not whole.isdigit() or (fraction and not fraction.isdigit()) or len(text) > 64:
            raise self._error(f"mtime is not a time: {text[:40]!r}")
        return sign * (int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0") or b"0"))

    def _error(self, why: str) -> ImageError:
        return ImageError("a layer's archive is malformed", f"at {self._name!r}: {why}")


def _text(block: bytes, start: int, length: int) -> bytes:
    return block[start : start + length].split(b"\0", 1)[0]
