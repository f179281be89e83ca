"""Pages of the documentation as tests read them: files that are shown, commands that are run, output that is promised.

A line with a name in bold right before a fenced block is a file. A `console` block has commands behind `$ ` (`> `
continues one) and, below each, lines of what it prints: they come in this order, more may stand between them, and a
number stands for any other.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_FENCE = re.compile(r"^```(?P<language>[\w{}-]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"\*\*(?P<name>[\w./-]+)\*\*\n\n?$")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class File:
    """A file that a page shows."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that a page tells to run; shown: the lines that it promises; line: where it stands."""

    text: str
    shown: tuple[str, ...]
    line: int


def steps(page: str) -> Iterator[File | Command]:
    """What a page (a path below docs/) asks the reader to do, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for block in _FENCE.finditer(text):
        if block["language"] == "console":
            yield from _commands(block["text"], text.count("\n", 0, block.start()) + 2)
        elif named := _NAMED.search(text[: block.start()]):
            yield File(named["name"], block["text"])


def _commands(text: str, first: int) -> Iterator[Command]:
    command, shown, at = "", list[str](), first
    for number, line in enumerate(text.splitlines(), first):
        if line.startswith("$ "):
            if command:
                yield Command(command, tuple(shown), at)
            command, shown, at = line[2:], [], number
        elif line.startswith("> "):
            command += "\n" + line[2:]
        elif line.strip():
            shown.append(line)
    if command:
        yield Command(command, tuple(shown), at)


class Reader:
    """Does what a page says, in one shell session's directory and variables."""

    def __init__(self, directory: str, environ: Mapping[str, str], replaced: Mapping[str, str]) -> None:
        self.directory = directory
        self.environ = dict(environ)
        self.replaced = replaced

    def follow(self, page: str, timeout: float = 600) -> None:
        """Every step of the page; fails at the first that does not do what the page says."""
        for step in steps(page):
            if isinstance(step, File):
                self.write(step)
            else:
                self.run(step, page, timeout)

    def write(self, step: File) -> None:
        """Make the file."""
        path = os.path.join(self.directory, step.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.adapted(step.text))

    def run(self, step: Command, page: str, timeout: float) -> None:
        """Run the command (timeout: seconds); where it changes the directory to, later ones are run."""
        script = f"{self.adapted(step.text)}\nstatus=$?; pwd >&9; exit $status"
        reader, writer = os.pipe()
        with os.fdopen(reader) as answer:
            done = subprocess.run(
                ["bash", "-c", f"exec 9>&{writer}\n{script}"], cwd=self.directory, env=self.environ, timeout=timeout,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                pass_fds=[writer], check=False,
            )  # fmt: skip
            os.close(writer)
            self.directory = answer.readline().strip() or self.directory
        where = f"{page}:{step.line}: $ {step.text}\n{done.stdout}"
        assert done.returncode == 0, f"exit code {done.returncode}\n{where}"
        rest = iter(done.stdout.splitlines())
        for line in step.shown:
            wanted = pattern(self.adapted(line))
            assert any(wanted.search(printed) for printed in rest), f"not printed (in this order): {line!r}\n{where}"

    def adapted(self, text: str) -> str:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return text


def pattern(line: str) -> re.Pattern[str]:
    """A line of a page as what a program may print: any number for a number, any blanks for blanks."""
    words = [
        r"\d+(?:\.\d+)?".join(re.escape(part) for part in _NUMBER.split(word)) for word in line.split()
    ]  # fmt: skip
    return re.compile(r"\s+".join(words))
