"""The command line as a user has it: files in a directory, one command after the other.

    project = Project(tmp_path, {"envkit.yaml": "..."})
    project.run("apply").assert_success().assert_text("1 to create")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclass(frozen=True)
class Outcome:
    """One command's end."""

    command: tuple[str, ...]
    directory: str
    code: int
    stdout: str
    stderr: str

    def assert_success(self) -> Outcome:
        return self.assert_code(0)

    def assert_code(self, code: int) -> Outcome:
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self}"
        return self

    def assert_failure(self, *texts: str) -> Outcome:
        """It failed (exit code 1), said all of the texts, and showed no traceback."""
        self.assert_code(1).assert_text(*texts)
        assert "Traceback" not in self.stderr, str(self)
        return self

    def assert_text(self, *texts: str) -> Outcome:
        """Each text is in what was printed."""
        said = self.stdout + self.stderr
        for text in texts:
            assert text in said, f"{text!r} was not said\n{self}"
        return self

    def assert_no_text(self, *texts: str) -> Outcome:
        said = self.stdout + self.stderr
        for text in texts:
            assert text not in said, f"{text!r} was said\n{self}"
        return self

    def assert_one_line(self, text: str) -> Outcome:
        """stdout is exactly this line."""
        assert self.stdout == text + "\n", str(self)
        return self

    @property
    def json(self) -> Any:
        """stdout as one JSON value."""
        return json.loads(self.stdout)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def __str__(self) -> str:
        return "\n".join((
            f"$ cd {self.directory}", f"$ envkit {' '.join(self.command)}", f"exit code: {self.code}",
            "stdout:", textwrap.indent(self.stdout, "  "), "stderr:", textwrap.indent(self.stderr, "  "),
        ))  # fmt: skip


class Project:
    """A directory with files and an ENVKIT_HOME of its own. As a context manager it takes everything down at last."""

    def __init__(self, directory: str | os.PathLike[str], files: Mapping[str, str], home: str | None = None) -> None:
        self.directory = os.path.join(directory, "project")
        self.home = home or os.path.join(directory, "home")
        os.makedirs(self.directory, exist_ok=True)
        self.write(files)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files (name -> content; common indentation is taken off)."""
        for name, content in files.items():
            path = os.path.join(self.directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(content).lstrip("\n"))

    def environ(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """Only what a command needs, so that nothing of the developer's shell decides a test."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "ENVKIT_HOME": self.home, "PYTHONPATH": _ROOT, "NO_COLOR": "1", **(variables or {})}

    def run(
        self, *words: str, variables: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 120,
        prefix: Sequence[str] = (),
    ) -> Outcome:  # fmt: skip
        """Run `envkit WORDS…` here, in a process of its own. prefix: a program that runs it (`setpriv`, `unshare`)."""
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "envkit.cli.main", *words], cwd=self.directory, env=self.environ(variables),
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Outcome(words, self.directory, done.returncode, done.stdout, done.stderr)

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.run("down", "--volumes", "--yes", "--timeout", "0")
