"""envkit commands from a process that has everything imported: `python -m tests.support.warm`, for tests of thousands.

One JSON request a line on stdin: {"words", "cwd", "environ", "faults": [FILE, NUMBER, KIND] or null}; one JSON reply
a line on stdout: {"code" (negative: the signal), "stdout", "stderr"}. Each command runs in a fork of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NoReturn

_PRELOAD = (
    "envkit.backend.embedded.backend", "envkit.backend.embedded.conmon", "envkit.backend.embedded.network",
    "envkit.backend.embedded.session", "envkit.cli.apply", "envkit.cli.down", "envkit.cli.image", "envkit.cli.look",
    "envkit.cli.main", "envkit.cli.project", "envkit.config.environment", "envkit.host.faults", "envkit.image.build",
    "envkit.image.gc", "envkit.image.store", "envkit.reconcile.apply", "envkit.views.plan",
)  # fmt: skip


class Warm:
    """The client: as a context manager, or begun by the first run and ended by close()."""

    def __init__(self) -> None:
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root,
            text=True, env={**os.environ, "PYTHONPATH": root, "NO_COLOR": "1"},
        )  # fmt: skip

    def run(
        self, words: Sequence[str], *, cwd: str, environ: dict[str, str], faults: Sequence[Any] | None = None
    ) -> tuple[int, str]:
        """(exit code, what was printed); a negative code is the signal that ended it."""
        assert self._server.stdin is not None and self._server.stdout is not None
        request = {"words": list(words), "cwd": cwd, "environ": environ, "faults": faults}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        reply = json.loads(self._server.stdout.readline())
        return reply["code"], reply["output"]

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(20)


def _serve() -> None:
    import importlib

    for name in _PRELOAD:
        importlib.import_module(name)
    while line := sys.stdin.readline():
        request = json.loads(line)
        with tempfile.TemporaryFile() as output:
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                _child(request, output.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            text = output.read().decode(errors="replace")
        sys.stdout.write(json.dumps({"code": code, "output": text}) + "\n")
        sys.stdout.flush()


def _child(request: dict[str, Any], output: int) -> NoReturn:
    from envkit.cli.main import main
    from envkit.host import steps

    code = 70
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 64)
        os.environ.clear()
        os.environ.update(request["environ"])
        os.chdir(request["cwd"])
        if request["faults"]:
            steps.count(*request["faults"])
        code = main(request["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
