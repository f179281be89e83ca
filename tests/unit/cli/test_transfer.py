"""The local side of `cp`: what a container's archive may write, and where."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from envkit.cli.transfer import pack, unpack
from envkit.errors import EnvkitError


def archive(*rows):
    """A tar stream of (name, type, content or target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name, kind, text in rows:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid = kind, 0o4777 if kind == tarfile.REGTYPE else 0o755, 4242
            data = text.encode() if kind == tarfile.REGTYPE else b""
            member.size, member.linkname = len(data), "" if data else text
            file.addfile(member, io.BytesIO(data))
    return iter([buffer.getvalue()])


FILE, DIRECTORY, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.fixture
def places(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "kept").write_text("of the host")
    yield tmp_path / "out", tmp_path / "host"
    assert {item.name: item.read_text() for item in (tmp_path / "host").iterdir()} == {"kept": "of the host"}
    assert {item.name for item in tmp_path.iterdir()} <= {"out", "host", "new"}


def test_links_are_copied_as_they_are(places):
    out, host = places
    unpack(archive(("a", DIRECTORY, ""), ("a/l", LINK, str(host)), ("a/m", LINK, "../../host/kept")), str(out))
    assert os.readlink(out / "a/l") == str(host) and os.readlink(out / "a/m") == "../../host/kept"


@pytest.mark.parametrize("owners", [True, False])
def test_nothing_is_written_through_a_link(places, owners):
    out, host = places
    rows = ("a", DIRECTORY, ""), ("a/l", LINK, str(host)), ("a/f", LINK, str(host / "kept"))
    for hostile in (("a/l/new", FILE, "x"), ("a/l/new", LINK, "x"), ("a/l/deep", DIRECTORY, ""),
                    ("a/h", HARD, "a/l/kept")):  # fmt: skip
        with pytest.raises(EnvkitError, match="through the link a/l"):
            unpack(archive(*rows, hostile), str(out), owners=owners)
    unpack(archive(*rows), str(out), owners=owners)
    unpack(archive(("a", DIRECTORY, ""), ("a/f", FILE, "fresh"), ("a/l", DIRECTORY, ""), ("a/l/new", FILE, "x")),
           str(out), owners=owners)  # fmt: skip
    assert (out / "a/f").read_text() == "fresh" and (out / "a/l/new").read_text() == "x"


@pytest.mark.parametrize("name", ["../host/kept", "a/../../host/kept", "..", "a/.."])
def test_names_that_leave_the_destination(places, name):
    out, _ = places
    with pytest.raises(EnvkitError, match="leaves the destination"):
        unpack(archive((name, FILE, "x")), str(out))


def test_absolute_names_are_below_the_destination(places):
    out, host = places
    unpack(archive((f"{host}/kept", FILE, "x")), str(out))
    assert (out / str(host).lstrip("/") / "kept").read_text() == "x"


def test_another_name_hard_links_and_modes(places):
    out, _ = places
    rows = ("data", DIRECTORY, ""), ("data/a", FILE, "text"), ("data/b", HARD, "data/a")
    unpack(archive(*rows), str(out / "copy"))
    assert (out / "copy/b").samefile(out / "copy/a") and (out / "copy/b").read_text() == "text"
    status = (out / "copy/a").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o755, os.geteuid())


def test_devices_and_wrong_kinds(places):
    out, _ = places
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        with pytest.raises(EnvkitError, match="device"):
            unpack(archive(("node", kind, "")), str(out))
    (out / "a").mkdir()
    with pytest.raises(EnvkitError, match="is a directory"):
        unpack(archive(("a", FILE, "x")), str(out))


def test_there_and_back(places, tmp_path):
    out, _ = places
    (out / "a").mkdir()
    (out / "a/link").symlink_to("/nowhere")
    unpack(pack(str(out / "a"), "a"), str(tmp_path / "new"))
    assert os.readlink(tmp_path / "new/link") == "/nowhere"
