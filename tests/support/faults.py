"""Faults at every step of a command: what is cut off or fails, what must hold afterwards, and how it is told.

A Bench is one installation with one environment of three services. A trial lets one fault happen, then the same
command (or `apply`) again, and compares everything that there is with what a run without faults leaves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from envkit.host.faults import WIDTH
from tests.support.boxes import box_home
from tests.support.leaks import _machine
from tests.support.project import Project
from tests.support.warm import Warm

KEPT = b"precious\n" * 1000
KILL, FULL, BROKEN = "KILL", "ENOSPC", "EIO"
_HALF = re.compile(r"\.\d+\.[0-9a-f]{8}$|\.new$|\.tmp$|/tmp[a-z0-9_]{8}$")
_SUPERVISOR = "processes: supervisor"
_TAKES_SPACE = re.compile(r"open|os\.(mkdir|rename|link|symlink|setxattr|chmod|truncate)|fsync|openat2|write_atomic")
_BUNDLE = ("config.json", "vitals.json", "health.json", "supervisor.json")
_IDENTITY = re.compile(r"\b[0-9a-f]{12}\b")
_STAMP = re.compile(r"\b[0-9a-f]{16,64}\b")

ENVIRONMENT = """
name: faults
x-box: &box {image: "box:1", command: [sleep, inf], stop_signal: SIGKILL}
services:
  db:
    <<: *box
    volumes: ["data:/data", "/anonymous"]
    healthcheck: {test: [CMD, test, -d, /data], interval: 1s}
  cache: {<<: *box, tmpfs: [/tmp], read_only: true, secrets: [token]}
  web:
    <<: *box
    ports: ["127.0.0.1:PORT:80"]
    read_only: false
    environment: {ROUND: "${ROUND:-0}"}
    depends_on: {db: {condition: service_started, restart: true}, cache: {condition: service_started}}
images:
  app: {from: scratch, layers: [{copy: ./files, to: /srv}, {copy: ./token, to: /token}]}
volumes: {data: {}}
secrets: {token: {file: ./token}}
"""


@dataclass
class Visited:
    """What has been done: the number of fault points, and what did not hold at which."""

    points: int = 0
    wrong: list[str] = field(default_factory=list)


class Bench:
    """An installation below directory, and what envkit does in it."""

    def __init__(self, directory: str, warm: Warm, port: int) -> None:
        self.home = box_home(directory)
        self.base = directory
        self.warm = warm
        files = {"token": "secret", "files/one": "1", "files/two": "2"}
        self.project = Project(directory, {"envkit.yaml": ENVIRONMENT.replace("PORT", str(port)), **files}, self.home)
        self.round = 0

    def run(self, *words: str, faults: Sequence[object] | None = None) -> tuple[int, str]:
        environ = self.project.environ({"ROUND": str(self.round)})
        return self.warm.run(words, cwd=self.project.directory, environ=environ, faults=faults)

    def must(self, *words: str) -> None:
        code, output = self.run(*words)
        assert code == 0, f"envkit {' '.join(words)}: exit code {code}\n{output}"

    @property
    def volume(self) -> str:
        return os.path.join(self.home, "volumes", "faults_data", "data", "kept")

    def keep_something(self) -> None:
        """Write the volume's precious file."""
        with open(self.volume, "wb") as file:
            file.write(KEPT)

    def steps(self, *words: str) -> list[str]:
        """Run a command without faults; the names of its effects, in order."""
        with tempfile.NamedTemporaryFile(dir=self.base) as file:
            code, output = self.run(*words, faults=[file.name, 0, KILL])
            assert code == 0, output
            data = file.read()
        return [data[start : start + WIDTH].decode().strip() for start in range(0, len(data), WIDTH)]

    def fault(self, number: int, kind: str, *words: str) -> tuple[int, str]:
        """Run a command with a fault at its effect of this number."""
        with tempfile.NamedTemporaryFile(dir=self.base) as file:
            return self.run(*words, faults=[file.name, number, kind])

    def picture(self) -> Counter[str]:
        """Everything of the installation, on disk and on the machine, without identities."""
        found = Counter[str]()
        for place, names, files in os.walk(self.home):
            if place == self.home:
                names[:] = [name for name in names if name != "cache"]
            if place.endswith("/volumes/faults_data/data"):
                names.clear()
            found.update(_plain(os.path.relpath(os.path.join(place, name), self.home)) for name in (*names, *files))
        for name in list(found):  # generations grow with every round; a lock's file stays wherever one was taken once
            if name.startswith("environments/faults/generations/") or re.fullmatch(r"run/[a-z]+\.lock", name):
                del found[name]
        for kind, names_of_kind in _machine(self.base).items():
            found.update(_plain(f"{kind}: {_word(kind, name)}") for name in names_of_kind)
        if _SUPERVISOR in found:
            found[_SUPERVISOR] = 1  # a second one waits a second for the first one's lock, and goes
        return found

    def damaged(self, spared: Collection[str] = ()) -> list[str]:
        """JSON files that are none. spared: names of files that do not count yet (of a bundle that is being made)."""
        found = []
        for place, _, files in os.walk(self.home):
            for name in files:
                if name.endswith(".json") and "/layers/" not in place and not name.startswith(".") and (
                    name not in spared
                ):  # fmt: skip
                    found += _unreadable(os.path.join(place, name))
        return found

    def lost(self) -> list[str]:
        """What the volume has lost."""
        try:
            with open(self.volume, "rb") as file:
                return [] if file.read() == KEPT else ["the volume's data has changed"]
        except FileNotFoundError:
            return ["the volume's data is gone"]

    def settled(self) -> Counter[str]:
        """The picture, once it has stopped to change."""
        before, since = self.picture(), time.monotonic()
        while time.monotonic() - since < 0.4:
            time.sleep(0.05)
            if (now := self.picture()) != before:
                before, since = now, time.monotonic()
        return before

    def temporary(self) -> list[str]:
        """Files that some write has left half done, the cache's included."""
        found = self._temporary()
        if found:
            time.sleep(0.3)  # the supervisor writes, too
        return [path for path in found if os.path.lexists(path)]

    def _temporary(self) -> list[str]:
        return [
            os.path.join(place, name) for place, names, files in os.walk(self.home) for name in (*names, *files)
            if _HALF.search(os.path.join(place, name)) and not place.startswith(f"{self.home}/images/trees")
        ]  # fmt: skip


@dataclass
class Scenario:
    """words: the command that is disturbed. before: makes the state it starts from; after: what mends a fault.

    data: whether the volume's content must survive it."""

    name: str
    words: tuple[str, ...]
    before: Callable[[Bench], None]
    after: Callable[[Bench], None]
    data: bool = True


Chooser = Callable[[Sequence[str]], Iterable[tuple[int, str]]]
"""The names of a command's effects -> (number from 1 on, kind) of the faults to try."""


def every(kinds: Sequence[str], stride: int = 1) -> Chooser:
    """All of them, or every stride-th."""
    return lambda steps: [(number, kind) for kind in kinds for number in range(1, len(steps) + 1, stride)]


def spread(**counts: int) -> Chooser:
    """So many of each kind, far apart from one another, the same ones every time."""

    def chosen(steps: Sequence[str]) -> Iterator[tuple[int, str]]:
        for place, (kind, count) in enumerate(counts.items(), 1):
            fit = [number for number, step in enumerate(steps, 1) if _can_fail(step, kind)]
            for position in range(count):
                yield fit[(len(fit) * (3 * position + place) // (3 * count)) % len(fit)], kind

    return chosen


def visit(bench: Bench, scenario: Scenario, choose: Chooser, told: Callable[[str], None] = print) -> Visited:
    """Let one fault after the other happen in a scenario's command. told: gets what did not hold, as it is found."""
    visited = Visited()
    scenario.before(bench)
    steps = bench.steps(*scenario.words)
    scenario.after(bench)
    if scenario.data:
        bench.keep_something()
    wanted = bench.settled()
    for number, kind in choose(steps):
        if not _can_fail(step := steps[number - 1], kind):
            continue
        visited.points += 1
        if wrong := _trial(bench, scenario, kind, number, wanted):
            where = f"{scenario.name} {kind} at {number} ({step.replace(bench.home, 'HOME')[:90]})"
            visited.wrong.append(f"{where}: {wrong}")
            told(visited.wrong[-1])
            _start_over(bench)
            scenario.before(bench)
            bench.run(*scenario.words)
            scenario.after(bench)
            if scenario.data:
                bench.keep_something()
    return visited


def _can_fail(step: str, kind: str) -> bool:
    return kind != FULL or _TAKES_SPACE.match(step) is not None


def _trial(bench: Bench, scenario: Scenario, kind: str, number: int, wanted: Counter[str]) -> str:
    """What did not hold after one fault; "" for nothing."""
    try:
        scenario.before(bench)
        code, output = bench.fault(number, kind, *scenario.words)
        if "Traceback" in output or "bug in envkit" in output:
            return f"it is not said what is wrong: {output}"
        if kind == KILL and code not in (-9, 0, 1):
            return f"exit code {code}: {output}"
        if damaged := bench.damaged(_BUNDLE):
            return f"right after: {damaged}"
        scenario.after(bench)
        lost = bench.lost() if scenario.data else []
        return compared(bench, wanted) or "; ".join(lost + bench.damaged() + bench.temporary())
    except AssertionError as error:
        return str(error)


def compared(bench: Bench, wanted: Counter[str]) -> str:
    """What there is and should not be, and the reverse. What is just ending has a moment to do so."""
    deadline = time.monotonic() + 4
    while (there := bench.picture()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    more, less = there - wanted, wanted - there
    return "; ".join([*(f"left: {name}" for name in more), *(f"missing: {name}" for name in less)])


def _start_over(bench: Bench) -> None:
    """After a failure: what can be taken down is, so that it does not fail the next trial."""
    bench.run("down", "--volumes", "--yes", "--timeout", "0")
    for name in ("environments", "volumes"):
        shutil.rmtree(os.path.join(bench.home, name), ignore_errors=True)


def _plain(text: str) -> str:
    return _STAMP.sub("HEX", _IDENTITY.sub("ID", text))


def _word(kind: str, name: str) -> str:
    """A process by its program, everything else by its name."""
    if kind != "processes":
        return re.sub(r"(ek[a-z]*)[-0-9a-f]+", r"\1", name) if kind == "links" else name
    words = name.partition("(")[2].split()
    if "envkit.backend.embedded.supervisor" in words:
        return "supervisor"
    return os.path.basename(words[0]) if words else ""


def _unreadable(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            json.loads(file.read())
    except FileNotFoundError:
        return []
    except ValueError:
        return [path]
    return []
