"""Watching without a container: what counts as a change, what is left out, and what hints become."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent

from envkit.reconcile.watch.contents import Changes, Contents
from envkit.reconcile.watch.hints import Follower, Hints, Queue, places, quiet
from envkit.reconcile.watch.rules import Filter, Rule, is_passing, mirrored
from envkit.reconcile.watch.sight import Sight
from envkit.reconcile.watch.watched import Tree, Watched
from tests.support.environments import environment, resource
from tests.support.watching import churn, tree


@pytest.fixture
def top(tmp_path: object) -> str:
    path = f"{tmp_path}/top"
    os.mkdir(path)
    return path


def write(path: str, content: str = "x", mode: int = 0o644) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    os.chmod(path, mode)


def looked(path: str) -> Contents:
    contents = Contents(path)
    contents.look()
    return contents


# -- content decides


def test_what_is_written_as_it_was_is_no_change(top: str) -> None:
    write(f"{top}/a", "one")
    contents = looked(top)
    os.utime(f"{top}/a", (1, 1))
    assert not contents.look_at(["a"])
    write(f"{top}/a", "one")
    assert not contents.look()
    write(f"{top}/.a.swp", "one")
    os.rename(f"{top}/.a.swp", f"{top}/a")  # as editors save
    assert not contents.look_at(["a", ".a.swp"])


def test_a_change_within_one_tick_of_the_clock_is_seen(top: str) -> None:
    write(f"{top}/a", "one")
    info = os.stat(f"{top}/a")
    contents = looked(top)
    with open(f"{top}/a", "r+", encoding="utf-8") as file:
        file.write("two")
    os.utime(f"{top}/a", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert contents.look() == Changes(("a",))


def test_modes_links_and_kinds(top: str) -> None:
    write(f"{top}/a")
    os.symlink("a", f"{top}/link")
    os.makedirs(f"{top}/d/e")
    write(f"{top}/d/e/f")
    contents = looked(top)
    os.chmod(f"{top}/a", 0o755)
    os.unlink(f"{top}/link")
    os.symlink("d", f"{top}/link")
    shutil.rmtree(f"{top}/d")
    write(f"{top}/d")
    assert contents.look_at(["a", "link", "d"]) == Changes(("a", "d", "link"), ("d",))
    assert not contents.look()


def test_a_directory_that_goes_is_one_removal(top: str) -> None:
    for name in ("d/a", "d/e/b", "d-e", "other"):
        write(f"{top}/{name}")
    contents = looked(top)
    shutil.rmtree(f"{top}/d")
    assert contents.look_at(["d"]) == Changes((), ("d",))
    shutil.rmtree(top)
    assert contents.look_at([""]) == Changes((), ("d-e", "other"))
    assert len(contents) == 0


def test_a_single_file(top: str) -> None:
    write(f"{top}/a", "one")
    contents = looked(f"{top}/a")
    write(f"{top}/a", "two")
    assert contents.look_at([""]) == Changes(("",))
    os.unlink(f"{top}/a")
    assert contents.look_at([""]) == Changes((), ("",))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000))
def test_changes_made_on_a_copy_make_it_the_original(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    base = str(tmp_path_factory.mktemp("law"))
    source, copy = f"{base}/source", f"{base}/copy"
    os.mkdir(source)
    churn(source, 0.05, seed)
    shutil.copytree(source, copy, symlinks=True)
    contents = looked(source)
    churn(source, 0.1, seed + 1)
    changes = contents.look()
    for path in changes.removed:
        full = f"{copy}/{path}"
        shutil.rmtree(full) if os.path.isdir(full) and not os.path.islink(full) else os.unlink(full)
    for path in changes.changed:
        _copy(f"{source}/{path}", f"{copy}/{path}")
    assert tree(source) == tree(copy)
    assert not contents.look()


def _copy(source: str, copy: str) -> None:
    if os.path.islink(source):
        if os.path.lexists(copy):
            os.unlink(copy)
        os.symlink(os.readlink(source), copy)
    elif os.path.isdir(source):
        os.makedirs(copy, exist_ok=True)
        shutil.copymode(source, copy)
    else:
        if os.path.islink(copy):
            os.unlink(copy)
        shutil.copy(source, copy)


# -- what counts


@pytest.mark.parametrize("path", [
    ".git/index", "a/.git", ".x.swp", "src/.x.swx", "x~", "4913", ".#x", "#x#", "a.py___jb_tmp___",
    ".goutputstream-AB12", ".idea/workspace.xml",
])  # fmt: skip
def test_what_editors_leave_for_a_moment_does_not_count(path: str) -> None:
    assert is_passing(path)


@pytest.mark.parametrize("path", ["x", ".gitignore", "a/.github/x", "swp", ".env", "x~y", "sub/49130"])
def test_other_names_count(path: str) -> None:
    assert not is_passing(path)


def test_patterns_of_a_rule(top: str) -> None:
    write(f"{top}/.dockerignore", "src/gen\n")
    rule = Rule("web", 0, f"{top}/src", "sync", "/app", ignore=("node_modules/", "*.log"), context=top)
    counts = Filter(rule).counts
    found = [path for path in ("a", "node_modules/x", "x.log", "sub/x.log", "gen/x") if counts(path, False)]
    assert found == ["a", "sub/x.log"]
    only = Filter(Rule("web", 0, f"{top}/src", "sync", "/app", include=("**/*.py",)))
    assert only.counts("d/a.py", False) and not only.counts("d/a.js", False) and not only.counts("d", True)
    assert only.enters("d")


def test_where_a_file_goes() -> None:
    assert Rule("w", 0, "/p/src", "sync", "/app").place == ("/app", "")
    assert Rule("w", 0, "/p/a.conf", "sync", "/etc/b.conf", is_file=True).place == ("/etc", "b.conf")
    assert Rule("w", 0, "/p/a.conf", "sync", "/etc/", is_file=True).place == ("/etc/", "a.conf")


def test_a_bind_of_the_watched_path_is_not_synced(top: str) -> None:
    def found(source: str, target: str, kind: str = "bind") -> str:
        mounts = [{"type": kind, "source": source, "target": target}]
        env = environment(resource("service.web", {"image": "x", "mounts": mounts}))
        return mirrored(Rule("web", 0, top, "sync", "/app/src"), env)

    assert found(top, "/app/src") == top
    assert found(os.path.dirname(top), "/app") == ""  # /app/src is another directory of the host
    os.mkdir(f"{top}/src")
    assert found(top, "/app") == f"{top}/src"  # below the watched path: it would copy its own copies
    assert found(f"{top}/elsewhere/../../other", "/app/src") == ""
    assert found("data", "/app/src", "volume") == ""


# -- from hints to differences


def sight(watched: Watched, digests: dict[object, str], now: dict[object, str]) -> Sight:
    made = Sight(now.get)  # type: ignore[arg-type]
    made.watch(watched, digests, {"web": tuple(digests)})  # type: ignore[arg-type]
    return made


def test_files_and_the_directories_that_they_are_in(top: str) -> None:
    write(f"{top}/d/envkit.yaml", "one")
    file, absent = f"{top}/d/envkit.yaml", f"{top}/d/.env"
    seen = sight(Watched(frozenset({file, absent}), (), ()), {}, {})
    assert not seen.look(Hints(frozenset({file})))
    write(file, "two")
    assert seen.look(Hints(frozenset({file}))).files == [file]
    os.rename(f"{top}/d", f"{top}/e")
    assert seen.look(Hints(frozenset({f"{top}/d"}))).files == [file]
    os.rename(f"{top}/e", f"{top}/d")
    write(absent)
    assert sorted(seen.look(Hints(everywhere=True)).files) == [absent, file]


def test_build_inputs_and_the_part_that_is_synced(top: str) -> None:
    write(f"{top}/src/a")
    write(f"{top}/Makefile")
    asked = (top, "", (), "", False)
    rule = Rule("web", 0, f"{top}/src", "sync", "/app")
    watched = Watched(frozenset(), (Tree(top, asked, (f"{top}/src",)),), (rule,))
    now: dict[object, str] = {asked: "old"}
    seen = sight(watched, {asked: "old"}, now)
    now[asked] = "new"
    write(f"{top}/src/a", "y")
    found = seen.look(Hints(frozenset({f"{top}/src/a"})))
    assert not found.digests and found.changes == {rule: Changes(("a",))}
    assert not seen.look(Hints(everywhere=True)).digests
    write(f"{top}/Makefile", "y")
    assert seen.look(Hints(frozenset({f"{top}/Makefile"}))).digests == {asked: "new"}
    write(f"{top}/.git/index", "y")
    assert not seen.look(Hints(frozenset({f"{top}/.git/index"})))


def test_a_rebuild_rule_counts_all_the_same(top: str) -> None:
    write(f"{top}/src/a")
    asked = (top, "", (), "", False)
    rules = (Rule("web", 0, f"{top}/src", "sync", "/app"), Rule("web", 1, f"{top}/src/a", "rebuild", is_file=True))
    now: dict[object, str] = {asked: "new"}
    seen = sight(Watched(frozenset(), (Tree(top, asked, (f"{top}/src",)),), rules), {asked: "old"}, now)
    write(f"{top}/src/a", "y")
    assert seen.look(Hints(frozenset({f"{top}/src/a"}))).digests == {asked: "new"}


def test_what_a_new_instance_lacks(top: str) -> None:
    for name in ("kept", "edited", "gone"):
        write(f"{top}/{name}")
    rule = Rule("web", 0, top, "sync", "/app")
    seen = sight(Watched(frozenset(), (), (rule,)), {}, {})
    write(f"{top}/edited", "y")
    write(f"{top}/new", "y")
    os.unlink(f"{top}/gone")
    seen.look(Hints(everywhere=True))
    assert seen.since(rule) == Changes(("edited", "new"), ("gone",))
    assert seen.all_of(rule) == Changes(("", "edited", "kept", "new"), ("gone",))


# -- hints


def test_many_hints_are_taken_together() -> None:
    hints = Queue()
    assert not hints.take(0.01, quiet)
    threads = [threading.Thread(target=hints.put, args=(f"/p/{number}",)) for number in range(50)]
    for thread in threads:
        thread.start()
    taken = hints.take(5, quiet)
    for thread in threads:
        thread.join()
    assert len(taken.paths | hints.take(0.05, quiet).paths) == 50
    hints.overflow()
    assert hints.take(1, quiet) == Hints(everywhere=True)
    hints.wake("stop")
    assert hints.take(1, quiet).others == {"stop"}


def test_a_few_wait_little_and_many_longer_and_none_for_ever() -> None:
    assert quiet(1, 0.0) < 0.02 < quiet(1000, 0.0) <= 0.2
    assert quiet(1000, 6.0) == quiet(3, 1.5) == 0.0


def test_which_directories_are_watched(top: str) -> None:
    os.makedirs(f"{top}/src/deep")
    write(f"{top}/conf/a")
    found = places([f"{top}/src", f"{top}/src/deep", f"{top}/absent/tree"], [f"{top}/conf/a", f"{top}/none/x/y"])
    assert found == {(f"{top}/src", True), (top, False), (f"{top}/conf", False)}


@pytest.fixture
def followed() -> Iterator[tuple[Queue, Follower]]:
    hints = Queue()
    follower = Follower(hints)
    yield hints, follower
    follower.close()


def _until(hints: Queue, path: str) -> Hints:
    for _ in range(100):
        taken = hints.take(0.2, quiet)
        if path in taken.paths or taken.everywhere:
            return taken
    raise AssertionError(f"no hint of {path}")


def test_hints_of_watchdog(top: str, followed: tuple[Queue, Follower]) -> None:
    hints, follower = followed
    os.mkdir(f"{top}/src")
    assert follower.follow([f"{top}/src"], [f"{top}/x.yaml"]) == [top, f"{top}/src"]
    assert follower.follow([f"{top}/src"], [f"{top}/x.yaml"]) == []
    write(f"{top}/src/new/deep/a")
    _until(hints, f"{top}/src/new/deep/a")
    with open(f"{top}/src/new/deep/a", encoding="utf-8") as file:
        file.read()
    assert not hints.take(0.1, quiet), "reading is no hint"
    os.rename(f"{top}/src/new", f"{top}/away")
    _until(hints, f"{top}/src/new")
    write(f"{top}/x.yaml.tmp")
    os.rename(f"{top}/x.yaml.tmp", f"{top}/x.yaml")
    _until(hints, f"{top}/x.yaml")


def test_a_tree_that_goes_and_comes_back_is_watched_anew(top: str, followed: tuple[Queue, Follower]) -> None:
    hints, follower = followed
    os.mkdir(f"{top}/src")
    follower.follow([f"{top}/src"], [])
    shutil.rmtree(f"{top}/src")
    _until(hints, f"{top}/src")
    follower.follow([f"{top}/src"], [])
    os.mkdir(f"{top}/src")
    _until(hints, f"{top}/src")
    assert follower.follow([f"{top}/src"], []) == [f"{top}/src"]
    write(f"{top}/src/a")
    _until(hints, f"{top}/src/a")


def test_lost_events_are_a_look_everywhere(top: str, followed: tuple[Queue, Follower]) -> None:
    hints, follower = followed
    os.mkdir(f"{top}/src")
    follower.follow([f"{top}/src"], [])
    for _ in range(100):  # the emitter's thread may still be putting its watch in place
        follower._observer.descriptor.handle_event(InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b""))  # type: ignore[arg-type]
        if hints.take(0.1, quiet).everywhere:
            break
    else:
        raise AssertionError("nobody was told")
    write(f"{top}/src/after")
    _until(hints, f"{top}/src/after")
