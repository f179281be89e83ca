"""`envkit watch` in a process of its own, its rounds as they come, and what the container sees."""

from __future__ import annotations

import json
import os
import queue
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.project import Project

PATIENCE = 60.0


class Watching:
    """As a context manager: begun when it is entered, ended by Ctrl-C when it is left."""

    def __init__(self, project: Project, *words: str, command: str = "watch") -> None:
        self.project = project
        self._words = (command, "--json", *words)
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.rounds: list[dict[str, Any]] = []
        self.stderr = ""

    def __enter__(self) -> Watching:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "envkit.cli.main", *self._words], cwd=self.project.directory,
            env=self.project.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.begun = self.wait(lambda line: line["type"] == "watching")
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self, number: int = signal.SIGINT) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stderr is not None and self.process.stdout is not None
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        if not self.process.stderr.closed:
            self.stderr = self.process.stderr.read()
            self.process.stderr.close()
            self.process.stdout.close()
        return self.process.returncode

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def wait(self, condition: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE) -> dict[str, Any]:
        """The next line that meets the condition."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                said = self.end()
                raise AssertionError(f"no such line came (exit code {said})\n{self.rounds}\n{self.stderr}") from None
            if line["type"] == "round":
                self.rounds.append(line)
            if condition(line):
                return line

    def round(self, verb: str = "", timeout: float = PATIENCE) -> dict[str, Any]:
        """The next round (with an act of this verb)."""

        def is_it(line: dict[str, Any]) -> bool:
            return line["type"] == "round" and (not verb or verb in {act["verb"] for act in line["acts"]})

        return self.wait(is_it, timeout)

    def quiet(self, seconds: float = 0.7) -> list[dict[str, Any]]:
        """The rounds that come until there has been none for a while."""
        before = len(self.rounds)
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                return self.rounds[before:]
            if line["type"] == "round":
                self.rounds.append(line)

    def root(self, service: str = "web") -> str:
        """What an instance's first process sees as `/`."""
        from envkit.backend.select import select_backend
        from envkit.host.home import Home

        name = os.path.basename(self.project.directory)
        found = select_backend("embedded", Home(self.project.home)).instances(name)
        return next(f"/proc/{row.pid}/root" for row in found if row.service == service)


def tree(path: str) -> dict[str, tuple[str, int, bytes | str]]:
    """Relative path -> (kind, permissions, content) of everything below path."""
    found: dict[str, tuple[str, int, bytes | str]] = {}
    for directory, names, files in os.walk(path):
        for name in [*names, *files]:
            full = os.path.join(directory, name)
            info = os.lstat(full)
            relative = os.path.relpath(full, path)
            if stat.S_ISLNK(info.st_mode):
                found[relative] = "link", 0, os.readlink(full)
            elif stat.S_ISDIR(info.st_mode):
                found[relative] = "directory", stat.S_IMODE(info.st_mode), ""
            else:
                with open(full, "rb") as file:
                    found[relative] = "file", stat.S_IMODE(info.st_mode), file.read()
    return found


def churn(path: str, seconds: float, seed: int) -> int:
    """Edit, rename, delete at random below path, as editors and version control do; how many times."""
    dice = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
        _one(path, dice)
        if dice.random() < 0.3:
            time.sleep(dice.random() * 0.05)
    return count


def _one(path: str, dice: random.Random) -> None:  # noqa: PLR0912 a table of what people do
    directories = [item for item, _, _ in os.walk(path)]
    where = dice.choice(directories)
    name = os.path.join(where, f"f{dice.randrange(30)}")
    names = os.listdir(where)
    present = os.path.join(where, dice.choice(names)) if names else ""
    match dice.randrange(12):
        case 0 | 1 | 2:
            if not os.path.isdir(name) or os.path.islink(name):
                _write(name, dice)
        case 3 if not os.path.isdir(name):  # as Vim saves: write another and rename it
            _write(f"{name}.new~", dice)
            os.rename(f"{name}.new~", name)
        case 4 if present and os.path.isfile(present) and not os.path.islink(present):
            with open(present, "ab") as file:
                file.write(dice.randbytes(dice.randrange(200)))
        case 5 if present and (not os.path.isdir(present) or os.path.islink(present)):
            os.unlink(present)
        case 6 if present and os.path.isdir(present) and not os.path.islink(present) and dice.random() < 0.5:
            shutil.rmtree(present)
        case 7 if len(directories) < 40 and where.count("/") - path.count("/") < 4:
            made = os.path.join(where, f"d{dice.randrange(6)}")
            if not os.path.lexists(made):
                os.mkdir(made)
                for number in range(dice.randrange(5)):
                    _write(os.path.join(made, f"f{number}"), dice)
        case 8 if present:
            goal = os.path.join(dice.choice(directories), f"m{dice.randrange(10)}")
            if not os.path.lexists(goal) and not f"{goal}/".startswith(f"{present}/"):
                os.rename(present, goal)
        case 9 if present and not os.path.islink(present):
            os.chmod(present, dice.choice((0o755, 0o700) if os.path.isdir(present) else (0o644, 0o755, 0o600)))
        case 10 if not os.path.lexists(f"{name}.link"):
            os.symlink(dice.choice(("f1", "../f2", "nowhere")), f"{name}.link")
        case 11 if present and os.path.lexists(present) and not os.path.islink(present):
            os.utime(present)
        case _:
            return


def _write(path: str, dice: random.Random) -> None:
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "wb") as file:
        file.write(dice.randbytes(dice.randrange(3000)))
