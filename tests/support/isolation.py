"""Run a test in a forked child: the engine namespace is entered for good, and a test runner must not go there."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

from envkit.host import syscalls

LIMIT = 60  # seconds


def isolated(test: Callable[..., None]) -> Callable[..., None]:
    """The test's body runs in a child with a network namespace of its own; its failure is raised here."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            code = 1
            try:
                signal.alarm(LIMIT)
                syscalls.unshare(syscalls.CLONE_NEWNET)
                subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
                test(*arguments, **named)
                code = 0
            except BaseException:  # noqa: BLE001  (shown by the parent)
                os.write(writer, traceback.format_exc().encode()[-60000:])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            said = file.read().decode(errors="replace")
        _, status = os.waitpid(child, 0)
        if status:
            raise AssertionError(said or f"the test's process ended with {os.waitstatus_to_exitcode(status)}")

    return run


def apart(work: Callable[[], Any]) -> Any:
    """work() in a forked child, as a command of its own would run; returns its value (JSON), or its exit code when it
    was killed. For tests that run one command after the other and must not stay where the first one went."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.write(writer, json.dumps(work()).encode())
        except BaseException:  # noqa: BLE001  (raised by the parent)
            os.write(writer, json.dumps({"raised": traceback.format_exc()}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        return code
    value = json.loads(said)
    if isinstance(value, dict) and "raised" in value:
        raise AssertionError(value["raised"])
    return value
