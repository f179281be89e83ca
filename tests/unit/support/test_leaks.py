"""The guard that fails a test which leaves something behind."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support import leaks as guard
from tests.support.project import Outcome, Project


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_PATIENCE", 0.1)


def test_a_clean_test_leaves_nothing(tmp_path: Path) -> None:
    before = guard.Snapshot.take()
    assert guard.leaks(before) == ""


def test_what_a_test_forgets_is_found(tmp_path: Path) -> None:
    before = guard.Snapshot.take()
    os.environ["ENVKIT_FORGOTTEN"] = "1"
    os.chdir(tmp_path)
    mask = os.umask(0o077)
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="forgotten")
    thread.start()
    try:
        found = guard.leaks(before)
    finally:
        release.set()
        thread.join()
        before.restore()
        os.umask(mask)
    assert found.splitlines() == [
        "  environment variables: ENVKIT_FORGOTTEN", f"  the current directory: {tmp_path}", "  the umask: 077",
        "  threads: forgotten",
    ]  # fmt: skip
    assert "ENVKIT_FORGOTTEN" not in os.environ


@pytest.mark.root
def test_a_process_that_works_below_the_directory_is_found(tmp_path: Path) -> None:
    base = str(tmp_path)
    before = guard.Snapshot.take(base)
    child = subprocess.Popen(["sleep", "30"], cwd=tmp_path, start_new_session=True)
    try:
        assert f"{child.pid} (sleep 30)" in guard.leaks(before, base)
    finally:
        child.kill()
        child.wait(5)
    assert guard.leaks(before, base) == ""


def test_a_project_runs_commands_in_its_own_directory(tmp_path: Any) -> None:
    project = Project(tmp_path, {"deep/envkit.yaml": "\n  name: shop\n"})
    assert (tmp_path / "project/deep/envkit.yaml").read_text() == "name: shop\n"
    outcome = project.run("--version").assert_success().assert_text("envkit")
    assert outcome.directory == str(tmp_path / "project")
    project.run("plan").assert_failure()


def test_a_failed_expectation_shows_the_whole_command() -> None:
    outcome = Outcome(("plan", "--json"), "/srv", 1, "out\n", "err\n")
    with pytest.raises(AssertionError, match="exit code 1, expected 0") as caught:
        outcome.assert_success()
    assert "$ cd /srv\n$ envkit plan --json\nexit code: 1\nstdout:\n  out\n" in str(caught.value)
    with pytest.raises(AssertionError, match="'nothing' was not said"):
        outcome.assert_text("nothing")
