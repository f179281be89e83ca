"""envkit.host.files, beneath: written whole, copied whole, removed without following."""

from __future__ import annotations

import os
import stat

import pytest

from envkit.errors import HostError
from envkit.host import files, mounts
from envkit.host.beneath import make_directories_beneath, open_beneath, read_beneath


def test_write_atomic_replaces_content_and_mode(tmp_path):
    path = tmp_path / "record.json"
    files.write_atomic(str(path), b"one", 0o600)
    files.write_atomic(str(path), b"two", 0o640)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["record.json"]


def test_write_atomic_leaves_nothing_behind_on_failure(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError):
        files.write_atomic(str(tmp_path / "x"), b"data")
    assert os.listdir(tmp_path) == ["x"]


def test_json_round_trip_and_absence(tmp_path):
    path = str(tmp_path / "a.json")
    assert files.read_json(path) is None
    files.write_json(path, {"é": [1, None]})
    assert files.read_json(path) == {"é": [1, None]}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(HostError, match="damaged"):
        files.read_json(path)


def test_make_directory_modes(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    files.make_directory(str(path), 0o700)
    files.make_directory(str(path), 0o755)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_remove_tree_does_not_follow(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "link").symlink_to(outside)
    (tree / "sub" / "deep" / "file").write_text("y")
    files.remove_tree(str(tree))
    files.remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "keep").exists()
    link = tmp_path / "top"
    link.symlink_to(outside)
    files.remove_tree(str(link))
    assert (outside / "keep").exists()
    assert not link.is_symlink()


def test_remove_tree_of_any_depth(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    files.remove_tree(str(tmp_path / "d"))
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_remove_tree_stops_at_a_mount(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "precious").write_text("x")
    target = tmp_path / "tree" / "volume"
    target.mkdir(parents=True)
    mounts.bind(str(data), str(target))
    try:
        with pytest.raises(HostError, match="mount inside"):
            files.remove_tree(str(tmp_path / "tree"))
    finally:
        mounts.unmount(str(target))
    assert (data / "precious").exists()
    files.remove_tree(str(tmp_path / "tree"))


@pytest.mark.root
def test_copy_tree_keeps_everything(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "dir").mkdir(parents=True)
    os.chmod(source, 0o1755)
    (source / "dir" / "suid").write_text("x")
    os.chown(source / "dir" / "suid", 33, 34)
    os.chmod(source / "dir" / "suid", 0o4755)
    os.setxattr(source / "dir" / "suid", "user.note", b"v")
    os.link(source / "dir" / "suid", source / "twin")
    (source / "link").symlink_to("/nowhere")
    os.setxattr(source / "link", "trusted.note", b"w", follow_symlinks=False)
    os.mkfifo(source / "fifo", 0o620)
    os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with open(source / "sparse", "wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
        file.truncate(80 << 20)
    os.utime(source / "dir", ns=(1, 1_000_000_007))
    files.copy_tree(str(source), str(target))
    for name in ("", "dir", "dir/suid", "link", "fifo", "null", "sparse"):
        one, two = os.lstat(source / name), os.lstat(target / name)
        assert [one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns, one.st_rdev] == [
            two.st_mode, two.st_uid, two.st_gid, two.st_mtime_ns, two.st_rdev], name  # fmt: skip
    assert os.stat(target / "twin").st_ino == os.stat(target / "dir" / "suid").st_ino
    assert os.getxattr(target / "twin", "user.note") == b"v"
    assert os.getxattr(target / "link", "trusted.note", follow_symlinks=False) == b"w"
    assert (target / "sparse").stat().st_blocks < 100
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()


def test_copy_tree_into_existing_directory_and_of_a_file(tmp_path):
    (tmp_path / "s").mkdir(mode=0o750)
    (tmp_path / "s" / "f").write_text("1")
    (tmp_path / "t").mkdir()
    files.copy_tree(str(tmp_path / "s"), str(tmp_path / "t"))
    assert (tmp_path / "t" / "f").read_text() == "1"
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o750
    files.copy_tree(str(tmp_path / "s" / "f"), str(tmp_path / "g"))
    assert (tmp_path / "g").read_text() == "1"


def test_beneath_stays_inside(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    (root / "abs").symlink_to("/etc/passwd")
    (root / "up").symlink_to("../../../../etc/passwd")
    (root / "magic").symlink_to("/proc/self/root/etc/passwd")
    assert read_beneath(str(root), "/etc/passwd") == b"inside"
    assert read_beneath(str(root), "abs") == b"inside"
    assert read_beneath(str(root), "up") == b"inside"
    assert read_beneath(str(root), "magic") is None
    assert read_beneath(str(root), "etc") is None
    with pytest.raises(FileNotFoundError):
        open_beneath(str(root), "absent", os.O_RDONLY)


def test_make_directories_beneath(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "var").symlink_to(str(outside))
    with pytest.raises(OSError):
        make_directories_beneath(str(root), "var/lib/x")
    assert os.listdir(outside) == []
    os.close(make_directories_beneath(str(root), "/srv/a/b"))
    assert (root / "srv" / "a" / "b").is_dir()
