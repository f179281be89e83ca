"""`status` and the live view of the real command on a terminal, with real containers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.support.boxes import LOOP
from tests.support.project import Project

pytestmark = pytest.mark.root
Make = Callable[[Mapping[str, str]], Project]

SHOP = {"envkit.yaml": f"""
    services:
      web: {{image: "box:1", command: ["sh", "-c", "echo web is here; {LOOP}"], stop_grace_period: 2s}}
      db: {{image: "box:1", command: ["sh", "-c", "echo db is here; {LOOP}"], stop_grace_period: 2s}}
    """}  # fmt: skip
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")


class Screen:
    """What the command draws on its terminal, and the keys that are typed there."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process, self._end, self.text = process, end, ""

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def wait_for(self, *texts: str, timeout: float = 25) -> None:
        """Until all of the texts have been drawn since the last call."""
        deadline = time.monotonic() + timeout
        while not all(text in ESCAPES.sub("", self.text) for text in texts):
            assert time.monotonic() < deadline, f"{texts} not in:\n{ESCAPES.sub('', self.text)[-4000:]}"
            self._read(0.2)
        self.text = ""

    def leave(self, keys: str = "", timeout: float = 60) -> int:
        """The exit code, after these keys."""
        self.press(keys)
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, ESCAPES.sub("", self.text)[-4000:]
            self._read(0.1)
        self._read(0.1)
        return self.process.returncode

    def _read(self, patience: float) -> None:
        while select.select([self._end], [], [], patience)[0]:
            try:
                data = os.read(self._end, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.text += data.decode(errors="replace")
            patience = 0


@contextmanager
def on_a_terminal(there: Project, *words: str, variables: Mapping[str, str] | None = None) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", "import os, sys, fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
         "from envkit.cli.main import run; run()", *words],
        cwd=there.directory, env=there.environ({"TERM": "xterm-256color", **(variables or {})}), stdin=theirs,
        stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Screen(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)


def states(there: Project) -> dict[str, str]:
    rows = there.run("status", "--json").assert_success().json["services"]
    return {row["name"]: row["state"] for row in rows}


def test_a_day_in_the_live_view(project: Make) -> None:
    shop = project(SHOP)
    with on_a_terminal(shop, "up") as screen:
        screen.wait_for("2 of 2 running", "web", "db is here", "leave running", "stop all")
        screen.press("s")
        screen.wait_for("db stopped", "drift")
        screen.press("a")
        screen.wait_for("Apply this to", "state")
        screen.press("y")
        screen.wait_for("applied: 1 change")
        screen.press("je")
        screen.wait_for("A shell in web")
        screen.press("echo one$((1+1)); exit 3\n")
        screen.wait_for("one2", "the shell in web ended with code 3")
        screen.press("r")
        screen.wait_for("web restarted")
        assert screen.leave("q") == 0
        screen.wait_for("runs on")
    assert states(shop) == {"web": "running", "db": "running"}
    with on_a_terminal(shop, "status", "--watch", variables={"NO_COLOR": ""}) as screen:
        screen.wait_for("2 of 2 running", "q quit")
        assert screen.leave("q") == 0
    with on_a_terminal(shop, "up") as screen:
        screen.wait_for("2 of 2 running", "stop all")
        assert screen.leave("\x03") == 130
        screen.wait_for("Stopping gracefully")
    assert states(shop) == {"web": "exited", "db": "exited"}


def test_without_a_terminal_there_are_lines(project: Make) -> None:
    shop = project(SHOP)
    with on_a_terminal(shop, "status", "--watch") as screen:
        screen.wait_for("0 of 2 running", "absent", "to apply")
        assert screen.leave("q") == 0
    assert not os.path.ismount(f"{shop.home}/run/ns"), "looking at nothing leaves nothing"
    text = shop.run("status").assert_success().stdout
    assert "0 of 2 running" in text and "absent" in text
    shop.run("up", "--view").assert_code(125).assert_text("--view needs a terminal")
    shop.run("up", "--view", "--timestamps").assert_code(125).assert_text("--view and --timestamps exclude")
    shop.run("status", "nobody").assert_failure("no such service", "there is db, web")
    shop.run("apply").assert_success()
    found = shop.run("status", "--json").assert_success().json
    assert (found["drifted"], found["changes"], found["backend"]) == (0, 0, "embedded")
    assert all(row["memory"] > 0 and row["uptime"] is not None for row in found["services"])
    with lines(shop, "status", "--watch", "--json") as told:
        assert {told()["name"], told()["name"]} == {"web", "db"}
        shop.run("stop", "web").assert_success()
        seen = [told(), told()]
        assert {"state", "drift"} == {line["type"] for line in seen}, seen
        assert next(line["state"] for line in seen if line["type"] == "state") == "exited"
    text = shop.run("status", "web").assert_success().stdout
    assert "1 drifted" in text and 'state  "running" -> "exited"' in text and "db" not in text.split("Changed")[0]
    with on_a_terminal(shop, "status", "--watch", variables={"TERM": "dumb"}) as screen:
        screen.wait_for("web  exited", "drifted: service.web (state)")
        screen.process.send_signal(signal.SIGINT)
        assert screen.leave() == 130
    with on_a_terminal(shop, "up", "--no-view") as screen:
        screen.wait_for("web | web is here")
        screen.process.send_signal(signal.SIGINT)
        assert screen.leave() == 130


@contextmanager
def lines(there: Project, *words: str) -> Iterator[Callable[[], dict[str, str]]]:
    """The command through a pipe; a function that gives its next line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "envkit.cli.main", *words], cwd=there.directory, env=there.environ(),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    limit = threading.Timer(60, process.kill)
    limit.start()
    try:
        yield lambda: json.loads(process.stdout.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        limit.cancel()
        limit.join()
        process.kill()
        process.wait()
        process.stdout.close()


def test_nothing_else_loads_textual(project: Make) -> None:
    shop = project(SHOP)
    script = (
        "import sys; from envkit.cli.main import main; main(sys.argv[1:]); "
        "print('textual' in sys.modules, 'rich' in sys.modules)"
    )
    for words in (("status",), ("up", "-d", "--dry-run"), ("ps",)):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=shop.directory, env=shop.environ(), capture_output=True,
            text=True, check=True, timeout=60,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "False False", done.stdout
