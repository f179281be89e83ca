"""Killed at any moment: what runs goes on, the next `envkit apply` converges, volumes are intact, nothing is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from envkit.host.home import Home
from envkit.host.neighbours import prefix
from tests.support.boxes import LOOP
from tests.support.project import Project

pytestmark = pytest.mark.root

MANY = f"""
name: kills
x-box: &box
  image: "box:1"
  command: [/bin/sh, -c, {LOOP!r}]
  stop_grace_period: 1s
services:
  db:
    <<: *box
    volumes: ["data:/data", "/anonymous"]
    healthcheck: {{test: [CMD, test, -d, /data], interval: 200ms}}
  cache: {{<<: *box, tmpfs: [/tmp], secrets: [token]}}
  web:
    <<: *box
    ports: ["18491:80"]
    environment: {{ROUND: "${{ROUND:-0}}"}}
    depends_on: {{db: {{condition: service_healthy}}, cache: {{condition: service_started}}}}
    deploy: {{replicas: 3}}
    networks: [default, back]
  writer: {{<<: *box, read_only: false, networks: [back]}}
networks: {{default: {{}}, back: {{internal: true}}}}
volumes: {{data: {{}}}}
secrets: {{token: {{file: ./token}}}}
"""
FILES = {"envkit.yaml": MANY.replace('ports: ["18491:80"]', 'ports: ["18491-18493:80"]'), "token": "very-secret"}
SERVICES = {"db", "cache", "web", "writer"}


def rows(project: Project):
    return project.run("ps", "--json").assert_success().json


def settled(project: Project, **variables: str) -> None:
    """Everything runs, and a second plan is empty."""
    assert {row["service"] for row in rows(project)} == SERVICES
    assert all(row["state"] == "running" for row in rows(project)), rows(project)
    project.run("plan", "--expect-no-changes", variables=variables).assert_success()


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def started(project: Project, *words: str, **variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "envkit.cli.main", *words], cwd=project.directory, env=project.environ(variables),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_apply_killed_at_any_moment(project, home):
    """Fifteen times, some on the way up, some while services are replaced, some on the way down."""
    there = project(FILES)
    chance = random.Random(4)
    there.run("apply").assert_success()
    there.run("exec", "db", "sh", "-c", "echo precious > /data/kept").assert_success()
    for number in range(15):
        turn = {"ROUND": str(number)}
        word = ("apply", "apply", "down")[number % 3]
        process = started(there, word, **turn)
        time.sleep(chance.uniform(0.02, 0.7))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if number % 2:
            there.run("apply", variables=turn).assert_success()
            settled(there, **turn)
            assert there.run("exec", "db", "cat", "/data/kept").assert_success().stdout == "precious\n"
    there.run("apply", variables=turn).assert_success()
    settled(there, **turn)
    assert there.run("exec", "db", "cat", "/data/kept").stdout == "precious\n"
    there.run("down").assert_success()
    assert [row["name"] for row in there.run("volume", "ls", "--json").json if row["key"]] == ["kills_data"]
    assert os.listdir(f"{home}/environments") == []
    there.run("down", "--volumes", "--yes").assert_success()
    assert there.run("volume", "ls", "--json").json == []


def monitor_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def supervisor_of(home: str, environment: str) -> int:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except FileNotFoundError:
            continue
        if home.encode() in words and environment.encode() in words and any(b"supervis" in word for word in words):
            found.append(int(name))
    return found[0] if found else 0


def test_the_monitor_is_killed(project):
    there = project(FILES)
    there.run("apply").assert_success()
    pid = next(row["pid"] for row in rows(there) if row["service"] == "cache")
    monitor = monitor_of(pid)
    with open(f"/proc/{monitor}/comm", encoding="ascii") as file:
        assert file.read() == "conmon\n"
    os.kill(monitor, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    def mended():
        there.run("apply").assert_success()
        return all(row["state"] == "running" for row in rows(there))

    wait_for(mended)
    settled(there)
    there.run("down", "-v", "--yes").assert_success()


def test_the_supervisor_is_killed(project, home):
    there = project(FILES)
    there.run("apply").assert_success()
    first = supervisor_of(home, "kills")
    assert first
    os.kill(first, signal.SIGKILL)
    pid = next(row["pid"] for row in rows(there) if row["service"] == "writer")
    os.kill(pid, signal.SIGKILL)
    there.run("apply").assert_success()
    assert supervisor_of(home, "kills") not in (0, first)
    settled(there)
    there.run("down", "-v", "--yes").assert_success()
    wait_for(lambda: supervisor_of(home, "kills") == 0)


def test_a_container_is_killed_stopped_removed_and_its_parts_vanish(project):
    """What plan sees and apply mends, one after the other."""
    there = project(FILES)
    there.run("apply").assert_success()
    there.run("stop", "cache").assert_success()
    there.run("plan").assert_text("service.cache", "stopped")
    there.run("apply").assert_success()
    settled(there)
    ours = prefix(Home(there.home))
    bridge = next(name for name in os.listdir("/sys/class/net") if name.startswith(ours) and _is_bridge(name))
    subprocess.run(["ip", "link", "delete", bridge], check=True)
    there.run("plan", "--expect-no-changes").assert_code(1).assert_text("network.")
    there.run("apply").assert_success()
    settled(there)
    there.run("down", "-v", "--yes").assert_success()


def _is_bridge(name: str) -> bool:
    return os.path.isdir(f"/sys/class/net/{name}/bridge")
