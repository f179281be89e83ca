"""Looking things up in layer trees gives what overlayfs shows."""

from __future__ import annotations

import os
import stat

import pytest

from envkit.backend.embedded import rootfs
from envkit.backend.embedded.layers import Stack
from envkit.errors import EnvkitError
from envkit.host import mounts
from envkit.host.home import Home
from tests.support.isolation import isolated


def tree(base, entries):
    """path -> None (directory), "-> TARGET", "whiteout", "opaque" (directory) or a text."""
    for path, value in entries.items():
        place = base / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if value is None or value == "opaque":
            place.mkdir(exist_ok=True)
            if value == "opaque":
                os.setxattr(place, "trusted.overlay.opaque", b"y")
        elif value == "whiteout":
            os.mknod(place, stat.S_IFCHR, 0)
        elif value.startswith("-> "):
            place.symlink_to(value[3:])
        else:
            place.write_text(value)
    return str(base)


LOWER = {
    "etc/passwd": "low", "etc/group": "low", "var/run": "-> /run", "run/lock": None, "a/b/c": "deep", "gone/x": "x",
    "replaced/old": "old", "loop": "-> loop", "up": "-> ../../etc", "dir/link": "-> ../a", "far": "-> /dir/link/b",
}  # fmt: skip
UPPER = {"etc/passwd": "high", "gone": "whiteout", "replaced": "opaque", "replaced/new": "new", "etc/extra": "extra"}
QUESTIONS = [
    "/etc/passwd", "/etc/group", "/var/run/lock", "/var/run/absent/below", "/a/b/c", "/gone/x", "/gone",
    "/replaced/old",
    "/replaced/new", "/up/passwd", "/far/c", "/etc/extra", "/nowhere/at/all", "/", "/a/../etc/group", "/../../a",
]  # fmt: skip


@pytest.mark.root
@isolated
def test_lookups_agree_with_overlayfs(tmp_path):
    low, high = tree(tmp_path / "low", LOWER), tree(tmp_path / "high", UPPER)
    stack = Stack([low, high])
    merged = tmp_path / "merged"
    merged.mkdir()
    mounts.overlay([high, low], str(merged), read_only=True)
    try:
        for question in QUESTIONS:
            where, info = stack.resolve(question)
            try:
                from envkit.host.beneath import open_beneath

                descriptor = open_beneath(str(merged), question, os.O_PATH)
            except (FileNotFoundError, NotADirectoryError):
                assert info is None, question
                continue
            shown = os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(merged)) or "/"
            assert info is not None and where == shown, question
            assert stat.S_IFMT(info.st_mode) == stat.S_IFMT(os.fstat(descriptor).st_mode)
            os.close(descriptor)
        assert stack.read("/etc/passwd") == "high" and stack.read("/up/group") == "low"
        assert stack.read("/gone/x") == "" and stack.read("/a") == ""
    finally:
        mounts.unmount(str(merged))


@pytest.mark.root
def test_stubs_are_what_the_image_lacks(tmp_path):
    stack = Stack([tree(tmp_path / "low", LOWER)])
    points = rootfs.Points(("/var/run/app", "/a/b", "/data"), ("/etc/passwd", "/var/run/secret"))
    stubs = rootfs.missing(stack, points)
    assert "/run/app" in stubs.directories and "/data" in stubs.directories and "/a/b" not in stubs.directories
    assert "/run/secret" in stubs.files and "/etc/passwd" not in stubs.files
    with pytest.raises(EnvkitError, match="does not fit"):
        rootfs.missing(stack, rootfs.Points(("/etc/passwd",), ()))
    with pytest.raises(EnvkitError, match="does not fit"):
        rootfs.missing(stack, rootfs.Points((), ("/a",)))


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert Stack([str(tmp_path)]).resolve("/loop/x")[1] is None


@pytest.mark.root
@isolated
def test_mount_points_are_seen_whatever_layers_hide(tmp_path):
    """In a directory that a layer made anew, at the place of what one removed, and where nothing is in the way."""
    low, high = tree(tmp_path / "low", LOWER), tree(tmp_path / "high", UPPER)
    os.chown(tmp_path / "high/replaced", 7, 8)
    os.chmod(tmp_path / "high/replaced", 0o750)
    wanted = rootfs.Points(("/gone/deep", "/a/new"), ("/replaced/file", "/etc/file"))
    stubs = rootfs.missing(Stack([low, high]), wanted)
    root = rootfs.shared(Home(str(tmp_path / "home")), "env", "sha256:1", [low, high], stubs, set())
    try:
        assert all(os.path.isdir(root + path) for path in wanted.directories)
        assert all(os.path.isfile(root + path) for path in wanted.files)
        assert os.listdir(f"{root}/gone") == ["deep"] and sorted(os.listdir(f"{root}/replaced")) == ["file", "new"]
        info = os.stat(f"{root}/replaced")
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (7, 8, 0o750)
    finally:
        mounts.unmount(root)
