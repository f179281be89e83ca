"""Archives that mean harm: a clear error that names the entry, nothing outside the tree, nothing left in the store."""

from __future__ import annotations

import gzip
import io
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from envkit.errors import EnvkitError, ImageError
from envkit.host.home import Home
from envkit.host.idmap import IdMap
from envkit.image import tar
from envkit.image.limits import Limits
from envkit.image.store import Store
from envkit.image.tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARDLINK, SYMLINK, Entry
from envkit.image.tarwrite import archive, encode
from envkit.image.unpack import unpack

pytestmark = pytest.mark.root
IDS = IdMap("identity")
LIMITS = Limits(bytes=1 << 20, entries=100, ratio=50, ratio_floor=1 << 16)


def link(name: str, target: str) -> Entry:
    return Entry(name, SYMLINK, linkname=target)


def hard(name: str, target: str) -> Entry:
    return Entry(name, HARDLINK, linkname=target)


def packed(entries: Iterable[Entry]) -> bytes:
    return b"".join(archive((entry, [bytes(entry.size)]) for entry in entries))


OUTSIDE = "/OUTSIDE"  # replaced by a directory outside the tree
A = Entry("a")
D = Entry("d", DIRECTORY, mode=0o755)

HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "absolute name": ([Entry("/etc/passwd")], "'/etc/passwd' is an absolute name"),
    "absolute directory": ([Entry("/x", DIRECTORY)], "absolute"),
    "dots": ([Entry("../evil")], "'../evil' climbs out"),
    "dots inside": ([Entry("a/b/../../../evil")], "climbs out"),
    "dots that stay inside": ([D, Entry("d/../evil")], "climbs out"),
    "only dots": ([Entry("..", DIRECTORY)], "climbs out"),
    "file through a symlink out": ([link("s", OUTSIDE), Entry("s/evil")], "entry 's/evil'.*symlink"),
    "file through a relative symlink out": ([link("s", "../../../../../tmp"), Entry("s/evil")], "entry 's/evil'"),
    "directory through a symlink out": ([link("s", OUTSIDE), Entry("s/evil", DIRECTORY)], "entry 's/evil/'"),
    "deep component": ([D, link("d/s", OUTSIDE), Entry("d/s/x/evil")], "entry 'd/s/x/evil'"),
    "two symlinks": ([link("s", "t"), link("t", OUTSIDE), Entry("s/evil")], "entry 's/evil'"),
    "symlink through a symlink": ([link("s", OUTSIDE), link("s/evil", "x")], "entry 's/evil'"),
    "whiteout through a symlink": ([link("s", OUTSIDE), Entry("s/.wh.victim")], "entry 's/.wh.victim'"),
    "opaque through a symlink": ([link("s", OUTSIDE), Entry("s/.wh..wh..opq")], "entry 's/.wh..wh..opq'"),
    "hard link into a symlink": ([link("s", OUTSIDE), A, hard("s/evil", "a")], "entry 's/evil'"),
    "hard link from a symlink": ([link("s", OUTSIDE), hard("evil", "s/victim")], "entry 'evil'.*'s/victim'"),
    "file over a symlink": ([link("s", f"{OUTSIDE}/victim"), Entry("s")], "entry 's'.*twice"),
    "directory over a symlink": ([link("s", OUTSIDE), Entry("s", DIRECTORY)], "entry 's/'.*not a directory"),
    "loop": ([link("s", "s"), Entry("s/evil")], "entry 's/evil'"),
    "proc magic": ([link("s", "/proc/self/root"), Entry("s/evil")], "entry 's/evil'"),
    "dangling symlink": ([link("s", "nowhere"), Entry("s/evil")], "entry 's/evil'.*not a directory"),
    "hard link to an absolute name": ([hard("evil", "/etc/shadow")], "absolute"),
    "hard link out": ([hard("evil", "../../etc/shadow")], "climbs out"),
    "hard link to nothing": ([hard("evil", "nothing")], "'nothing' is not in this layer"),
    "hard link to a directory": ([D, hard("evil", "d")], "not a file of this layer"),
    "hard link to the root": ([hard("evil", ".")], "not a file of this layer"),
    "hard link to a whiteout": ([Entry(".wh.x"), hard("evil", "x")], "not a file of this layer"),
    "disk": ([Entry("sda", BLOCK_DEVICE, major=8)], "block device 8:0"),
    "memory": ([Entry("dev/mem", CHARACTER, major=1, minor=1)], "character device 1:1"),
    "whiteout device": ([Entry("x", CHARACTER)], "character device 0:0"),
    "twice": ([A, Entry("a")], "entry 'a'.*twice"),
    "twice by another spelling": ([A, Entry("./a")], "twice"),
    "symlink twice": ([link("s", "a"), link("s", "b")], "twice"),
    "file then directory": ([A, Entry("a", DIRECTORY)], "not a directory"),
    "directory then file": ([D, Entry("d")], "twice"),
    "file then fifo": ([A, Entry("a", FIFO)], "twice"),
    "below a file": ([A, Entry("a/b")], "entry 'a/b'.*not a directory"),
    "below a file, deep": ([A, Entry("a/b/c/d", DIRECTORY)], "not a directory"),
    "root as a file": ([Entry(".")], "replace the root directory by a file"),
    "root as a symlink": ([link("./", "/etc")], "replace the root directory by a symlink"),
    "root as a hard link": ([A, hard("././.", "a")], "replace the root directory by a hard link"),
    "empty whiteout": ([Entry(".wh.")], "a whiteout of ''"),
    "whiteout of dot": ([D, Entry("d/.wh..")], "a whiteout of '.'"),
    "whiteout of dots": ([D, Entry("d/.wh...")], "a whiteout of '..'"),
    "whiteout directory": ([Entry(".wh.x", DIRECTORY)], "a whiteout that is a directory"),
    "whiteout symlink": ([link(".wh.x", "/etc")], "a whiteout that is a symlink"),
    "below a whiteout": ([Entry(".wh.x/y")], "anything below it"),
    "owner out of range": ([Entry("a", uid=2**32 - 1)], "owner 4294967295:0"),
    "too many entries": ([Entry(f"f{place}") for place in range(101)], "more than 100 entries"),
    "too many bytes": ([Entry("f", size=600_000), Entry("g", size=600_000)], "entry 'g'.*more than 1048576 bytes"),
    "long name": ([Entry("n" * 300)], "[Nn]ame too long"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused(case: str, tmp_path: Path) -> None:
    entries, message = HOSTILE[case]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("unharmed")
    for entry in entries:
        entry.linkname = entry.linkname.replace(OUTSIDE, str(outside))
    store = Store(Home(str(tmp_path / "home")), IDS, LIMITS)
    with pytest.raises(ImageError) as caught:
        store.add_layer(io.BytesIO(packed(entries)))
    assert caught.match(message)
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "unharmed"
    assert (outside / "victim").stat().st_nlink == 1
    assert sorted(os.listdir(tmp_path)) == ["home", "outside"]
    assert os.listdir(os.path.join(store.root, "trees")) == []
    assert os.listdir(os.path.join(store.root, "tmp")) == []


def patched(entry: Entry, place: int, value: bytes) -> bytes:
    """An archive of one entry whose header is changed, with a right checksum."""
    block = bytearray(encode(entry))
    block[place : place + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


def pax(records: bytes, entry: Entry = A, kind: bytes = b"x") -> bytes:
    head = Entry("pax", size=len(records))
    block = patched(head, 156, kind)[:512]
    return block + records + bytes(-len(records) % 512) + encode(entry) + bytes(1024)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body) + 2
    return f"{length if len(str(length)) == 2 else length + 1}".encode() + body


HUGE = struct.pack(">Q", 1 << 62).rjust(12, b"\0")
MALFORMED = {
    "a wrong checksum": packed([A])[:148] + b"0000000\0" + packed([A])[156:],
    "text": b"this is not a tar archive at all\n" * 40,
    "cut off in a header": packed([A])[:300],
    "cut off in the data": packed([Entry("f", size=5000)])[:1500],
    "a negative size": patched(A, 124, b"\xff" * 12),
    "a huge size": patched(A, 124, b"\x80" + HUGE[1:]),
    "a bad number": patched(A, 100, b"12x4567\0"),
    "an unknown type": patched(A, 156, b"Q"),
    "a huge extended header": patched(Entry("pax", size=8**11 - 1), 156, b"x"),
    "a huge long name": patched(Entry("L", size=8**11 - 1), 156, b"L"),
    "records without a length": pax(b"abc path=x\n"),
    "records that are too long": pax(b"99 path=x\n"),
    "a record without an end": pax(b"9 path=xy"),
    "a size that is no number": pax(record("size", "-1")),
    "a time that is no time": pax(record("mtime", "yesterday")),
    "a zero byte in a name": pax(record("path", "a\0b")),
    "an empty name": pax(record("path", "")),
    "an old sparse file that overlaps": patched(
        Entry("s", size=1024), 386, b"%011o\0%011o\0%011o\0%011o\0" % (0, 512, 100, 512)
    )[:156] + b"S" + bytes(800),
    "a sparse map that does not fit": pax(
        record("GNU.sparse.map", "0,4000") + record("GNU.sparse.size", "9000"), Entry("s", size=10)
    ),
    "a huge sparse file": pax(
        record("GNU.sparse.map", "0,0") + record("GNU.sparse.size", "9" * 18), Entry("s", size=0)
    ),
    "a sparse map with too many parts": pax(
        record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") + record("GNU.sparse.realsize", "9"),
        Entry("s", size=512),
    )[:-1024] + b"999999999\n".ljust(512, b"\0") + bytes(1024),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_archive_is_refused(case: str, tmp_path: Path) -> None:
    store = Store(Home(str(tmp_path)), IDS, LIMITS)
    with pytest.raises(ImageError):
        store.add_layer(io.BytesIO(MALFORMED[case]))
    assert os.listdir(os.path.join(store.root, "trees")) == []


@pytest.mark.parametrize("cut", [5, 60, -9, -4])
def test_damaged_gzip_is_refused(cut: int, tmp_path: Path) -> None:
    whole = gzip.compress(packed([Entry("f", size=20_000)]))
    with pytest.raises(ImageError):
        Store(Home(str(tmp_path)), IDS, LIMITS).add_layer(io.BytesIO(whole[:cut]))


def test_decompression_bomb_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(10 << 20))
    with pytest.raises(ImageError, match="more than it holds"):
        Store(Home(str(tmp_path)), IDS, LIMITS).add_layer(io.BytesIO(bomb))


def test_bomb_behind_the_end_of_the_archive_is_refused(tmp_path: Path) -> None:
    plain = packed([A]) + bytes(10 << 20)
    with pytest.raises(ImageError):
        Store(Home(str(tmp_path)), IDS, LIMITS).add_layer(io.BytesIO(plain))


def test_overlayfs_attributes_are_not_taken_from_an_archive(tmp_path: Path) -> None:
    steering = {"trusted.overlay.redirect": b"/etc", "user.overlay.opaque": b"y", "user.ok": b"1"}
    unpack(io.BytesIO(packed([Entry("d", DIRECTORY, xattrs=steering)])), str(tmp_path), IDS)
    assert os.listxattr(tmp_path / "d") == ["user.ok"]


def test_harmless_devices_are_made(tmp_path: Path) -> None:
    unpack(io.BytesIO(packed([Entry("dev/null", CHARACTER, mode=0o666, major=1, minor=3)])), str(tmp_path), IDS)
    assert os.stat(tmp_path / "dev/null").st_rdev == os.makedev(1, 3)


def test_rootless_leaves_devices_out_and_says_so(tmp_path: Path) -> None:
    mapped = IdMap("mapped", ((0, 1000, 1), (1, 100000, 65536)))
    entries = [Entry("dev/null", CHARACTER, major=1, minor=3), Entry("f", uid=70_000)]
    lost = unpack(io.BytesIO(packed(entries)), str(tmp_path), mapped)
    assert [line.split(":")[0] for line in lost] == ["dev/null", "f"]
    assert sorted(os.listdir(tmp_path)) == ["dev", "f"]


def test_symlink_inside_the_layer_is_followed(tmp_path: Path) -> None:
    entries = [Entry("usr/lib", DIRECTORY, mode=0o755), link("lib", "usr/lib"), Entry("lib/x", size=3)]
    unpack(io.BytesIO(packed(entries)), str(tmp_path), IDS)
    assert (tmp_path / "usr/lib/x").stat().st_size == 3


def test_no_space_is_not_the_archives_fault(tmp_path: Path) -> None:
    class Full:
        def read(self, size: int, /) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises((EnvkitError, OSError)) as caught:
        unpack(Full(), str(tmp_path), IDS)
    assert not isinstance(caught.value, ImageError)


def test_kinds_are_the_readers(tmp_path: Path) -> None:
    found = [entry.kind for entry in tar.Reader(io.BytesIO(packed([A, D, link("s", "x"), Entry("p", FIFO)])))]
    assert found == [FILE, DIRECTORY, SYMLINK, FIFO]
