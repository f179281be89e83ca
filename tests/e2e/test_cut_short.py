"""Cut short by what is not a kill of envkit itself: its helpers die, the disk is full; and a restart that is owed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from envkit.host import proc
from tests.support.boxes import box_home
from tests.support.faults import KEPT, KILL, Bench
from tests.support.warm import Warm

pytestmark = pytest.mark.root

HELPERS = ("conmon", "crun")


@pytest.fixture(scope="module", name="bench")
def _bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Warm() as warm:
        yield Bench(str(tmp_path_factory.mktemp("short")), warm, 18513)


@pytest.fixture(autouse=True)
def _down(bench: Bench) -> Iterator[None]:
    yield
    bench.must("down", "--volumes", "--yes", "--timeout", "0")


def helpers(home: str) -> list[int]:
    """The conmons and cruns of an installation: their words name it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = [word.decode(errors="replace") for word in file.read().split(b"\0")]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(words[0]) in HELPERS and any(word.startswith(f"{home}/") for word in words):
            found.append(int(name))
    return found


def test_helpers_are_killed(bench: Bench) -> None:
    """conmon and crun, at random moments of an apply: it says so or succeeds, and the next one mends it."""
    bench.must("apply")
    bench.keep_something()
    wanted = bench.settled()
    chance = random.Random(5)
    for number in range(1, 5):
        bench.round = number
        process = subprocess.Popen(
            [sys.executable, "-m", "envkit.cli.main", "apply"], cwd=bench.project.directory, stdin=subprocess.DEVNULL,
            env=bench.project.environ({"ROUND": str(number)}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        moment = time.monotonic() + chance.uniform(0.1, 0.8)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.01)
        victims = helpers(bench.home)
        proc.kill_and_wait(chance.sample(victims, min(2, len(victims))), 5, signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
        assert b"Traceback" not in said and b"bug in envkit" not in said, said
        bench.must("apply")
        bench.must("plan", "--expect-no-changes")
        assert not bench.lost()
    assert bench.settled() == wanted


def test_a_restart_that_is_owed(bench: Bench) -> None:
    """Killed between a replacement and the restart of what depends on it (`depends_on.restart`), which the next plan
    shows and the next apply carries out."""
    bench.must("apply")
    path = os.path.join(bench.project.directory, "envkit.yaml")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    bench.project.write({"envkit.yaml": text.replace('["data:/data", "/anonymous"]', '["data:/data"]')})
    before = ids(bench)
    for number in range(20, 400, 12):
        bench.fault(number, KILL, "apply")
        now = ids(bench)
        if now.get("db", "") != before["db"] and bench.run("plan", "--json")[1].count("depends_on.db"):
            break
        if now.get("db", "") != before["db"]:
            pytest.fail(f"after step {number} the restart of web is forgotten")
    code, output = bench.run("plan")
    assert code == 0 and "service.web" in output and "restarted because an earlier apply was cut off" in output, output
    started = begun(bench)
    bench.must("apply")
    assert begun(bench) > started
    bench.must("plan", "--expect-no-changes")
    bench.project.write({"envkit.yaml": text})


def ids(bench: Bench) -> dict[str, str]:
    return {row["service"]: row["id"] for row in json.loads(bench.run("ps", "--json")[1])}


def begun(bench: Bench) -> int:
    """When the process of web started, in the kernel's ticks."""
    pid = next(row["pid"] for row in json.loads(bench.run("ps", "--json")[1]) if row["service"] == "web")
    return proc.start_time(pid) or 0


def test_a_disk_that_fills_up(tmp_path: object) -> None:
    """However little space there is when an apply begins: it names the cause, and with space the next one does it."""
    disk = os.path.join(str(tmp_path), "disk")
    os.makedirs(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=True, timeout=20)
    try:
        box_home(disk)
        with Warm() as warm:
            small = Bench(disk, warm, 18514)
            try:
                small.must("apply")
                small.keep_something()
                for free in (0, 4096, 16384, 65536):
                    small.round += 1
                    _fill(disk, free)
                    code, output = small.run("apply")
                    assert code in (0, 1) and "bug in envkit" not in output, output
                    assert code == 0 or "No space left" in output, output
                    os.unlink(os.path.join(disk, "filler"))
                    small.must("apply")
                    small.must("plan", "--expect-no-changes")
                    with open(small.volume, "rb") as file:
                        assert file.read() == KEPT
            finally:
                small.must("down", "--volumes", "--yes", "--timeout", "0")
    finally:
        subprocess.run(["umount", "-l", disk], check=True, timeout=20)


def _fill(disk: str, free: int) -> None:
    """Leave so many bytes."""
    with open(os.path.join(disk, "filler"), "wb", buffering=0) as file:
        left = os.statvfs(disk)
        space = left.f_bavail * left.f_frsize - free
        os.posix_fallocate(file.fileno(), 0, max(1, space))
