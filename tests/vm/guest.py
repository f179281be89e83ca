"""What the machine of tests/vm does: an environment with limits, looked at in the kernel's own files.

Prints one line per check, "ok NAME" or "not ok NAME: why". In the kernel's command line, ONLY=NAME,… chooses checks,
and PYTEST=FILE,… runs these tests instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.boxes import LOOP, box_home
from tests.support.project import Project
from tests.vm.machine import OVER, READY

CGROUPS = "/sys/fs/cgroup"
ENVIRONMENT = f"""
name: guest
x-box: &box
  image: "box:1"
  command: [/bin/sh, -c, {LOOP!r}]
  stop_grace_period: 2s
services:
  web:
    <<: *box
    command: [/bin/sh, -c, "mkdir -p /tmp/w; cat /run/secrets/token > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"]
    tmpfs: [/tmp]
    ports: ["127.0.0.1:18080:80"]
    secrets: [token]
    mem_limit: MEMORY
    pids_limit: 40
    cpus: 0.5
    cpuset: "0"
    healthcheck: {{test: [CMD, wget, -qO-, "http://127.0.0.1/"], interval: 1s, start_period: 60s, timeout: 20s}}
  bomb: {{<<: *box, command: [sleep, "9999"], pids_limit: 25, depends_on: {{web: {{condition: service_healthy}}}}}}
  hungry:
    <<: *box
    command: [/bin/sh, -c, "sleep 1; tail /dev/zero"]
    mem_limit: 16m
    restart: "no"
secrets: {{token: {{file: ./token}}}}
"""

Check = Callable[[Project], None]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


def _row(there: Project, service: str) -> dict[str, Any]:
    return next(row for row in there.run("ps", "--all", "--json").assert_success().json if row["service"] == service)


def _group(pid: int) -> str:
    """The directory of a process's control group."""
    with open(f"/proc/{pid}/cgroup") as file:
        (line,) = file.read().splitlines()
    return CGROUPS + line.split(":", 2)[2]


def _file(there: Project, service: str, name: str) -> str:
    with open(f"{_group(_row(there, service)['pid'])}/{name}") as file:
        return file.read().strip()


@contextmanager
def _within(seconds: float) -> Iterator[Callable[[], bool]]:
    deadline = time.monotonic() + seconds
    yield lambda: time.monotonic() < deadline


def _until(met: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    with _within(seconds) as still:
        while not met():
            assert still(), what
            time.sleep(0.3)


def _monitors() -> list[int]:
    found = subprocess.run(["pgrep", "-x", "conmon"], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split()]


@check
def doctor_sees_version_2(there: Project) -> None:
    there.run("doctor").assert_text("version 2, by " + ("systemd" if is_systemd() else "cgroupfs"))


@check
def it_is_applied(there: Project) -> None:
    if is_systemd():  # by a unit of its own that systemd then kills with all that is in its group
        words = ["systemd-run", "--quiet", "--wait", "--pipe", "--same-dir", "--property=KillMode=control-group"]
        words += [f"--setenv={name}={value}" for name, value in there.environ().items()]
        there.run("apply", timeout=600, prefix=words).assert_success()
    else:
        there.run("apply", timeout=600).assert_success()
    assert _row(there, "web")["health"] == "healthy"


@check
def monitors_are_on_their_own(there: Project) -> None:
    assert len(_monitors()) >= 2, _monitors()
    mine = _group(os.getpid())
    for pid in _monitors():
        group = _group(pid)
        assert "envkit" in group, group
        assert group != mine, group


@check
def the_limits_are_in_the_kernels_files(there: Project) -> None:
    assert _file(there, "web", "memory.max") == str(48 << 20)
    assert _file(there, "web", "pids.max") == "40"
    assert _file(there, "web", "cpu.max") == "50000 100000"
    assert _file(there, "web", "cpuset.cpus") == "0"


@check
def a_port_is_published_and_a_secret_mounted(there: Project) -> None:
    words = ["curl", "-sS", "http://127.0.0.1:18080/"]
    page = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert page == "of the guest\n", page


@check
def the_root_is_read_only(there: Project) -> None:
    there.run("exec", "-T", "web", "touch", "/here").assert_code(1).assert_text("Read-only file system")


@check
def the_killed_one_is_named(there: Project) -> None:
    _until(lambda: _row(there, "hungry")["state"] == "exited", "it does not end")
    there.run("ps", "--all").assert_text("OOM")


@check
def a_fork_bomb_stops(there: Project) -> None:
    there.run("exec", "-d", "bomb", "sh", "-c", "while :; do sleep 20 & done")
    _until(lambda: "max 0" not in _file(there, "bomb", "pids.events"), "the limit is never met")
    assert int(_file(there, "bomb", "pids.current")) <= 25
    there.run("kill", "bomb").assert_success()


@check
def the_plan_is_empty(there: Project) -> None:
    there.run("apply", timeout=300).assert_success()
    _until(lambda: _row(there, "hungry")["state"] == "exited", "it does not end")
    there.run("plan").assert_text("")
    outcome = there.run("plan", "--json").assert_success().json
    assert [item["address"] for item in outcome["changes"] if item["action"] != "noop"] in ([], ["service.hungry"])


@check
def memory_changes_in_place(there: Project) -> None:
    before = _row(there, "web")
    there.write({"envkit.yaml": ENVIRONMENT.replace("MEMORY", "64m")})
    there.run("apply", timeout=300).assert_success()
    after = _row(there, "web")
    assert (before["id"], before["pid"]) == (after["id"], after["pid"])
    assert _file(there, "web", "memory.max") == str(64 << 20)


@check
def it_is_paused_and_measured(there: Project) -> None:
    there.run("pause", "web").assert_success()
    assert _file(there, "web", "cgroup.freeze") == "1"
    there.run("unpause", "web").assert_success()
    (row,) = there.run("stats", "--no-stream", "--json", "web").assert_success().json_lines
    assert "64" in str(row), row


@check
def down_leaves_nothing(there: Project) -> None:
    there.run("down", "--volumes", "--yes", timeout=300).assert_success()
    _until(lambda: not _monitors(), "a monitor is left", 10)
    left = [path for path, _, _ in os.walk(CGROUPS) if "/envkit-" in path or "/ek" in path]
    with open("/proc/self/mountinfo") as file:
        left += [line for line in file if there.home in line]
    left += [name for name in os.listdir("/sys/class/net") if name.startswith(("ek", "ev"))]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    left += [line for line in tables.splitlines() if "envkit" in line]
    assert not left, left


def is_systemd() -> bool:
    return os.path.isdir("/run/systemd/system")


def _words(name: str) -> list[str]:
    """What the kernel's command line says by that name."""
    with open("/proc/cmdline") as file:
        found = dict(word.partition("=")[::2] for word in file.read().split())
    return found[name].split(",") if name in found else []


def main() -> None:
    print(READY, flush=True)
    wanted, only = _words("PYTEST"), _words("ONLY")
    if wanted:
        words = ["-q", "-p", "no:cacheprovider", "--basetemp=/var/tmp/pt", "--import-mode=importlib"]
        subprocess.run([sys.executable, "-m", "pytest", *words, *wanted], check=False)
    else:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            files = {"envkit.yaml": ENVIRONMENT.replace("MEMORY", "48m"), "token": "of the guest\n"}
            there = Project(directory, files, box_home(directory))
            for function in (item for item in CHECKS if not only or item.__name__ in only):
                begun = time.monotonic()
                try:
                    function(there)
                except Exception:  # noqa: BLE001  (whatever it is, the next check is made)
                    said = "\n    ".join(traceback.format_exc().strip().splitlines()[-25:])
                    print(f"not ok {function.__name__}:\n    {said}", flush=True)
                else:
                    print(f"ok {function.__name__} ({time.monotonic() - begun:.0f} s)", flush=True)
    print(OVER, flush=True)


if __name__ == "__main__":
    main()
