"""Random file trees for laws: a strategy, a builder, and a description that two trees can be compared by."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st


class Node(NamedTuple):
    """One file: kind d, f, l (symlink), h (hard link), p (fifo), c (the null device)."""

    kind: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: bytes = b""
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    mtime: int = 0


NAMES = ["a", "b", "c", "d", "bin", "etc", "x y", "ä", "n" * 120, "-rf", "new\nline", "\udcff", ".hidden", "..data"]
_modes = st.sampled_from([0o644, 0o755, 0o700, 0o4755, 0o2755, 0o1777, 0o000, 0o6711, 0o600])
_ids = st.sampled_from([0, 0, 0, 1, 1000, 65534, 70000, 3_000_000])
_xattrs = st.dictionaries(
    st.sampled_from(["user.note", "user.a=b", "trusted.mark", "user.50%"]),
    st.sampled_from([b"", b"1", b"\0\xff\n=", b"long" * 50]), max_size=2,
).map(lambda found: tuple(sorted(found.items())))  # fmt: skip
_capability = st.sampled_from([(), (), (("security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),)])
_times = st.sampled_from([0, 1, 1_700_000_000_123_456_789, 10**9, -5 * 10**9, 2**35 * 10**9 + 7])


@st.composite
def nodes(draw: st.DrawFn, paths: list[str]) -> Node:
    """One node; paths are what a hard link may point to."""
    kinds = ["d", "d", "d", "f", "f", "f", "l", "p", "c"] + (["h"] if paths else [])
    kind = draw(st.sampled_from(kinds))
    mode, uid, gid, mtime = draw(_modes), draw(_ids), draw(_ids), draw(_times)
    if kind == "f":
        content = draw(st.sampled_from([b"", b"x", b"text\n" * 30, bytes(513), b"\0\1" * 40_000]))
        xattrs = tuple(sorted({*draw(_xattrs), *draw(_capability)}))
        return Node("f", mode, uid, gid, content, "", xattrs, mtime)
    if kind == "l":
        target = draw(st.sampled_from(["a", "/etc/passwd", "../../..", "b/" * 60 + "c", "\udcfe"]))
        return Node("l", 0o777, uid, gid, b"", target, (), mtime)
    if kind == "h":
        return Node("h", target=draw(st.sampled_from(sorted(paths))))
    return Node(kind, mode, uid, gid, b"", "", draw(_xattrs) if kind == "d" else (), mtime)


@st.composite
def trees(draw: st.DrawFn, size: int = 12) -> dict[str, Node]:
    """path -> node, parents before children; the root is the path ""."""
    tree = {"": Node("d", draw(st.sampled_from([0o755, 0o711])), draw(_ids), draw(_ids), mtime=draw(_times))}
    for _ in range(draw(st.integers(0, size))):
        add_random(draw, tree)
    return tree


def add_random(draw: st.DrawFn, tree: dict[str, Node]) -> None:
    """Put one more node into tree, where its name is free."""
    directory = draw(st.sampled_from(sorted(path for path, node in tree.items() if node.kind == "d")))
    path = f"{directory}/{draw(st.sampled_from(NAMES))}".lstrip("/")
    if path not in tree:
        tree[path] = draw(nodes([path for path, node in tree.items() if node.kind in "flp"]))


def make(root: str, tree: Mapping[str, Node]) -> None:
    """Write a tree into the directory root, which exists and is empty."""
    for path, node in tree.items():
        where = os.path.join(root, path) if path else root
        if node.kind == "d" and path:
            os.mkdir(where, 0o700)
        elif node.kind == "f":
            with open(where, "xb") as file:
                file.write(node.content)
        elif node.kind == "l":
            os.symlink(node.target, where)
        elif node.kind == "p":
            os.mkfifo(where)
        elif node.kind == "c":
            os.mknod(where, stat.S_IFCHR, os.makedev(1, 3))
        elif node.kind == "h":
            os.link(os.path.join(root, node.target), where, follow_symlinks=False)
    for path, node in reversed(tree.items()):
        if node.kind != "h":
            dress(os.path.join(root, path) if path else root, node)


def dress(where: str, node: Node) -> None:
    """Owner, mode, attributes and time of a node."""
    os.chown(where, node.uid, node.gid, follow_symlinks=False)
    if node.kind != "l":
        os.chmod(where, node.mode)
    for key, value in node.xattrs:
        os.setxattr(where, key, value, follow_symlinks=False)
    os.utime(where, ns=(node.mtime, node.mtime), follow_symlinks=False)


def describe(root: str, *, times: bool = True) -> dict[str, Any]:
    """Everything about a tree that a layer keeps. Paths are relative, the root is "."."""
    found: dict[str, Any] = {}
    links: dict[int, str] = {}
    for directory, names, files in sorted(os.walk(root, onerror=_raise)):
        names.sort()
        for name in [".", *sorted([*names, *files])] if directory == root else sorted([*names, *files]):
            where = os.path.normpath(os.path.join(directory, name))
            found[os.path.relpath(where, root)] = _describe(where, links, root, times=times)
    return dict(sorted(found.items()))


def _describe(where: str, links: dict[int, str], root: str, *, times: bool) -> dict[str, Any]:
    info = os.lstat(where)
    value: dict[str, Any] = {"mode": oct(info.st_mode), "owner": (info.st_uid, info.st_gid)}
    if times:
        value["mtime"] = info.st_mtime_ns
    value["xattrs"] = {
        key: os.getxattr(where, key, follow_symlinks=False)
        for key in sorted(os.listxattr(where, follow_symlinks=False)) if not key.startswith("trusted.overlay.")
    }  # fmt: skip
    if stat.S_ISREG(info.st_mode):
        with open(where, "rb") as file:
            value["content"] = file.read()
    elif stat.S_ISLNK(info.st_mode):
        value["target"] = os.readlink(where)
    elif stat.S_ISCHR(info.st_mode):
        value["device"] = info.st_rdev
    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
        value["same as"] = links.setdefault(info.st_ino, os.path.relpath(where, root))
    return value


def _raise(error: OSError) -> None:
    raise error
