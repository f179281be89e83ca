"""Laws of layers: unpacking what was packed gives the tree again; a captured difference gives the new tree."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envkit.errors import HostError, ImageError
from envkit.host import mounts
from envkit.host.files import copy_tree, remove_tree
from envkit.host.idmap import IdMap
from envkit.image.capture import capture_tree, capture_upper
from envkit.image.tar import Reader
from envkit.image.unpack import unpack
from tests.support.trees import Node, add_random, describe, make, nodes, trees

pytestmark = pytest.mark.root
IDS = IdMap("identity")
PREFIX = IDS.overlay_prefix
Case = tuple[dict[str, Node], list[tuple[str, str, Node | None]]]
law = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@contextmanager
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="envkit-test-") as path:
        yield path


def directory(path: str) -> str:
    os.mkdir(path)
    return path


@contextmanager
def overlay(base: str, lowers: list[str], upper: str | None = None) -> Iterator[str]:
    """An overlay of lowers (bottom first) in folder base."""
    merged = directory(os.path.join(base, f"merged{len(os.listdir(base))}"))
    work = None
    if upper is None:
        lowers = [directory(os.path.join(base, f"stub{len(os.listdir(base))}")), *lowers]
    else:
        work = directory(os.path.join(base, f"work{len(os.listdir(base))}"))
    mounts.overlay(lowers[::-1], merged, upper, work, read_only=upper is None, for_capture=upper is not None)
    try:
        yield merged
    finally:
        mounts.unmount(merged)


@law
@given(trees())
def test_unpack_of_pack_is_the_tree(tree: dict[str, Node]) -> None:
    with folder() as base:
        make(directory(f"{base}/old"), tree)
        stream = capture_tree(f"{base}/old", [], PREFIX, None)
        assert unpack(stream, directory(f"{base}/new"), IDS) == []
        assert describe(f"{base}/new") == describe(f"{base}/old")


@law
@given(trees(), trees())
def test_capture_of_a_tree_against_another_gives_it_again(old: dict[str, Node], new: dict[str, Node]) -> None:
    with folder() as base:
        make(directory(f"{base}/old"), old)
        make(directory(f"{base}/new"), new)
        stream = capture_tree(f"{base}/new", [f"{base}/old"], PREFIX, 0)
        unpack(stream, directory(f"{base}/layer"), IDS, [f"{base}/old"])
        with overlay(base, [f"{base}/old", f"{base}/layer"]) as merged:
            assert describe(merged, times=False) == describe(f"{base}/new", times=False)


@law
@given(trees())
def test_a_tree_against_itself_is_no_difference(tree: dict[str, Node]) -> None:
    linked = {path: node for path, node in tree.items() if node.kind != "h"}
    with folder() as base:
        make(directory(f"{base}/old"), linked)
        copy_tree(f"{base}/old", directory(f"{base}/new"))
        assert capture_tree(f"{base}/new", [f"{base}/old"], PREFIX).read(1 << 20) == bytes(10240)


@st.composite
def edits(draw: st.DrawFn) -> Case:
    """A tree, and what to do to it: (verb, path, node)."""
    before = draw(trees())
    tree = dict(before)
    steps: list[tuple[str, str, Node | None]] = []
    for _ in range(draw(st.integers(1, 8))):
        verb = draw(st.sampled_from(["add", "add", "remove", "chmod", "write", "replace", "rename"]))
        paths = sorted(path for path in tree if path)
        if verb == "add" or not paths:
            known = set(tree)
            add_random(draw, tree)
            steps += [("add", path, tree[path]) for path in tree.keys() - known]
            continue
        path = draw(st.sampled_from(paths))
        below = [name for name in tree if name == path or name.startswith(path + "/")]
        if verb == "write" and tree[path].kind != "f":
            continue
        steps.append((verb, path, draw(nodes([])) if verb == "replace" else None))
        if verb in ("remove", "rename", "replace"):
            moved = {name: tree.pop(name) for name in below}
            if verb == "replace":
                tree[path] = steps[-1][2] or moved[path]
            elif verb == "rename" and path + "2" not in tree:
                tree.update({path + "2" + name[len(path) :]: node for name, node in moved.items()})
    return before, steps


def perform(root: str, steps: list[tuple[str, str, Node | None]]) -> None:
    for verb, path, node in steps:
        where = os.path.join(root, path)
        if verb in ("remove", "replace"):
            remove_tree(where)
        if node is not None and verb in ("add", "replace"):
            _add(root, path, node)
        elif verb == "chmod" and not os.path.islink(where):
            os.chmod(where, 0o4711)
        elif verb == "write":
            with open(where, "ab") as file:
                file.write(b"more")
        elif verb == "rename" and not os.path.lexists(where + "2"):
            done = subprocess.run(["mv", "-T", where, where + "2"], capture_output=True, timeout=20, check=False)
            assert done.returncode == 0, done.stderr


def _add(root: str, path: str, node: Node) -> None:
    if node.kind == "h" and not os.path.lexists(os.path.join(root, node.target)):
        return
    place = os.path.join(root, os.path.dirname(path))
    if node.kind == "h":
        os.link(os.path.join(root, node.target), os.path.join(root, path), follow_symlinks=False)
        return
    with folder() as staging:
        make(staging, {"": Node("d"), "one": node})
        copy_tree(f"{staging}/one", os.path.join(place, os.path.basename(path)))


@law
@given(edits())
def test_capture_of_an_upperdir_gives_the_edited_tree(case: Case) -> None:
    before, steps = case
    with folder() as base:
        make(directory(f"{base}/old"), before)
        copy_tree(f"{base}/old", directory(f"{base}/upper"))
        remove_tree(f"{base}/upper")
        os.mkdir(f"{base}/upper")
        info = os.stat(f"{base}/old")
        os.chown(f"{base}/upper", info.st_uid, info.st_gid)
        os.chmod(f"{base}/upper", info.st_mode)
        with overlay(base, [f"{base}/old"], f"{base}/upper") as merged:
            perform(merged, steps)
            wanted = describe(merged, times=False)
        stream = capture_upper(f"{base}/upper", [f"{base}/old"], PREFIX)
        unpack(stream, directory(f"{base}/layer"), IDS, [f"{base}/old"])
        with overlay(base, [f"{base}/old", f"{base}/layer"]) as merged:
            assert describe(merged, times=False) == wanted


def test_a_tree_too_deep_to_name_is_an_error(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    with pytest.raises(HostError, match="captured"):
        capture_tree(str(tmp_path), [], PREFIX).read(1 << 20)
    remove_tree(str(tmp_path))


@pytest.mark.parametrize("attribute", ["redirect", "metacopy"])
def test_an_upperdir_with_redirects_is_refused(tmp_path: Path, attribute: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").touch()
    os.setxattr(tmp_path / ("d" if attribute == "redirect" else "d/f"), PREFIX + attribute, b"/elsewhere")
    with pytest.raises(HostError, match="cannot be captured"):
        capture_upper(str(tmp_path), [], PREFIX).read(1 << 20)


def test_a_name_that_means_a_whiteout_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.x").touch()
    with pytest.raises(ImageError, match=r"\.wh\.x"):
        capture_upper(str(tmp_path), [], PREFIX).read(1 << 20)


def test_times_are_clamped_and_sockets_left_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        (tmp_path / "old").touch()
        os.utime(tmp_path / "old", (5, 5))
        (tmp_path / "new").touch()
        listener.bind(str(tmp_path / "socket"))
    found = {entry.name: entry.mtime // 10**9 for entry in Reader(capture_tree(str(tmp_path), [], PREFIX, 10))}
    assert found == {"./": 10, "new": 10, "old": 5}


def test_whiteouts_in_the_attribute_form(tmp_path: Path) -> None:
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gone").touch()
    os.setxattr(tmp_path / "upper", PREFIX + "opaque", b"x")
    os.setxattr(tmp_path / "upper/gone", PREFIX + "whiteout", b"")
    stream = capture_upper(str(tmp_path / "upper"), [str(tmp_path / "lower")], PREFIX)
    assert [entry.name for entry in Reader(stream)] == ["./", ".wh.gone"]
