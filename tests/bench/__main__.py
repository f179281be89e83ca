"""`make bench`: how long envkit's own commands take, at several sizes, in one run. Prints; asserts nothing.

    python -m tests.bench [--sizes 1,20,100] [--rounds 3]

Per size N, an environment of N busybox services on one network, each with variables, a read-only root, a tmpfs and one
shared volume:

    cold    nothing exists -> everything runs           one     one service's variable changed -> apply
    noop    everything runs -> the same command again   down    everything runs -> nothing is left

Each line has the median wall time, the CPU time of the command and of what it waited for, and the wall time in starts
of an empty Python interpreter, taken in turn with it: machines differ, and one machine differs from itself, so compare
that column. Then what is resident while N services run: the supervisor, and the monitors.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from envkit.backend.embedded import record as records
from envkit.backend.embedded import supervision
from envkit.backend.embedded.status import monitor_pid
from envkit.host.home import Home
from envkit.host.lock import Lock
from tests.support.boxes import BOX, box_home
from tests.support.project import Project

PHASES = ("cold", "noop", "one", "down")
EMPTY = (sys.executable, "-c", "pass")
IDLE = 3.0  # seconds that the resident processes are watched


def files(size: int, marker: str) -> dict[str, str]:
    """The project of one size; marker is a variable of the first service."""
    lines = ["services:"]
    for number in range(size):
        lines += [
            f"  s{number}:", f"    image: {BOX}", '    command: ["sh", "-c", "echo up; exec sleep 100000"]',
            f"    environment: {{INDEX: '{number}', MARKER: '{marker if number == 0 else 'same'}'}}",
            "    read_only: true", "    tmpfs: [/tmp]", "    stop_signal: SIGKILL", '    volumes: ["data:/data"]',
        ]  # fmt: skip
    return {"compose.yaml": "\n".join([*lines, "volumes:", "  data: {}", ""])}


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU of the children that were waited for) in seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def empty() -> float:
    return timed(lambda: subprocess.run(EMPTY, check=True))[0]


def measure(project: Project, size: int, number: int) -> dict[str, list[tuple[float, float, float]]]:
    """Phase -> (wall, CPU, wall of an empty interpreter) of each repetition, in one round."""

    def once(*words: str) -> tuple[float, float, float]:
        yardstick = empty()
        return (*timed(lambda: project.run(*words, timeout=600).assert_success()), yardstick)

    project.write(files(size, f"first-{number}"))
    found = {"cold": [once("apply")], "noop": [once("apply") for _ in range(3)]}
    project.write(files(size, f"second-{number}"))
    return {**found, "one": [once("apply")], "down": [once("down", "--volumes", "--yes")]}


def resident(project: Project) -> str:
    """Memory (proportional set size) and CPU of the supervisor, memory of the monitors."""
    home, name = Home(project.home), os.path.basename(project.directory)
    lock = Lock(supervision.lock_path(home, name))
    while not (holder := lock.holder()):
        time.sleep(0.05)
    time.sleep(IDLE)  # it has just begun
    monitors = [monitor_pid(record) for record in records.load_all(home, name)]
    pid = int(holder["pid"])
    begun = ticks(pid)
    time.sleep(IDLE)
    share = (ticks(pid) - begun) / os.sysconf("SC_CLK_TCK") / IDLE
    each = sum(map(memory, monitors)) / len(monitors)
    return f"supervisor {memory(pid) / 1024:.1f} MiB, {share:.2%} CPU idle; monitors {each / 1024:.2f} MiB each"


def memory(pid: int) -> int:
    """KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--sizes", default="1,20,100", help="numbers of services")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'N':>5} {'phase':>5} {'wall':>9} {'CPU':>9} {'interpreter starts':>19} {'per service':>12}")
    with tempfile.TemporaryDirectory(prefix="envkit-bench-") as directory:
        home = box_home(directory)
        for size in map(int, options.sizes.split(",")):
            rows: dict[str, list[tuple[float, float, float]]] = {phase: [] for phase in PHASES}
            with Project(os.path.join(directory, f"n{size}"), files(size, "warm"), home) as project:
                project.run("apply", timeout=600).assert_success()
                idle = resident(project)
                project.run("down", "--volumes", "--yes").assert_success()
                for number in range(options.rounds):
                    for phase, row in measure(project, size, number).items():
                        rows[phase] += row
            for phase in PHASES:
                wall, cpu, yardstick = (statistics.median(column) for column in zip(*rows[phase], strict=True))
                print(
                    f"{size:>5} {phase:>5} {wall * 1000:>6.0f} ms {cpu * 1000:>6.0f} ms {wall / yardstick:>18.1f}x"
                    f" {wall / yardstick / size:>11.2f}x"
                )
            print(f"      {idle}")


if __name__ == "__main__":
    main()
