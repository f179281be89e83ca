"""`python -m tests.bench.watch`: how fast `envkit watch` is, and what it costs. Prints; asserts no time.

    edit    a synced file is written -> it is visible in the container            100 edits
    yaml    one variable of one of 20 services is edited -> that service runs anew  10 edits
    burst   1,000 files are written at once -> rounds, files
    churn   random edits, renames and deletes for --churn seconds -> is the container's tree the source's?
    idle    20,000 files, nothing happens -> share of a core, resident memory
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

from tests.support.boxes import BOX, box_home
from tests.support.project import Project
from tests.support.watching import Watching, churn, tree

SLEEP = '["sh", "-c", "exec sleep 100000"]'
RULE = "develop: {watch: [{path: ./src, action: sync, target: /srv/app, initial_sync: true}]}"
PARTS = ("edit", "yaml", "burst", "churn", "idle")


def one(marker: str = "0") -> dict[str, str]:
    return {"envkit.yaml": f"""
        services:
          web:
            image: {BOX}
            command: {SLEEP}
            stop_signal: SIGKILL
            environment: {{MARKER: "{marker}"}}
            {RULE}
        """, "src/first": "1"}  # fmt: skip


def twenty(marker: str) -> dict[str, str]:
    lines = ["services:"]
    for number in range(20):
        lines += [
            f"  s{number}:", f"    image: {BOX}", f"    command: {SLEEP}", "    stop_signal: SIGKILL",
            f"    environment: {{MARKER: '{marker if number == 7 else 'same'}'}}",
        ]  # fmt: skip
    return {"envkit.yaml": "\n".join([*lines, ""])}


def edit(project: Project) -> str:
    times = []
    with Watching(project) as watching:
        watching.quiet(1.5)
        seen = os.path.join(watching.root(), "srv/app/first")
        for number in range(100):
            began = time.perf_counter()
            project.write({"src/first": f"edit {number}"})
            while _read(seen) != f"edit {number}":
                time.sleep(0.0005)
            times.append(time.perf_counter() - began)
            time.sleep(0.05)
    return _spread(times)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def yaml(project: Project) -> str:
    times, within, cpu = [], [], []
    with Watching(project) as watching:
        watching.quiet(1.5)
        for number in range(10):
            began, before = time.perf_counter(), _cpu(watching.process.pid, children=True)
            project.write(twenty(f"edit {number}"))
            made = watching.round("replace")
            times.append(time.perf_counter() - began)
            within.append(made["seconds"])
            cpu.append(_cpu(watching.process.pid, children=True) - before)
            assert [act["address"] for act in made["acts"]] == ["service.s7"], made
            watching.quiet(0.5)
    return f"{_spread(times)}; in the round itself: {_spread(within)}; CPU time: {_spread(cpu)}"


def burst(project: Project) -> str:
    with Watching(project) as watching:
        watching.quiet(1.5)
        began = time.perf_counter()
        for number in range(1000):
            project.write({f"src/many/d{number % 20}/f{number}": f"content {number}"})
        written = time.perf_counter() - began
        made = [watching.round("sync")]
        while tree(f"{project.directory}/src") != tree(f"{watching.root()}/srv/app"):
            made.append(watching.round("sync"))
        made += watching.quiet(1.5)
    counts = [act["files"] for item in made for act in item["acts"]]
    took = [item["seconds"] for item in made]
    return f"written in {written:.2f} s; {len(made)} round(s) of {counts} files and directories in {took} s"


def churned(project: Project, seconds: float) -> str:
    with Watching(project) as watching:
        watching.quiet(1.5)
        count = churn(f"{project.directory}/src", seconds, seed=int(time.time()))
        made = watching.quiet(1.5)
        here, there = tree(f"{project.directory}/src"), tree(f"{watching.root()}/srv/app")
        different = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
        problems = sum(len(item["problems"]) for item in watching.rounds)
    differing = different[:10] or "none"
    return f"{count} changes in {seconds:g} s, {len(made)} rounds, {problems} problems; differing paths: {differing}"


def idle(project: Project) -> str:
    for number in range(20_000):
        path = f"{project.directory}/src/d{number % 200}/f{number}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(number))
    with Watching(project) as watching:
        watching.round("sync", 600)
        watching.quiet(5)
        began, before = time.monotonic(), _cpu(watching.process.pid)
        time.sleep(90)
        share = (_cpu(watching.process.pid) - before) / (time.monotonic() - began)
        with open(f"/proc/{watching.process.pid}/status", encoding="ascii") as file:
            rows = (line.split() for line in file if line.startswith(("VmRSS", "VmHWM")))
            memory = {row[0]: int(row[1]) / 1024 for row in rows}
    project.run("down", "--volumes", "--yes", timeout=900).assert_success()
    return f"{100 * share:.2f} % of a core, {memory['VmRSS:']:.1f} MB resident ({memory['VmHWM:']:.1f} at most)"


def _cpu(pid: int, *, children: bool = False) -> float:
    """Seconds of a process, with those of the children that it has waited for."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / os.sysconf("SC_CLK_TCK")


def _spread(times: list[float]) -> str:
    ordered = sorted(times)
    return (
        f"median {1000 * statistics.median(times):.1f} ms, 95 % {1000 * ordered[int(len(ordered) * 0.95) - 1]:.1f} ms, "
        f"most {1000 * ordered[-1]:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all when none is named")
    parser.add_argument("--churn", type=float, default=20, metavar="SECONDS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        home = box_home(directory)
        for part in options.parts or PARTS:
            files = twenty("0") if part == "yaml" else one()
            with Project(os.path.join(directory, part), files, home) as project:
                run = {"edit": edit, "yaml": yaml, "burst": burst, "idle": idle}.get(part)
                print(f"{part:6}{run(project) if run else churned(project, options.churn)}", flush=True)


if __name__ == "__main__":
    main()
