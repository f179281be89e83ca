"""Snapshots of volumes: taken, restored, exported and imported whole, or not at all."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from envkit.backend.embedded import snapshots, volume_data, volumes
from envkit.backend.embedded.volume_data import Keeper
from envkit.errors import ConflictError, EnvkitError, HostError, ImageError, NotFoundError, UnsupportedError
from envkit.events import ignore
from envkit.host import mounts, steps, syscalls
from envkit.host.content import tree_content
from envkit.host.home import Home
from envkit.host.tree import digest_tree
from tests.support.isolation import apart

pytestmark = pytest.mark.root
NAME = "shop_data"


@pytest.fixture
def home(tmp_path: object) -> Home:
    """An installation with one volume that has a file."""
    made = Home(f"{tmp_path}/home")
    volumes.ensure(made, volumes.Volume(name=NAME, environment="shop", key="data"))
    write(made, "first")
    return made


def write(home: Home, text: str, name: str = "file") -> None:
    with open(os.path.join(volumes.data(home, NAME), name), "w", encoding="utf-8") as file:
        file.write(text)


def read(home: Home, name: str = "file") -> str:
    with open(os.path.join(volumes.data(home, NAME), name), encoding="utf-8") as file:
        return file.read()


def take(home: Home, name: str = "") -> Any:
    return Keeper(home).take(NAME, name, emit=ignore)


def restore(home: Home, name: str) -> Any:
    return Keeper(home).restore(NAME, name, emit=ignore)


def left_over(home: Home) -> list[str]:
    """What does not belong to a volume or a snapshot."""
    found = []
    for place, directories, files in os.walk(home.volumes):
        if place.endswith("/data"):
            directories.clear()
            continue
        found += [name for name in (*directories, *files) if name.startswith(tuple(".-")) and name != ".snapshots"]
        found += [name for name in directories if name.startswith("removed-")]
    return found


def test_a_snapshot_outlives_changes_and_restoring_keeps_what_was(home):
    made = take(home, "one")
    assert (made.bytes, made.files, made.key, made.environment) == (5, 1, "data", "shop")
    write(home, "second")
    filled = restore(home, "one")
    assert read(home) == "first"
    assert (filled.bytes, filled.files) == (5, 1)
    assert filled.former is not None and filled.former.automatic
    restore(home, filled.former.name)
    assert read(home) == "second"
    assert left_over(home) == []
    assert not os.path.exists(home.environment("shop"))


def test_a_volume_that_was_removed_comes_back_as_it_was(home):
    before = volumes.load(home, NAME)
    take(home, "one")
    volumes.remove(home, NAME)
    assert os.listdir(home.volumes) == [".snapshots"]
    restore(home, "one")
    assert (read(home), volumes.load(home, NAME)) == ("first", before)


def test_names_that_are_taken_or_none(home):
    take(home, "one")
    with pytest.raises(ConflictError, match="exists"):
        take(home, "one")
    for name in ("../up", "a/b", ".hidden", ""):
        with pytest.raises((EnvkitError, NotFoundError)):
            restore(home, name or "nothing")
    with pytest.raises(NotFoundError, match=r"there is: one|'two'"):
        restore(home, "two")
    Keeper(home).remove(NAME, "one")
    with pytest.raises(NotFoundError):
        Keeper(home).remove(NAME, "one")
    assert os.listdir(home.volumes) == [NAME]


def test_a_directory_of_the_host_is_copied_and_never_replaced(tmp_path):
    home, place = Home(f"{tmp_path}/home"), tmp_path / "mine"
    place.mkdir()
    (place / "file").write_text("mine")
    spec = {"driver_opts": {"type": "none", "o": "bind", "device": str(place)}}
    volumes.ensure(home, volumes.Volume(name=NAME, environment="shop", key="data", spec=spec))
    assert take(home, "one").files == 1
    with pytest.raises(UnsupportedError, match="cannot be replaced"):
        restore(home, "one")
    chunks, _ = Keeper(home).export(NAME, "one")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        assert tar.getnames() == [".", "./file"] or tar.getnames() == [".", "file"]


def test_the_oldest_automatic_ones_go(home):
    take(home, "mine")
    volume = volumes.load(home, NAME)
    assert volume is not None
    for number in range(4):
        volumes.ensure(home, volume)
        write(home, str(number))
        snapshots.keep(home, volume, f"auto-{number}-", "a test")
    assert len(snapshots.prune(home, NAME, 2)) == 2
    assert [item.name[:6] for item in snapshots.load_all(home, NAME)] == ["mine", "auto-2", "auto-3"]


# -- cut off


def cut(home: Home, moment: str, work: Callable[[], object]) -> int:
    def run() -> None:
        steps._active, steps._fail_name, steps._fail_count = True, moment, ""
        work()

    return apart(run)


TAKING = ["snapshot.copy", "write_atomic.rename", "syncfs", "snapshot.publish", "remove_tree"]
RESTORING = ["volume.filling", "syncfs", "write_atomic.rename", "volume.exchange", "exchange", "volume.exchanged",
             "snapshot.publish", "remove_tree"]  # fmt: skip


@pytest.mark.parametrize("moment", TAKING)
def test_killed_while_a_snapshot_is_taken(home, moment):
    before = digest_tree(volumes.data(home, NAME))
    assert cut(home, moment, lambda: take(home, "one")) == -9
    assert digest_tree(volumes.data(home, NAME)) == before
    for item in snapshots.load_all(home):
        assert digest_tree(snapshots.data(home, NAME, item.name)) == before
    volume_data.sweep(home)
    assert left_over(home) == []


@pytest.mark.parametrize("moment", RESTORING)
def test_killed_while_a_snapshot_is_restored(home, moment):
    """The volume has the old content or the new one, and both are somewhere."""
    take(home, "one")
    write(home, "second")
    assert cut(home, moment, lambda: restore(home, "one")) == -9
    assert read(home) in ("first", "second")
    volume_data.sweep(home)
    texts = {read(home)}
    for item in snapshots.load_all(home):
        with open(os.path.join(snapshots.data(home, NAME, item.name), "file"), encoding="utf-8") as file:
            texts.add(file.read())
    assert texts == {"first", "second"}
    assert left_over(home) == []
    restore(home, "one")
    assert read(home) == "first"


@pytest.mark.parametrize("moment", ["snapshot.keep", "snapshot.kept", "snapshot.publish"])
def test_killed_while_content_is_kept(home, moment):
    volume = volumes.load(home, NAME)
    assert volume is not None
    assert cut(home, moment, lambda: snapshots.keep(home, volume, "auto-", "a test")) == -9
    volume_data.sweep(home)
    kept = snapshots.load_all(home)
    assert bool(kept) != os.path.isdir(volumes.data(home, NAME))
    assert [item.files for item in kept] in ([], [1])
    assert left_over(home) == []


def test_a_full_disk_leaves_everything_as_it_was(tmp_path):
    """On a file system of its own, in a mount namespace of its own."""

    def run() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        mounts.set_propagation("/", "private", recursive=True)
        place = str(tmp_path / "small")
        os.mkdir(place)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", place], check=True)
        home = Home(f"{place}/home")
        volumes.ensure(home, volumes.Volume(name=NAME, environment="shop", key="data"))
        write(home, "x" * (1 << 20))
        take(home, "one")
        write(home, "y" * (1 << 20))
        for work in (lambda: take(home, "two"), lambda: restore(home, "one")):
            with pytest.raises(HostError, match=r"No space left.*as they were"):
                work()
            assert read(home)[:1] == "y"
            assert [item.name for item in snapshots.load_all(home)] == ["one"]
            assert left_over(home) == []

    assert apart(run) is None


# -- archives


@pytest.fixture
def rich(home: Home) -> Iterator[str]:
    """The volume with one of everything."""
    place = volumes.data(home, NAME)
    os.makedirs(f"{place}/deep/er")
    os.link(f"{place}/file", f"{place}/deep/twin")
    os.symlink("/etc/passwd", f"{place}/link")
    os.mkfifo(f"{place}/pipe", 0o620)
    write(home, "", "." + "wh.not-a-whiteout")
    write(home, "long", "n" * 150)
    write(home, "odd", "a\nb ü %=")
    with open(f"{place}/sparse", "wb") as file:
        file.truncate(8 << 20)
        file.seek(1 << 20)
        file.write(b"x" * 5000)
    os.setxattr(f"{place}/file", "user.colour", b"green=100%\n")
    os.chown(f"{place}/deep", 1234, 4321)
    os.chmod(f"{place}/deep", 0o2750)
    os.chmod(place, 0o1777)
    os.utime(f"{place}/file", ns=(1, 1_234_567_890_123_456_789))
    left = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(place)
    left.bind("socket")
    os.chdir(here)
    yield place
    left.close()


def facts(place: str) -> dict[str, Any]:
    found = {}
    for top, directories, files in os.walk(place):
        for name in ("", *files, *directories):
            path = os.path.join(top, name).rstrip("/")
            info = os.lstat(path)
            found[os.path.relpath(path, place)] = (
                info.st_mode, info.st_uid, info.st_gid, info.st_size if not os.path.isdir(path) else 0,
                info.st_mtime_ns, os.listxattr(path, follow_symlinks=False), info.st_nlink,
            )  # fmt: skip
    found.pop("socket", None)
    return found


@pytest.mark.parametrize("packed", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("seekable", [True, False])
def test_out_and_in_again_is_the_same(home, rich, tmp_path, packed, seekable):
    before = facts(rich)
    chunks, lost = Keeper(home).export(NAME)
    archive = tmp_path / "archive"
    archive.write_bytes(b"".join(chunks))
    assert archive.stat().st_size < 200_000  # holes are none of it
    assert lost == ["socket: a socket, which no archive can hold"]
    if packed != "none":
        subprocess.run([packed, "-q", str(archive)], check=True)
        archive = next(item for item in tmp_path.iterdir() if item.name.startswith("archive."))
    os.unlink(f"{rich}/file")
    with open(archive, "rb") as file:
        if seekable:
            Keeper(home).load(NAME, file, emit=ignore)
        else:
            with subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
                assert cat.stdout is not None
                Keeper(home).load(NAME, cat.stdout, emit=ignore)
    assert facts(rich) == before
    assert os.stat(f"{rich}/sparse").st_blocks < 100
    assert os.getxattr(f"{rich}/file", "user.colour") == b"green=100%\n"
    assert left_over(home) == []


def test_gnu_tar_reads_it(home, rich, tmp_path):
    chunks, _ = Keeper(home).export(NAME)
    (tmp_path / "a.tar").write_bytes(b"".join(chunks))
    target = tmp_path / "out"
    target.mkdir()
    done = subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", str(tmp_path / "a.tar"),
                           "-C", str(target)], capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    after = facts(str(target))
    assert {name: row[:4] for name, row in after.items()} == {name: row[:4] for name, row in facts(rich).items()}
    assert tree_content(str(target)) == (tree_content(rich)[0], tree_content(rich)[1] - 1)


def hostile(name: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for each in ("fine", name):
            member = tarfile.TarInfo(each)
            if each == name:
                for key, value in settings.items():
                    setattr(member, key, value)
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return stream.getvalue()


HOSTILE = {
    "out by dots": hostile("../../evil", size=1),
    "out by a root": hostile("/evil", size=1),
    "a link to what is outside": hostile("evil", type=tarfile.LNKTYPE, linkname="../../../etc/passwd"),
    "a disk": hostile("disk", type=tarfile.BLKTYPE, devmajor=8),
    "a name twice": hostile("fine", size=1),
    "cut off": hostile("big", size=100_000)[:5_000],
    "no archive": b"\x7fELF" + bytes(2000),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_changes_nothing(home, what):
    with pytest.raises(ImageError, match="cannot be filled from this archive"):
        Keeper(home).load(NAME, io.BytesIO(HOSTILE[what]), emit=ignore)
    assert read(home) == "first"
    assert (left_over(home), snapshots.load_all(home)) == ([], [])


def test_a_symlink_in_the_way_is_not_followed(home, tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        inside = tarfile.TarInfo("way/evil")
        tar.addfile(inside)
    with pytest.raises(ImageError, match=r"leaves|symlink"):
        Keeper(home).load(NAME, io.BytesIO(stream.getvalue()), emit=ignore)
    assert not (tmp_path / "evil").exists()
