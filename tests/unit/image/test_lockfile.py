"""envkit.image.lockfile: read, obeyed, brought up to date, frozen."""

from __future__ import annotations

import pytest

from envkit.errors import ConflictError, EnvkitError
from envkit.image.lockfile import Lockfile, of_project


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "envkit.lock")


def filled(path, **options):
    lock = Lockfile.read(path, **options)
    lock.record_versions("bookworm/amd64", {"nginx": "1.22", "libc6": "2.36"})
    lock.record("archives", "https://host/x.tgz", "ab")
    return lock


def test_written_once_and_read_back(path):
    lock = filled(path)
    assert lock.write()
    assert not lock.write(), "nothing changed"
    again = Lockfile.read(path)
    assert again.versions("bookworm/amd64") == {"libc6": "2.36", "nginx": "1.22"}
    assert again.encode() == lock.encode()
    assert not filled(path).changed


def test_it_reads_well(path):
    filled(path).write()
    with open(path) as file:
        assert file.read().splitlines()[:6] == [
            "{", ' "archives": {', '  "https://host/x.tgz": "ab"', " },", ' "debian": {', '  "bookworm/amd64": {',
        ]  # fmt: skip


def test_agreement(path):
    lock = filled(path)
    assert lock.agrees("bookworm/amd64", {"nginx": "1.22", "new": "1"})
    assert not lock.agrees("bookworm/amd64", {"nginx": "1.23"})
    assert lock.agrees("trixie/amd64", {"nginx": "9"})
    assert lock.accepts("pip", "name", {"x": 1})
    lock.record("pip", "name", {"packages": {"x": 1}})
    assert lock.accepts("pip", "name", {"x": 1})
    assert not lock.accepts("pip", "name", {"x": 2})


def test_refresh_obeys_nothing_and_keeps_what_is_used(path):
    filled(path).write()
    lock = Lockfile.read(path, refresh=True)
    assert lock.versions("bookworm/amd64") == {}
    assert lock.get("archives", "https://host/x.tgz") is None
    assert not lock.agrees("bookworm/amd64", {"nginx": "1.22"})
    lock.record_versions("bookworm/amd64", {"nginx": "1.23"})
    assert lock.agrees("bookworm/amd64", {"nginx": "1.23"}), "what this run has resolved holds for the whole run"
    assert not lock.agrees("bookworm/amd64", {"nginx": "1.23", "libc6": "2.36"})
    lock.prune()
    lock.write()
    assert Lockfile.read(path).versions("bookworm/amd64") == {"nginx": "1.23"}
    assert Lockfile.read(path).get("archives", "https://host/x.tgz") is None


def test_frozen_accepts_what_is_in_it_and_refuses_the_rest(path):
    filled(path).write()
    lock = filled(path, frozen=True)
    for record in (
        lambda: lock.record_versions("bookworm/amd64", {"nginx": "1.23"}),
        lambda: lock.record_versions("bookworm/amd64", {"new": "1"}),
        lambda: lock.record("archives", "https://host/x.tgz", "cd"),
        lambda: lock.record("pip", "x", {}),
    ):
        with pytest.raises(ConflictError, match="frozen") as caught:
            record()
        assert "envkit lock" in caught.value.hint
    assert not lock.changed


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1, "debian": []}', '{"version": 2}', "{}"])
def test_a_damaged_lock_is_an_error_that_says_what_to_do(path, text):
    with open(path, "w") as file:
        file.write(text)
    with pytest.raises(EnvkitError) as caught:
        Lockfile.read(path)
    assert path in caught.value.detail
    assert caught.value.hint


def test_all_builds_of_a_process_share_the_project_lock(tmp_path):
    assert of_project(str(tmp_path)) is of_project(str(tmp_path) + "/")
    assert not (tmp_path / "envkit.lock").exists(), "reading writes nothing"
