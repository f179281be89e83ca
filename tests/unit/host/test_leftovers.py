"""envkit.host.leftovers: only what a dead process left. envkit.host.faults: effects are counted, one of them fails."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envkit.host import leftovers
from envkit.host.faults import WIDTH

DEAD = 4_194_305  # above every pid_max


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        (f".record.json.{DEAD}.0123abcd", True), (f"{DEAD}.0123456789ab", True), (f".a.b.{DEAD}.0123abcd", True),
        (".record.json.1.0123abcd", False), (f"record.json.{DEAD}.0123abcd", False),
        (f".record.json.{DEAD}.notahexx", False), (f".{DEAD}", False), ("record.json", False), (".x", False),
    ],
)  # fmt: skip
def test_what_a_dead_process_left_goes(tmp_path: object, name: str, goes: bool) -> None:
    path = os.path.join(str(tmp_path), name)
    with open(path, "wb"):
        leftovers.sweep([str(tmp_path), "/nonexistent"])
    assert os.path.exists(path) is not goes


SCRIPT = """
import os, sys
from envkit.host.files import write_atomic
for name in ("one", "two"):
    write_atomic(os.path.join(sys.argv[1], name), name.encode())
"""


def run(tmp_path: object, **variables: str) -> tuple[int, str, list[str]]:
    """(exit code, stderr, effects) of a process that writes two files."""
    place = os.path.join(str(tmp_path), "effects")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "ENVKIT_FAULTS": place, **variables},
    )  # fmt: skip
    with open(place, "rb") as file:
        data = file.read()
    os.unlink(place)
    effects = [data[at : at + WIDTH].split()[0].decode() for at in range(0, len(data), WIDTH)]
    return done.returncode, done.stderr, effects


def test_effects_are_counted_and_one_fails(tmp_path: object) -> None:
    one = ["open", "os.chmod", "fsync", "write_atomic.rename", "os.rename"]
    assert run(tmp_path)[2] == one * 2
    code, said, effects = run(tmp_path, ENVKIT_FAULT_AT="7")
    assert (code, said, effects) == (-9, "", one + one[:2])
    code, said, effects = run(tmp_path, ENVKIT_FAULT_AT="8", ENVKIT_FAULT="ENOSPC")
    assert code == 1 and "No space left" in said and effects == [*one, *one[:3], "os.remove"]
    assert [name for name in os.listdir(str(tmp_path)) if name.startswith(".two")][1:] == []
