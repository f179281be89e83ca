"""A Git repository that is served on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.load import await_server
from tests.support.registry import free_port


def git(directory: str, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", directory, *identity, *words], check=True, timeout=30, capture_output=True)


def commit(directory: str) -> None:
    """Make the directory a repository with everything in it on `main`."""
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "-m", "x")


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The URL of the repository at place."""
    port = free_port()
    argv = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={place.parent}"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True) as daemon:
        try:
            await_server(port)
            yield f"git://127.0.0.1:{port}/{place.name}"
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)
