"""Run a test in a forked child: the engine namespace is entered for good, and a test runner must not go there."""

from __future__ import annotations

import functools
import os
import signal
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
                os.system("ip link set lo up")
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
