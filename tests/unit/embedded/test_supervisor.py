"""The supervisor with real containers: health, restarts, rotation, and its own violent death."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from envkit.backend.base import LogQuery
from envkit.backend.embedded import events, health, instance, restart, supervision
from envkit.backend.embedded.logs import logs
from envkit.host import proc
from envkit.host.home import Home
from tests.unit.embedded.handmade import in_engine, log_text, make, remove, supervise, wait_for

pytestmark = pytest.mark.root

FOREVER = ["/bin/sleep", "1000"]


def names(home: Home, address: str) -> list[str]:
    rows = events.events(home.environment("shop"))
    return [f"{row['event']} {row['detail']}".strip() for row in rows if row["address"] == address]


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_health_from_starting_to_healthy_to_unhealthy(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        check = {"test": ["CMD-SHELL", "echo looked; test -e /tmp/up"], "interval": 0.3, "retries": 2}
        made = make(home, "web", FOREVER, healthcheck=check)
        pid = supervise(home)

        def status() -> str:
            return health.status(made.directory, made.healthcheck, instance.status(made).pid)

        assert status() == "starting"
        Path(made.root, "tmp/up").touch()
        wait_for(lambda: status() == "healthy", "healthy")
        Path(made.root, "tmp/up").unlink()
        wait_for(lambda: status() == "unhealthy", "unhealthy")
        value = health.read(made.directory)
        assert value is not None
        assert value["failing_streak"] >= 2
        assert value["log"][-1]["exit_code"] == 1
        assert value["log"][-1]["output"] == "looked\n"
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not supervision.is_running(home, "shop"), "the supervisor's end")
        Path(made.root, "tmp/up").touch()
        supervise(home)
        wait_for(lambda: status() == "healthy", "health again, under another supervisor")
        story = ["start", "health_status healthy", "health_status unhealthy", "health_status healthy"]
        wait_for(lambda: names(home, "service.web") == story, "all of the story")

    in_engine(tmp_path, body)


def test_a_probe_that_hangs_leaves_nothing(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        script = "sleep 777 & setsid sleep 777 & sleep 777"
        check = {"test": ["CMD-SHELL", script], "interval": 0.2, "timeout": 0.3, "retries": 1}
        made = make(home, "web", FOREVER, healthcheck=check)
        supervise(home)
        wait_for(lambda: (health.read(made.directory) or {}).get("status") == "unhealthy", "unhealthy")
        value = health.read(made.directory)
        assert value is not None
        assert value["log"][-1]["exit_code"] == -1
        supervisor_stops(home)
        wait_for(lambda: processes_with("777") == [], "the end of every probe")
        assert instance.status(made).is_alive

    in_engine(tmp_path, body)


def test_the_probes_of_a_killed_supervisor_are_ended_by_the_next(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", FOREVER, healthcheck={"test": ["CMD-SHELL", "sleep 778"], "timeout": 60.0})
        pid = supervise(home)
        first = wait_for(lambda: processes_with("778"), "the probe")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not supervision.is_running(home, "shop"), "the supervisor's end")
        supervise(home)
        wait_for(lambda: not set(first) & set(processes_with("778")), "the end of the stray probe")

    in_engine(tmp_path, body)


def supervisor_stops(home: Home) -> None:
    os.kill(int(json.loads(Path(supervision.lock_path(home, "shop")).read_text())["pid"]), signal.SIGTERM)
    wait_for(lambda: not supervision.is_running(home, "shop"), "the supervisor's end")


def processes_with(word: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if word.encode() in line and proc.is_alive(int(name)):
                found.append(name)
    return found


def test_the_supervisor_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", FOREVER)
        pid = supervise(home)
        assert supervise(home) == pid
        supervision.__version__ = "2.0"  # type: ignore[attr-defined]
        supervision.ensure_running(home, "shop")
        wait_for(lambda: not proc.is_alive(pid), "the end of the old one")
        wait_for(lambda: supervision.is_running(home, "shop"), "the new one")

    in_engine(tmp_path, body)


def test_restarts_with_back_off_until_the_attempts_are_used_up(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        policy = {"policy": "on-failure", "max_attempts": 3, "delay": 0.05}
        made = make(home, "web", ["/bin/sh", "-c", "echo begun; sleep 1000"], restart=policy)
        supervise(home)
        ends = []
        for attempt in range(4):
            pid = wait_for(lambda: instance.status(made).is_alive and instance.status(made).pid, f"life {attempt}")
            wait_for(lambda number=attempt: log_text(made).count("begun") == number + 1, "its first line")
            ends.append(time.monotonic())
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda number=pid: not proc.is_alive(number), "its end")
        wait_for(lambda: names(home, "service.web")[-1].startswith("give-up"), "the end of all attempts")
        assert not instance.status(made).is_alive
        assert restart.read(made.directory).restarts == 3
        assert log_text(made).count("begun") == 4
        assert names(home, "service.web").count("die exit code 137") == 4

    in_engine(tmp_path, body)


def test_a_stopped_instance_stays_stopped_and_exit_0_is_no_failure(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        stopped = make(home, "stopped", FOREVER, restart={"policy": "always"})
        done = make(home, "done", ["/bin/sleep", "0.2"], restart={"policy": "on-failure"})
        always = make(home, "always", ["/bin/sh", "-c", "sleep 0.1"], restart={"policy": "always"})
        supervise(home)
        stopped.desired = "stopped"
        stopped.save()
        instance.stop(stopped, 0.1)
        wait_for(lambda: restart.read(always.directory).restarts >= 2, "two restarts")
        assert not instance.status(stopped).is_alive
        assert not instance.status(done).is_alive
        assert instance.status(done).exit_code == 0
        assert "die exit code 0" in names(home, "service.done")

    in_engine(tmp_path, body)


def test_stopped_while_it_waits_for_its_restart(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", ["/bin/false"], restart={"policy": "always", "delay": 30.0})
        supervise(home)
        wait_for(lambda: restart.read(made.directory).next is not None, "the wait")
        made.desired = "stopped"
        made.save()
        wait_for(lambda: restart.read(made.directory).next is None, "its end")

    in_engine(tmp_path, body)


def test_a_killed_conmon_means_an_unknown_exit_code_and_a_restart(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", FOREVER, restart={"policy": "on-failure"})
        supervise(home)
        pid = instance.status(made).pid
        wait_for(lambda: names(home, "service.web") == ["start"], "start")
        proc.kill_and_wait([instance.monitor_pid(made)], 5)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: instance.status(made).pid not in (0, pid), "the new life")
        assert "die exit code unknown" in names(home, "service.web")

    in_engine(tmp_path, body)


def test_a_supervisor_that_was_away_takes_up_what_happened(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", FOREVER, restart={"policy": "always"})
        proc.kill_and_wait([instance.status(made).pid], 5)
        supervise(home)
        wait_for(lambda: instance.status(made).is_alive, "the new life")
        late = make(home, "late", FOREVER, healthcheck={"test": ["CMD", "true"]})
        wait_for(lambda: (health.read(late.directory) or {}).get("status") == "healthy", "a new instance is seen")

    in_engine(tmp_path, body)


def test_rotation_loses_no_line_of_a_fast_writer(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        spec = {"logging": {"driver": "json-file", "options": {"max-size": "256k", "max-file": "200"}}}
        made = make(home, "web", ["/bin/sh", "-c", "sleep 0.5; seq 1 240000; echo end"], spec=spec)
        supervise(home)
        seen = 0
        for row in logs(home, "shop", LogQuery(follow=True)):
            if row.line == "end":
                break
            seen += 1
            assert row.line == str(seen)
        assert seen == 240_000
        assert sum(1 for _ in logs(home, "shop", LogQuery())) == 240_001
        rotated = [name for name in os.listdir(made.directory) if name.startswith("log.")]
        assert len(rotated) >= 2
        tail = [row.line for row in logs(home, "shop", LogQuery(tail=2))]
        assert tail == ["240000", "end"]

    in_engine(tmp_path, body)


def test_few_files_are_kept(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        spec = {"logging": {"options": {"max-size": "20k", "max-file": "2"}}}
        script = "for n in 1 2 3 4 5 6; do seq 1 2000; sleep 0.3; done; sleep 1000"
        made = make(home, "web", ["/bin/sh", "-c", script], spec=spec)
        supervise(home)
        wait_for(lambda: os.path.exists(made.path("log.1")), "a rotation")
        time.sleep(1.5)
        files = sorted(name for name in os.listdir(made.directory) if name.startswith("log"))
        assert files == ["log", "log.1"]

    in_engine(tmp_path, body)


def test_it_is_small_and_sleeps_and_goes_with_the_last_instance(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", FOREVER, healthcheck={"test": ["CMD", "true"], "interval": 60.0})
        pid = supervise(home)
        supervision.ensure_running(home, "shop")
        wait_for(lambda: (health.read(made.directory) or {}).get("status") == "healthy", "healthy")
        before = cpu_ticks(pid)
        time.sleep(1.5)
        assert cpu_ticks(pid) - before <= 1
        assert rss_kib(pid) < 20_000
        instance.kill_all([made])
        instance.forget(made)
        wait_for(lambda: not instance.monitor_is_alive(made), "the end of conmon")
        remove([made])
        wait_for(lambda: not supervision.is_running(home, "shop"), "the supervisor's own end")
        assert Path(home.environment("shop"), "supervisor.log").read_text() == ""

    in_engine(tmp_path, body)
