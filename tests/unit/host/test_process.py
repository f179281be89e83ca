"""envkit.host.process, proc, lock, steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from envkit.errors import ConflictError, HostError, UnsupportedError
from envkit.host import proc, process
from envkit.host.lock import Lock, is_locked


def test_run_returns_output():
    done = process.run(["cat"], input=b"hello")
    assert (done.returncode, done.stdout) == (0, b"hello")


def test_failure_carries_command_and_last_words():
    with pytest.raises(HostError) as caught:
        process.run(["sh", "-c", "echo one; echo 'two words' >&2; exit 3", "a b"])
    error = caught.value
    assert error.returncode == 3
    assert error.command_line == "sh -c 'echo one; echo '\"'\"'two words'\"'\"' >&2; exit 3' 'a b'"
    assert error.detail == "two words"
    assert process.run(["sh", "-c", "exit 4"], check=False).returncode == 4


def test_signal_is_named():
    with pytest.raises(HostError, match="SIGKILL"):
        process.run(["sh", "-c", "kill -9 $$"])


def test_missing_tool_names_the_package():
    with pytest.raises(UnsupportedError) as caught:
        process.run(["mmdebstrap-absent"])
    assert "mmdebstrap-absent" in caught.value.summary
    assert "apt-get install uidmap" in _hint("newuidmap-nowhere", "newuidmap")


def _hint(_, tool):
    from envkit.host.tools import package_of

    return f"apt-get install {package_of(tool)}"


def test_timeout_kills_the_whole_group(tmp_path):
    mark = tmp_path / "pid"
    with pytest.raises(HostError, match="did not end within"):
        process.run(["sh", "-c", f"sleep 60 & echo $! > {mark}; wait"], timeout=0.3)
    pid = int(mark.read_text())
    for _ in range(50):
        if not proc.is_alive(pid):
            break
        time.sleep(0.02)
    assert not proc.is_alive(pid)


def test_identity_of_processes():
    child = subprocess.Popen(["sleep", "60"])
    start = proc.start_time(child.pid)
    assert proc.is_alive(child.pid, start)
    assert not proc.is_alive(child.pid, start + 1)
    assert proc.kill_and_wait([(child.pid, start + 1)], 0.1) == []
    assert child.poll() is None
    assert proc.kill_and_wait([child.pid, (child.pid, start)], 5) == []
    assert not proc.is_alive(child.pid)
    assert child.wait() == -signal.SIGKILL
    assert proc.start_time(child.pid) is None
    assert not proc.is_alive(0)


def test_kill_and_wait_reports_survivors():
    child = subprocess.Popen([sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); "
                              "print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE)  # fmt: skip
    child.stdout.readline()
    assert proc.kill_and_wait([child.pid], 0.1, signal.SIGTERM) == [child.pid]
    child.kill()
    child.communicate()


def test_lock_excludes_and_names_the_holder(tmp_path):
    path = str(tmp_path / "lock")
    first, second = Lock(path, {"command": "apply"}), Lock(path)
    seen = []
    with first:
        assert is_locked(path)
        with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
            second.acquire(0.1, seen.append)
        assert seen[0]["who"] == {"command": "apply"}
        assert seen[0]["boot_id"] == proc.boot_id()
        with pytest.raises(ConflictError):
            second.acquire(0)
    assert not is_locked(path)
    assert second.holder() is None
    with second:
        assert json.loads((tmp_path / "lock").read_bytes())["pid"] == os.getpid()


def test_lock_waits_until_released(tmp_path):
    path = str(tmp_path / "lock")
    first, second = Lock(path), Lock(path)
    first.acquire()
    threading.Timer(0.15, first.release).start()
    second.acquire(None)
    assert second.held
    second.release()


def test_lock_of_a_dead_process_is_free(tmp_path):
    path = str(tmp_path / "lock")
    code = f"from envkit.host.lock import Lock; import os; Lock({path!r}).acquire(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    Lock(path).acquire(0)


def test_steps(tmp_path):
    record = tmp_path / "steps"
    code = "from envkit.host.steps import step; [step(n) for n in ('a', 'b', 'a', 'c')]"
    environ = {**os.environ, "ENVKIT_STEPS": str(record), "ENVKIT_FAIL_AT": "a:2"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert record.read_text() == "a\nb\na\n"
