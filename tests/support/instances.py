"""Real instances of the embedded backend for tests: a stage that must be empty in the end, commands in an instance."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import subprocess
import time

from envkit.backend.embedded import record as records
from envkit.backend.embedded.runtime import runtime_of
from envkit.backend.embedded.session import engine_of
from envkit.host import mounts, proc
from envkit.host.home import Home
from tests.support.stage import Stage, service


@contextlib.contextmanager
def staged(tmp_path, name="stage"):
    """A Stage with a busybox image; afterwards nothing of it may be left."""
    stage = Stage(Home(str(tmp_path / "home")), name)
    stage.image()
    try:
        yield stage
    finally:
        names = stage.backend.instances(stage.name)
        if names:
            with contextlib.suppress(Exception):
                stage.down(stage.environment({}), timeout=0)
        with contextlib.suppress(Exception):
            engine_of(stage.home).release()
        for path in glob.glob(f"/sys/fs/cgroup/pids/envkit-{stage.home.tag}/*/*/cgroup.procs"):
            with open(path, encoding="ascii") as file:  # only after a failure: nothing survives a test
                proc.kill_and_wait([int(line) for line in file.read().split()], 5)
    assert_nothing_left(stage)
    with open("/proc/1/mountinfo", encoding="utf-8") as file:
        assert str(tmp_path) not in file.read()


def assert_nothing_left(stage):
    home = stage.home
    assert stage.backend.instances(stage.name) == []
    assert not os.path.isdir(home.environment(stage.name)) or {"journal.jsonl", "generations"} >= {
        *os.listdir(home.environment(stage.name))
    }
    table = [entry.target for entry in mounts.mount_table() if entry.target.startswith(home.root)]
    assert [target for target in table if not target.startswith(home.run + "/ns")] == []
    assert glob.glob(f"/sys/fs/cgroup/*/envkit-{home.tag}/*/*") == []
    assert not os.path.isdir(f"{home.run}/runtime") or os.listdir(f"{home.run}/runtime") == []
    deadline = time.monotonic() + 5  # a supervisor that has nothing left to watch ends by itself
    while (alive := _processes_of(home.root)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []
    assert not os.path.isdir(f"{home.run}/environments/{stage.name}")


def _processes_of(root):
    """The command lines of the processes that name a path below root, the tests' own aside."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            words = file.read()
            if root.encode() in words and b"pytest" not in words:
                found.append(words)
    return found


def one(stage, spec, **options):
    """Apply an environment with the single service `app`; returns its record."""
    environment = stage.environment({"app": spec}, **options)
    outcome = stage.apply(environment)
    assert not outcome.failed, outcome.failed
    record = records.find(stage.home, stage.name, service("app", {}).address)
    assert record is not None
    return environment, record


def run(record, *argv, timeout=20):
    """The output of a command in the instance, with the container's own process settings."""
    with open(record.path("config.json"), "rb") as file:
        process = json.loads(file.read())["process"]
    process["args"], process["terminal"] = list(argv), False
    path = record.path("test-process.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(process, file)
    runtime = runtime_of(record.home)
    done = subprocess.run(runtime.command("exec", "-p", path, record.id), capture_output=True, text=True,
                          timeout=timeout, check=False)  # fmt: skip
    os.unlink(path)
    return done.returncode, done.stdout + done.stderr


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value
