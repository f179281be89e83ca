"""Compose's commands under their own names, in real containers: attached `up`, its ends, and what goes on around it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.root

WAIT = "trap 'echo {name} leaves; exit {code}' TERM; echo {name} is here; while :; do sleep 0.1; done"


def waiting(name: str, code: int = 0) -> str:
    return json.dumps(["sh", "-c", WAIT.format(name=name, code=code)])


SHOP = {
    "compose.yaml": f"""
        services:
          web: {{image: "box:1", command: {waiting("web")}, depends_on: [db], stop_grace_period: 2s}}
          db: {{image: "box:1", command: {waiting("db", 3)}, stop_grace_period: 2s}}
        """,
}
Make = Callable[..., Project]


class Running:
    """A command that goes on."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self.process, self._output, self.text = process, output, ""

    def read_until(self, *texts: str, limit: float = 20) -> str:
        """What has been printed once all texts are in it."""
        deadline = time.monotonic() + limit
        while not all(text in self.text for text in texts):
            left = deadline - time.monotonic()
            assert left > 0, f"not all of {texts} in:\n{self.text}"
            if select.select([self._output], [], [], left)[0]:
                try:
                    data = os.read(self._output, 65536)
                except OSError:  # EIO: the other side of the terminal is closed
                    data = b""
                assert data, f"it ended without {texts}:\n{self.text}"
                self.text += data.decode()
        return self.text

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self, limit: float = 20) -> int:
        """The exit code; the rest of the output is in text."""
        code = self.process.wait(limit)
        while select.select([self._output], [], [], 0)[0]:
            try:
                data = os.read(self._output, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += data.decode()
        return code


@contextmanager
def running(project: Project, *words: str, variables: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The command with stdout and stderr on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "envkit.cli.main", *words], cwd=project.directory, env=project.environ(variables),
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Running(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody has."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return found


def states(project: Project) -> dict[str, str]:
    rows = project.run("ps", "--json").assert_success().json
    return {row["name"] if row["replica"] == 0 else f"{row['service']}.{row['replica']}": row["state"] for row in rows}


def test_up_shows_lines_until_an_interrupt_stops_everything(project: Make) -> None:
    shop = project(SHOP)
    with running(shop, "up", variables={"NO_COLOR": "", "TERM": "xterm"}) as up:
        text = up.read_until("web is here", "db is here")
        assert "\x1b[36mweb |\x1b[0m web is here" in text or "\x1b[33mweb |\x1b[0m web is here" in text
        up.interrupt()
        assert up.wait() == 130
        assert up.text.index("web leaves") < up.text.index("db leaves"), "dependents stop first"
        up.read_until("web exited with code 0", "db exited with code 3", "Stopping gracefully")
    assert states(shop) == {"web.1": "exited", "db.1": "exited"}
    shop.run("up", "-d").assert_success()
    assert states(shop) == {"web.1": "running", "db.1": "running"}
    with running(shop, "up", "--no-log-prefix", "web") as up:
        up.read_until("No changes")
        shop.run("stop", "web").assert_success()
        assert up.wait() == 0
        up.read_until("web leaves\r\n", "web exited with code 0")
    assert states(shop)["db.1"] == "running"


def test_an_interrupt_before_everything_is_up_stops_what_was_started(project: Make) -> None:
    never = '{test: ["CMD", "false"], interval: 1s, start_period: 60s}'
    shop = project({"compose.yaml": f"""
        services:
          web: {{image: "box:1", command: {waiting("web")}, depends_on: {{db: {{condition: service_healthy}}}}}}
          db: {{image: "box:1", command: {waiting("db")}, stop_grace_period: 2s, healthcheck: {never}}}
          kept: {{image: "box:1", command: {waiting("kept")}}}
        """})  # fmt: skip
    shop.run("up", "-d", "kept").assert_success()
    with running(shop, "up") as up:
        deadline = time.monotonic() + 30
        while states(shop).get("db.1") != "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        up.interrupt()
        assert up.wait() == 130
    found = states(shop)
    assert (found["db.1"], found["kept.1"]) == ("exited", "running")
    assert found.get("web.1") != "running"


def test_the_second_interrupt_kills(project: Make) -> None:
    shop = project({"compose.yaml": """
        services:
          deaf:
            image: box:1
            command: ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"]
            stop_grace_period: 60s
        """})  # fmt: skip
    with running(shop, "up") as up:
        up.read_until("deaf | deaf")
        up.interrupt()
        up.read_until("Stopping gracefully")
        time.sleep(0.3)
        begun = time.monotonic()
        up.interrupt()
        assert up.wait() == 130
        assert time.monotonic() - begun < 10
        up.read_until("deaf exited with code 137")


ENDS = {
    "compose.yaml": f"""
        services:
          tests: {{image: "box:1", command: ["sh", "-c", "sleep 0.6; echo tested; exit 4"]}}
          fine: {{image: "box:1", command: ["sh", "-c", "echo fine"]}}
          db: {{image: "box:1", command: {waiting("db", 3)}, attach: false, stop_grace_period: 2s}}
          again: {{image: "box:1", command: ["sh", "-c", "echo again; sleep 0.1; exit 1"], restart: on-failure:1}}
        """,
}


@pytest.mark.parametrize(
    ("words", "code", "said", "unsaid"),
    [
        (("--exit-code-from", "tests"), 4, ["tests | tested", "db exited with code 3"], ["db is here"]),
        (("--exit-code-from", "db", "--attach", "db", "tests", "db"), 3, ["db | db is here"], ["| tested"]),
        (("--abort-on-container-exit", "fine", "db"), 0, ["fine exited with code 0", "db exited with code 3"], []),
        (("--abort-on-container-failure", "fine", "tests", "db"), 4, ["tests exited with code 4"], []),
        (("--no-attach", "tests", "tests", "fine"), 0, ["fine | fine", "tests exited with code 4"], ["| tested"]),
        (("again",), 0, ["again exited with code 1"], []),
    ],
)
def test_how_an_attached_up_ends(
    project: Make, words: tuple[str, ...], code: int, said: list[str], unsaid: list[str]
) -> None:
    ends = project(ENDS)
    done = ends.run("up", *words, timeout=30)
    done.assert_code(code).assert_text(*said).assert_no_text(*unsaid)
    assert "running" not in states(ends).values()


def test_flags_that_exclude_each_other(project: Make) -> None:
    shop = project(SHOP)
    for words in (
        ("up", "-d", "--abort-on-container-exit"), ("up", "--wait", "--attach", "web"), ("up", "--build", "--no-build"),
        ("up", "--force-recreate", "--no-recreate"), ("run", "-P", "-p", "1:1", "web"), ("up", "--watch", "-d"),
        ("up", "--scale", "web"), ("ps", "--filter", "name=x"), ("ps", "--format", "{{.Nope"),
        ("pull", "--dry-run"),
    ):  # fmt: skip
        shop.run(*words).assert_code(125)
    shop.run("up", "--exit-code-from", "nobody").assert_failure("no such service", "there is")


def test_down_leaves_an_orphan_its_volume(project: Make) -> None:
    shop = project({"compose.yaml": """
        services: {old: {image: "box:1", command: [sleep, "600"], stop_grace_period: 0s, volumes: ["kept:/data"]}}
        volumes: {kept: {}}
        """})  # fmt: skip
    shop.run("up", "-d").assert_success()
    shop.run("exec", "-T", "old", "touch", "/data/file").assert_success()
    shop.write({"compose.yaml": """
        services: {new: {image: "box:1", command: [sleep, "600"], stop_grace_period: 0s, volumes: ["gone:/data"]}}
        volumes: {gone: {}}
        """})  # fmt: skip
    shop.run("up", "-d").assert_success()
    shop.run("down", "--volumes").assert_success().assert_text("old of", "gone").assert_no_text("kept")
    assert shop.run("exec", "-T", "old", "ls", "/data").assert_success().stdout == "file\n"
    shop.run("down", "--volumes", "--remove-orphans").assert_success().assert_text("kept")


def test_recreating_scaling_and_orphans(project: Make) -> None:
    shop = project(SHOP)
    shop.run("create").assert_success()
    assert states(shop) == {"web.1": "created", "db.1": "created"}
    shop.run("start").assert_success()
    assert states(shop) == {"web.1": "running", "db.1": "running"}
    before = {row["service"]: row["id"] for row in shop.run("ps", "--json").json}
    shop.run("up", "-d", "--force-recreate", "web").assert_success()
    after = {row["service"]: row["id"] for row in shop.run("ps", "--json").json}
    assert (after["db"], after["web"] != before["web"]) == (before["db"], True)
    shop.run("scale", "db=3").assert_success()
    assert [name for name in states(shop) if name.startswith("db")] == ["db.1", "db.2", "db.3"]
    shop.run("up", "-d", "--scale", "db=2", "--dry-run").assert_success().assert_text("service.db[3]")
    assert "db.3" in states(shop)
    shop.run("up", "-d", "--scale", "db=2").assert_success()
    assert "db.3" not in states(shop)
    shop.write({"compose.yaml": f'services: {{db: {{image: "box:1", command: {waiting("db", 3)}}}}}'})
    shop.run("up", "-d").assert_success().assert_text("web of", "--remove-orphans removes it")
    assert states(shop)["web.1"] == "running"
    shop.run("up", "-d", variables={"COMPOSE_IGNORE_ORPHANS": "1"}).assert_no_text("--remove-orphans")
    shop.run("up", "-d", "--no-recreate", "--remove-orphans").assert_success()
    assert states(shop) == {"db.1": "running"}
    shop.run("rm", "-f").assert_success().assert_text("No stopped instances")
    shop.run("stop", "-t", "1").assert_success()
    shop.run("rm", "-f", "db").assert_success()
    assert states(shop) == {}


def test_a_one_off_publishes_nothing_and_answers_to_no_name(project: Make) -> None:
    taken, free = free_ports(2)
    shop = project({"compose.yaml": f"""
        services:
          web:
            image: box:1
            command: {waiting("web")}
            ports: ["127.0.0.1:{taken}:80"]
            restart: always
            environment: {{A: file, B: file}}
          other: {{image: "box:1", command: {waiting("other")}}}
        """, "vars.env": "A=from-file\nC=see-$A\n"})  # fmt: skip
    shop.run("up", "-d", "web").assert_success()
    variables = ("-e", "B=flag", "--env-from-file", "vars.env")
    one = shop.run("run", "--rm", "-T", *variables, "web", "sh", "-c", "echo $A $B $C")
    assert one.assert_success().stdout == "from-file flag see-from-file\n"
    shop.run("run", "-T", "web", "sh", "-c", "exit 7").assert_code(7)
    name = shop.run("run", "-d", "other").assert_success().stdout.strip()
    assert states(shop)[name] == "running"
    look = shop.run("exec", "web", "nslookup", "other")
    assert look.code != 0, "a one-off answers to the service's name"
    shop.run("run", "-P", "--rm", "web", "true").assert_failure(str(taken))
    shop.run("run", "-d", "--name", "shown", "-p", f"127.0.0.1:{free}:80", "other").assert_success()
    rows = {row["name"]: row for row in shop.run("ps", "--json").json}
    assert rows["shown"]["ports"] == [f"127.0.0.1:{free}->80/tcp"]
    assert [row["state"] for row in rows.values()].count("exited") == 1, "kept without --rm, as in Compose"
    kept = shop.run("run", "-T", "--rm", "--cap-drop", "ALL", "web", "grep", "CapEff", "/proc/self/status")
    assert kept.stdout.split() == ["CapEff:", "0000000000000000"]
    shop.run("stop").assert_success()


def test_restart_takes_along_who_asks_for_it(project: Make) -> None:
    shop = project({"compose.yaml": f"""
        services:
          db: {{image: "box:1", command: {waiting("db")}}}
          web:
            image: box:1
            command: {waiting("web")}
            depends_on: {{db: {{condition: service_started, restart: true}}}}
          free: {{image: "box:1", command: {waiting("free")}, depends_on: [db]}}
        """})  # fmt: skip
    shop.run("up", "-d").assert_success()

    def pids() -> dict[str, int]:
        return {row["service"]: row["pid"] for row in shop.run("ps", "--json").json}

    first = pids()
    shop.run("restart", "--no-deps", "-t", "1", "db").assert_success()
    second = pids()
    assert {name for name in first if first[name] != second[name]} == {"db"}
    shop.run("restart", "-t", "1", "db").assert_success()
    third = pids()
    assert {name for name in first if second[name] != third[name]} == {"db", "web"}


def test_what_is_shown_and_copied(project: Make) -> None:
    shop = project(SHOP)
    shop.run("up", "-d", "--scale", "db=2", "--wait").assert_success()
    row = json.loads(shop.run("ps", "--format", "json", "web").assert_success().stdout)
    assert {"Name", "Service", "State", "Health", "ExitCode", "Publishers", "ID", "Project"} <= row.keys()
    assert (row["State"], row["Service"], row["Name"]) == ("running", "web", "project-web-1")
    assert shop.run("ps", "--format", "{{.Service}}:{{.State}}", "web").stdout == "web:running\n"
    assert sorted(shop.run("ps", "--services").stdout.split()) == ["db", "web"]
    assert shop.run("ps", "-q", "--status", "exited").stdout == ""
    assert len(shop.run("ps", "-q").stdout.split()) == 3
    assert json.loads(shop.run("ls", "--format", "json", "--filter", "name=proj").stdout)[0]["Status"] == "running(3)"
    assert "web" in shop.run("stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}", "web").stdout
    assert [item["event"] for item in shop.run("events", "--no-follow", "--json", "web").json_lines]
    shop.write({"seed.txt": "seed\n"})
    os.symlink("seed.txt", os.path.join(shop.directory, "link"))
    shop.run("cp", "-L", "link", "db:/tmp/seed").assert_success()
    for index in ("1", "2"):
        assert shop.run("exec", "--index", index, "db", "cat", "/tmp/seed").stdout == "seed\n", "a copy goes to all"
    shop.run("exec", "web", "ln", "-s", "/etc/passwd", "/tmp/who").assert_success()
    shop.run("cp", "--follow-link", "web:/tmp/who", "copied").assert_success()
    with open(os.path.join(shop.directory, "copied"), encoding="utf-8") as file:
        assert file.read().startswith("root:")
    assert shop.run("kill", "-s", "TERM", "db").code == 0
    assert shop.run("wait", "db", "--timeout", "10").assert_code(3).stdout.count("exited with code 3") == 2
    shop.run("down", "--rmi", "local", "-t", "1").assert_success()
    shop.run("image", "inspect", "box:1").assert_success()


def test_taking_down_some_or_all(project: Make) -> None:
    shop = project({"compose.yaml": f"""
        services:
          web: {{image: "box:1", command: {waiting("web")}, volumes: ["data:/data", "/anonymous"]}}
          db: {{image: "box:1", command: {waiting("db")}}}
        volumes: {{data: {{}}}}
        """})  # fmt: skip
    shop.run("up", "-d").assert_success()
    assert len(shop.run("volumes", "-q").stdout.split()) == 2
    shop.run("exec", "web", "touch", "/anonymous/old").assert_success()
    shop.run("up", "-d", "--force-recreate", "web").assert_success()
    assert shop.run("exec", "web", "ls", "/anonymous").stdout == "old\n"
    shop.run("up", "-d", "-V", "--force-recreate", "web").assert_success()
    assert shop.run("exec", "web", "ls", "/anonymous").stdout == ""
    shop.run("down", "-t", "1", "db").assert_success()
    assert states(shop) == {"web.1": "running"}
    shop.run("down", "--dry-run", "-v").assert_success().assert_text("volume.data")
    shop.run("down", "-t", "1", "-v").assert_success()
    assert shop.run("volumes", "-q").stdout == ""


def test_attach_joins_a_services_stdin(project: Make) -> None:
    shop = project({"compose.yaml": """
        services:
          echo: {image: "box:1", command: ["sh", "-c", "while read line; do echo got $$line; done"], stdin_open: true}
        """})  # fmt: skip
    shop.run("up", "-d").assert_success()
    done = subprocess.Popen(
        [sys.executable, "-m", "envkit.cli.main", "attach", "echo"], cwd=shop.directory, env=shop.environ(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdin is not None
    assert done.stdout is not None
    done.stdin.write(b"hello\n")
    done.stdin.flush()
    assert done.stdout.readline() == b"got hello\n"
    shop.run("kill", "echo").assert_success()
    assert done.wait(10) == 137
    done.stdin.close()
    done.stdout.close()
