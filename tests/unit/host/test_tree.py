"""envkit.host.tree and ignore: Docker's patterns, one digest per tree on every machine."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.errors import HostError
from envkit.host import tree
from envkit.host.ignore import Ignore
from envkit.host.tree import StatCache, digest_tree, tree_size, walk

# patterns, path, left out?  (Docker documentation, .dockerignore; filepath.Match)
CASES = [
    (["*.md"], "README.md", True),
    (["*.md"], "docs/README.md", False),
    (["**/*.md"], "docs/deep/README.md", True),
    (["**/*.md"], "README.md", True),
    (["*/temp*"], "somedir/temporary.txt", True),
    (["*/temp*"], "somedir/temp", True),
    (["*/temp*"], "temp", False),
    (["*/*/temp*"], "somedir/subdir/temporary.txt", True),
    (["temp?"], "tempa", True),
    (["temp?"], "temp", False),
    (["temp?"], "temp/", False),
    (["node_modules"], "node_modules/a/b.js", True),
    (["node_modules"], "web/node_modules/a.js", False),
    (["**/node_modules"], "web/node_modules/a.js", True),
    (["/foo"], "foo", True),
    (["/foo"], "sub/foo", False),
    (["foo/"], "foo", True),
    (["foo/"], "foo/bar", True),
    (["./foo"], "foo", True),
    (["foo/../bar"], "bar", True),
    (["foo//bar"], "foo/bar", True),
    (["*"], "anything/at/all", True),
    (["*", "!keep"], "keep", False),
    (["*", "!keep"], "keep/below", False),
    (["*", "!keep/this"], "keep/this/x", False),
    (["*", "!keep/this"], "keep/that", True),
    (["*.md", "!README.md"], "README.md", False),
    (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
    (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
    (["!README.md", "*.md"], "README.md", True),
    (["**"], "a/b", True),
    (["a/**"], "a/b/c", True),
    (["a/**"], "a", False),
    (["a/**/z"], "a/z", True),
    (["a/**/z"], "a/b/c/z", True),
    (["a/**/z"], "a/bz", False),
    (["a**z"], "az", True),
    (["a**z"], "ab/z", True),
    (["**/a"], "xa", False),
    (["a.b"], "axb", False),
    (["[ab].txt"], "a.txt", True),
    (["[^ab].txt"], "a.txt", False),
    (["[^ab].txt"], "c.txt", True),
    (["[a-c]x"], "bx", True),
    (["x[^a]y"], "x/y", False),
    ([r"a\*b"], "a*b", True),
    ([r"a\*b"], "axb", False),
    (["a+(b)$"], "a+(b)$", True),
    (["  spaced  "], "spaced", True),
    (["! keep", "*"], "keep", True),
    (["*", "! keep"], "keep", False),
    (["."], "anything", False),
    (["..", "../x"], "x", False),
    (["foo\n"], "foo", True),
    (["a\nb"], "ab", False),
    ([], "foo", False),
    (["", "   "], "foo", False),
]


@pytest.mark.parametrize(("patterns", "path", "expected"), CASES)
def test_pattern(patterns, path, expected):
    assert Ignore(patterns).matches(path) is expected


def test_file_has_comments_and_a_byte_order_mark(tmp_path):
    path = tmp_path / ".dockerignore"
    path.write_bytes("\ufeff*.log\n# *.txt\n #odd\n\n!keep.log\r\n".encode())
    ignore = Ignore.from_file(str(path))
    assert ignore.patterns == ("*.log", "#odd", "!keep.log")
    assert ignore.matches("x.log")
    assert not ignore.matches("keep.log")
    assert not Ignore.from_file(str(tmp_path / "absent"))
    assert Ignore.of_directory(str(tmp_path)).patterns == ignore.patterns
    (tmp_path / ".envkitignore").write_text("own")
    assert Ignore.of_directory(str(tmp_path)).patterns == ("own",)


@pytest.mark.parametrize("bad", ["!", "!  ", "[", "[]", "a[b", "[^"])
def test_bad_pattern_is_named(bad):
    with pytest.raises(HostError, match="ignore pattern"):
        Ignore([bad])


SEGMENT = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "!a"])
PATH = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join)


@given(st.lists(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), max_size=5), PATH, PATH)
def test_a_pruned_directory_has_nothing_to_offer(patterns, directory, below):
    ignore = Ignore(patterns)
    if ignore.prunes(directory):
        assert ignore.matches(f"{directory}/{below}")


def make(root):
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_text("content")
    (root / "run.sh").write_text("#!/bin/sh")
    os.chmod(root / "run.sh", 0o755)
    (root / "link").symlink_to("sub/file")
    (root / "B").write_text("")
    (root / "a").write_text("")
    return str(root)


def test_digest_is_of_names_modes_targets_and_contents_only(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    os.utime(two + "/sub/file", (1, 1))
    first = digest_tree(one)
    assert digest_tree(two) == first
    os.symlink(one, tmp_path / "alias")
    assert digest_tree(str(tmp_path / "alias")) == first
    changes = [
        lambda: (tmp_path / "two" / "sub" / "file").write_text("other"),
        lambda: os.chmod(two + "/run.sh", 0o644),
        lambda: os.rename(two + "/a", two + "/c"),
        lambda: (os.unlink(two + "/link"), os.symlink("elsewhere", two + "/link")),
        lambda: os.mkdir(two + "/empty"),
    ]
    seen = {first}
    for change in changes:
        change()
        digest = digest_tree(two)
        assert digest not in seen
        seen.add(digest)


@pytest.mark.root
def test_owners_count_only_when_asked(tmp_path):
    path = make(tmp_path / "one")
    plain, owned = digest_tree(path), digest_tree(path, owners=True)
    os.chown(path + "/a", 33, 33)
    assert digest_tree(path) == plain
    assert digest_tree(path, owners=True) != owned


def test_walk_order_and_ignore(tmp_path):
    path = make(tmp_path / "one")
    assert [entry.path for entry in walk(path)] == ["", "B", "a", "link", "run.sh", "sub", "sub/file"]
    ignore = Ignore(["sub", "*.sh", "!sub/file"])
    kinds = [(entry.path, entry.kind) for entry in walk(path, ignore)]
    assert kinds[-2:] == [("link", "symlink"), ("sub/file", "file")]
    digest = digest_tree(path, ignore)
    (tmp_path / "one" / "x.sh").write_text("left out")
    assert digest_tree(path, ignore) == digest
    assert [entry.path for entry in walk(path + "/a")] == [""]
    assert digest_tree(path + "/a") != digest_tree(path + "/run.sh")


def test_stat_cache_spares_reading_and_distrusts_the_young(tmp_path, monkeypatch):
    path = make(tmp_path / "one")
    read = []
    original = tree._digest_file
    monkeypatch.setattr(tree, "_digest_file", lambda path, key: read.append(path) or original(path, key))
    file = str(tmp_path / "cache.json")
    first = digest_tree(path, cache=StatCache(file))
    digest_tree(path, cache=StatCache(file))
    assert len(read) == 8  # younger than two seconds: read again
    now = time.time_ns()
    monkeypatch.setattr(tree.time, "time_ns", lambda: now + 10_000_000_000)
    assert digest_tree(path, cache=StatCache(file)) == first
    read.clear()
    assert digest_tree(path, cache=StatCache(file)) == first
    assert read == []
    (tmp_path / "one" / "a").write_text("x")
    os.utime(path + "/a", ns=(1, 1))
    assert digest_tree(path, cache=StatCache(file)) != first
    assert [os.path.basename(name) for name in read] == ["a"]


def test_size_counts_hard_links_once(tmp_path):
    assert tree_size(str(tmp_path / "absent")) == 0
    (tmp_path / "t").mkdir()
    empty = tree_size(str(tmp_path / "t"))
    (tmp_path / "t" / "big").write_bytes(b"x" * 100_000)
    once = tree_size(str(tmp_path / "t"))
    os.link(tmp_path / "t" / "big", tmp_path / "t" / "twin")
    assert tree_size(str(tmp_path / "t")) == once >= empty + 100_000
