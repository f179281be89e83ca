"""Two commands at one environment at the same time: one order of events, no hang, no corruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.project import Project

pytestmark = [pytest.mark.root, pytest.mark.long]

ROUNDS = int(os.environ.get("ENVKIT_ROUNDS", "20"))
FILES = {"envkit.yaml": """
    name: twice
    services:
      web:
        image: box:1
        command: [sleep, inf]
        stop_signal: SIGKILL
        environment: {ROUND: "${ROUND:-0}"}
        volumes: ["data:/data"]
    volumes: {data: {}}
    """}


def begun(there: Project, *words: str, turn: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "envkit.cli.main", *words], cwd=there.directory,
        env=there.environ({"ROUND": str(turn)}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def entries(there: Project) -> list[dict[str, object]]:
    path = os.path.join(there.home, "environments", "twice", "journal.jsonl")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_two_at_once(project):
    """Even rounds: apply and apply; odd ones: apply and down. Whoever comes second finds what the first has left."""
    there = project(FILES)
    there.run("apply").assert_success()
    kept = os.path.join(there.home, "volumes", "twice_data", "data", "kept")
    with open(kept, "w", encoding="utf-8") as file:
        file.write("precious")
    for number in range(ROUNDS):
        pair = [begun(there, "apply", turn=number), begun(there, ("apply", "down")[number % 2], turn=number)]
        for process in pair:
            ended(process)
        rows = there.run("ps", "--json").assert_success().json
        if number % 2 == 0:
            assert [row["state"] for row in rows] == ["running"]
        else:
            assert [row["state"] for row in rows] in ([], ["running"])  # apply last, or down last
        numbers = [entry["generation"] for entry in entries(there)]
        assert numbers == sorted(set(numbers))
        with open(kept, encoding="utf-8") as file:
            assert file.read() == "precious"
    there.run("apply", variables={"ROUND": "last"}).assert_success()
    there.run("plan", "--expect-no-changes", variables={"ROUND": "last"}).assert_success()
