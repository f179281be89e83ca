"""Tar archives of others are read right, and ours are read by others."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.errors import ImageError, UnsupportedError
from envkit.host.idmap import IdMap
from envkit.image import tar
from envkit.image.compression import decompressed, detect, gzipped
from envkit.image.limits import Limits
from envkit.image.tar import DIRECTORY, FILE, SYMLINK, Entry
from envkit.image.tarwrite import Stream, archive, encode
from envkit.image.unpack import unpack

IDS = IdMap("identity")
text = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=()), min_size=1, max_size=300)


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    reader = tar.Reader(io.BytesIO(data))
    return [(entry, b"".join(reader.data())) for entry in reader]


def fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


# -- ours


@given(
    st.builds(
        Entry, text.filter(lambda name: not name.endswith("/")), st.sampled_from([FILE, DIRECTORY, SYMLINK]),
        mode=st.integers(0, 0o7777), uid=st.integers(0, 2**40), gid=st.integers(0, 2**40), size=st.integers(0, 3000),
        mtime=st.integers(-(10**20), 10**20), linkname=text,
        xattrs=st.dictionaries(text, st.binary(max_size=300), max_size=3),
    )
)  # fmt: skip
def test_read_gives_what_was_written(entry: Entry) -> None:
    if entry.kind != FILE:
        entry.size = 0
    [(found, data)] = read(b"".join(archive([(entry, [b"x" * entry.size])])))
    found.name = found.name.removesuffix("/") if entry.kind == DIRECTORY else found.name
    assert fields(found) == fields(entry)
    assert data == b"x" * entry.size


@given(st.lists(st.tuples(st.text("ab/", min_size=1, max_size=260), st.binary(max_size=1500)), max_size=5))
def test_python_reads_what_was_written(items: list[tuple[str, bytes]]) -> None:
    items = [(name.strip("/") or "n", data) for name, data in items]
    made = b"".join(archive((Entry(name, size=len(data), mtime=1), [data]) for name, data in items))
    assert len(made) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(made)) as found:
        members = found.getmembers()
        assert [member.name for member in members] == [name for name, _ in items]
        for member, (_, data) in zip(members, items, strict=True):
            content = found.extractfile(member)
            assert content and content.read() == data


def test_headers_are_plain_where_they_can_be() -> None:
    assert len(encode(Entry("a/" + "b" * 100, mtime=5 * 10**9))) == 512
    assert len(encode(Entry("a" * 101))) == 1536


def test_a_file_that_changes_while_it_is_read_is_an_error() -> None:
    for data in (b"", b"12345"):
        with pytest.raises(ImageError, match="changed"):
            b"".join(archive([(Entry("f", size=4), [data])]))


@given(st.lists(st.binary(max_size=50)), st.integers(1, 40))
def test_stream_gives_the_chunks_in_any_size(chunks: list[bytes], size: int) -> None:
    stream = Stream(chunks)
    parts = list(iter(lambda: stream.read(size), b""))
    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) == size for part in parts[:-1])


# -- others'


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_python_archives_are_read(form: int) -> None:
    names = ["short", "d" * 90 + "/" + "f" * 90]
    if form != tarfile.USTAR_FORMAT:
        names += ["l" * 300, "ä" * 80]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid = 3, 1_700_000_000, 1000
            made.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * (90 if form == tarfile.USTAR_FORMAT else 200)
        made.addfile(link)
    found = read(buffer.getvalue())
    assert [entry.name for entry, _ in found] == [*names, "link"]
    assert all(data == b"abc" and entry.uid == 1000 for entry, data in found[:-1])
    assert found[-1][0].linkname == link.linkname


def test_global_headers_apply_to_what_follows() -> None:
    buffer = io.BytesIO()
    headers = {"comment": "a git commit", "mtime": "12.5"}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as made:
        made.addfile(tarfile.TarInfo("a"))
    [(entry, _)] = read(buffer.getvalue())
    assert entry.mtime == 12_500_000_000


FORMS = ["gnu", "oldgnu", "pax --sparse-version=0.0", "pax --sparse-version=0.1", "pax", "v7", "ustar"]


@pytest.mark.parametrize("form", FORMS)
def test_gnu_tars_archives_are_read(form: str, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        for place in range(30):
            file.seek(place * 1_000_000)
            file.write(b"%d" % place)
        file.truncate(40_000_000)
    (source / "empty").write_bytes(b"")
    with (source / "hole").open("wb") as file:
        file.truncate(5_000_000)
    (source / "sub").mkdir()
    (source / "sub/link").symlink_to("../sparse")
    os.link(source / "empty", source / "sub/hard")
    sparse = ["--sparse"] if form not in ("v7", "ustar") else []
    command = ["tar", *sparse, *f"--format={form}".split(), "-cf", str(tmp_path / "a.tar"), "-C", str(source), "."]
    subprocess.run(command, check=True, timeout=30)
    if sparse:
        assert (tmp_path / "a.tar").stat().st_size < 1_000_000
    (tmp_path / "out").mkdir()
    with (tmp_path / "a.tar").open("rb") as file:
        unpack(file, str(tmp_path / "out"), IDS)
    subprocess.run(["diff", "-r", "--no-dereference", str(source), str(tmp_path / "out")], check=True, timeout=30)
    assert (tmp_path / "out/empty").stat().st_ino == (tmp_path / "out/sub/hard").stat().st_ino
    if sparse:
        assert (tmp_path / "out/sparse").stat().st_blocks * 512 < 2_000_000


def test_an_archive_without_an_end_is_whole() -> None:
    made = b"".join(archive([(Entry("a"), ()), (Entry("b", size=1), [b"x"])]))
    assert [entry.name for entry, _ in read(made.rstrip(b"\0") + bytes(511))] == ["a", "b"]
    assert read(b"") == []


# -- compression


def test_gzip_is_reproducible_and_read_back(tmp_path: Path) -> None:
    chunks = [b"one" * 1000, b"", b"two" * 100_000]
    made = b"".join(gzipped(chunks))
    assert made == b"".join(gzipped(chunks)) and detect(made) == "gzip" and made[4:8] == bytes(4)
    assert gzip.decompress(made) == b"".join(chunks)
    (tmp_path / "x").write_bytes(made + gzip.compress(b"second member") + bytes(100))
    with (tmp_path / "x").open("rb") as file, decompressed(file) as source:
        found = b"".join(iter(lambda: source.read(777), b""))
    assert found == b"".join(chunks) + b"second member"


@pytest.mark.parametrize("program", ["zstd", "xz", "bzip2", "gzip"])
def test_every_compression_is_recognised_and_damage_seen(program: str, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    made = subprocess.run([program, "-c"], input=content, capture_output=True, check=True, timeout=30).stdout
    for data, whole in ((made, True), (made[:-2000], False), (made[:1000] + b"\xff" * 5000 + made[6000:], False)):
        (tmp_path / "x").write_bytes(data)
        with (tmp_path / "x").open("rb") as file, decompressed(file) as source:
            if whole:
                assert b"".join(iter(lambda: source.read(100_000), b"")) == content
            else:
                with pytest.raises(ImageError, match="damaged"):
                    b"".join(iter(lambda: source.read(100_000), b""))


def test_a_zstd_bomb_is_refused(tmp_path: Path) -> None:
    made = subprocess.run(["zstd", "-c"], input=bytes(30 << 20), capture_output=True, check=True, timeout=30).stdout
    (tmp_path / "x").write_bytes(made)
    limits = Limits(ratio=100, ratio_floor=1 << 20)
    with (tmp_path / "x").open("rb") as file, decompressed(file, limits) as source, pytest.raises(ImageError):
        while source.read(1 << 16):
            continue


def test_zstd_without_a_reader_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setattr("envkit.host.process.find", lambda tool: None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with (tmp_path / "x").open("rb") as file, pytest.raises(UnsupportedError) as caught, decompressed(file):
        raise AssertionError("it was opened")
    assert "zstd" in caught.value.hint
