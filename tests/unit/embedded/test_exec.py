"""exec with real containers: exit codes, users, signals, and a terminal driven through a pty."""

import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from envkit.address import Address
from envkit.backend import terminal
from envkit.backend.base import ExecRequest
from envkit.backend.embedded import exec as executing
from envkit.backend.embedded import instance, record
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.host.home import Home
from tests.unit.embedded.handmade import in_engine, make, wait_for

pytestmark = pytest.mark.root

FOREVER = ["/bin/sleep", "1000"]
WEB = Address("service", "web")


def run(home: Home, *argv: str, **options: object) -> int:
    request = ExecRequest(WEB, argv, **{"stdin": False, **options})  # type: ignore[arg-type]
    return executing.exec_in(home, "shop", request)


def output(home: Home, *argv: str, stdin: bytes | None = None, **options: object) -> str:
    """What the command writes, through real descriptors."""
    read, write = os.pipe()
    feed_read, feed_write = os.pipe()
    os.write(feed_write, stdin or b"")
    os.close(feed_write)
    kept = [os.dup(number) for number in (0, 1)]
    os.dup2(feed_read, 0)
    os.dup2(write, 1)
    try:
        run(home, *argv, **{"stdin": stdin is not None, **options})
    finally:
        for number, descriptor in enumerate(kept):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(write)
        os.close(feed_read)
    with os.fdopen(read) as stream:
        return stream.read()


def test_exit_codes_and_identity(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", FOREVER)
        assert run(home, "true") == 0
        assert run(home, "sh", "-c", "exit 7") == 7
        assert run(home, "sh", "-c", "kill -9 $$") == 137
        assert run(home, "no-such-program") == 127
        assert run(home, "/etc/passwd") == 126
        assert output(home, "id", "-u") == "0\n"
        assert output(home, "id", user="app").startswith("uid=1000(app) gid=1000(app) groups=2000(extra)")
        assert output(home, "id", "-g", user="7:8") == "8\n"
        assert output(home, "grep", "CapEff", "/proc/self/status", user="app").split()[1] == "0" * 16
        assert output(home, "sh", "-c", "echo $HOME $GREETING $MORE", user="app",
                      environment={"MORE": "a b"}) == "/srv hello a b\n"  # fmt: skip
        assert output(home, "pwd", working_dir="/srv") == "/srv\n"
        assert output(home, "cat", stdin=b"through\n") == "through\n"
        assert output(home, "cat") == ""
        plain = output(home, "grep", "CapEff", "/proc/self/status")
        assert int(output(home, "grep", "CapEff", "/proc/self/status", privileged=True).split()[1], 16) > int(
            plain.split()[1], 16
        )
        with pytest.raises(NotFoundError):
            run(home, "true", user="nobody-here")

    in_engine(tmp_path, body)


def test_errors_before_anything_runs(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        with pytest.raises(NotFoundError):
            run(home, "true")
        made = make(home, "web", FOREVER)
        with record.locked(made):
            instance.pause(made)
        with pytest.raises(ConflictError, match="paused"):
            run(home, "true")
        instance.kill_all([made])
        with pytest.raises(ConflictError, match="not running"):
            run(home, "true")

    in_engine(tmp_path, body)


def test_detached_and_timed_out(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        made = make(home, "web", FOREVER)
        assert run(home, "sh", "-c", "sleep 0.2; touch /tmp/done", detach=True) == 0
        wait_for(lambda: os.path.exists(f"{made.root}/tmp/done"), "the detached process")
        process = executing.process_of(made)
        process["args"] = ["/bin/sh", "-c", "sleep 555 & sleep 555"]
        with pytest.raises(EnvkitError, match="did not end in time"):
            executing.run_process(made, instance.runtime_of(home), process, stdin=False, timeout=0.3)
        assert "555" not in output(home, "ps")

    in_engine(tmp_path, body)


def test_signals_reach_the_process_inside(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", FOREVER)
        child = os.fork()
        if child == 0:
            os._exit(run(home, "sh", "-c", "trap 'exit 42' TERM; touch /tmp/ready; while :; do sleep 0.05; done"))
        root = record.load_all(home, "shop")[0].root
        wait_for(lambda: os.path.exists(f"{root}/tmp/ready"), "the process")
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42

    in_engine(tmp_path, body)


class Typist:
    """A caller with a terminal: body runs in a child whose stdio is a pty."""

    def __init__(self, home: Home, *argv: str) -> None:
        self.text = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            code = 99
            try:
                code = run(home, *argv, tty=True, stdin=True)
            finally:
                os._exit(code)
        terminal.set_size(self.master, 33, 101)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: str, timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.text:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.text!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode()
                except OSError:
                    assert text in self.text, self.text
                    return

    def end(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.master)
        return code


def test_a_terminal(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", FOREVER)
        typist = Typist(home, "sh")
        typist.until("# ")
        typist.type("tty; stty size\r")
        typist.until("/dev/pts/0")
        typist.until("33 101")
        terminal.set_size(typist.master, 44, 77)
        time.sleep(0.2)
        typist.type("stty size\r")
        typist.until("44 77")
        typist.type("sleep 100\r")
        time.sleep(0.2)
        typist.type("\x03")
        typist.type("echo status $?\r")
        typist.until("status 130")
        typist.type("exit 5\r")
        assert typist.end() == 5
        loud = Typist(home, "seq", "1", "20000")
        loud.until("20000")
        assert loud.end() == 0
        assert not [name for name in os.listdir(record.load_all(home, "shop")[0].directory) if "console" in name]

    in_engine(tmp_path, body)


def test_the_terminal_is_restored_after_a_signal(tmp_path: Path) -> None:
    def body(home: Home) -> None:
        make(home, "web", FOREVER)
        script = (
            "import sys, subprocess, os\n"
            "from envkit.host.home import Home\nfrom envkit.address import Address\n"
            "from envkit.backend.base import ExecRequest\nfrom envkit.backend.embedded.exec import exec_in\n"
            "request = ExecRequest(Address('service', 'web'), ('sleep', '100'), tty=True)\n"
            "code = exec_in(Home(sys.argv[1]), 'shop', request)\n"
            "subprocess.run(['stty'])\nprint('code', code)\n"
        )
        pid, master = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", script, home.root])
        root = record.load_all(home, "shop")[0]
        wait_for(lambda: len(instance.Cgroups.of(home).processes(root.cgroup)) == 2, "the process inside")
        time.sleep(0.2)
        os.kill(pid, signal.SIGTERM)
        text = b""
        while b"code 143" not in text:
            text += os.read(master, 4096)
        os.waitpid(pid, 0)
        os.close(master)
        assert b"-icanon" not in text

    in_engine(tmp_path, body)
