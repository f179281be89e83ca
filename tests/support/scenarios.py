"""The commands whose every step is disturbed: what they start from, and what mends them."""

from __future__ import annotations

import os

from tests.support.faults import Bench, Scenario

ARCHIVE = "box.tar"


def _nothing(bench: Bench) -> None:
    bench.must("down", "--volumes", "--yes", "--timeout", "0")


def _applied(bench: Bench) -> None:
    bench.must("apply")
    bench.must("plan", "--expect-no-changes")


def _another_round(bench: Bench) -> None:
    bench.round += 1


def _as_it_is(bench: Bench) -> None:
    """What the last trial was mended to is what this one needs; the first finds it so as well."""
    if not os.path.isdir(f"{bench.home}/environments/faults"):
        _applied(bench)
        bench.keep_something()


def _no_image(bench: Bench) -> None:
    if not os.path.exists(os.path.join(bench.project.directory, ARCHIVE)):
        bench.must("image", "save", "box:1", "-o", ARCHIVE)
    bench.must("gc", "--all")


def _unused(bench: Bench) -> None:
    _no_image(bench)
    bench.must("image", "load", ARCHIVE)


def _built(bench: Bench) -> None:
    bench.must("build")


def _loaded(bench: Bench) -> None:
    bench.must("image", "load", ARCHIVE)


def _taken(bench: Bench) -> None:
    """The snapshot is whole (or was never there), and goes."""
    code, output = bench.run("volume", "snapshot", "data", "--name", "s")
    assert code == 0 or "s" in bench.run("volume", "snapshots", "-q")[1], output
    _drop_snapshots(bench)


def _kept_apart(bench: Bench) -> None:
    _as_it_is(bench)
    bench.keep_something()
    bench.must("volume", "snapshot", "data", "--name", "s")
    with open(bench.volume, "ab") as file:
        file.write(b"and something else")


def _restored(bench: Bench) -> None:
    bench.must("volume", "restore", "data", "s", "--stop")
    _applied(bench)
    _drop_snapshots(bench)


def _drop_snapshots(bench: Bench) -> None:
    code, output = bench.run("volume", "snapshots", "-q")
    assert code == 0, output
    for name in output.split():
        bench.must("volume", "rm", "--yes", name if "@" in name else f"data@{name}")


SCENARIOS = {
    item.name: item
    for item in (
        Scenario("apply", ("apply",), _nothing, _applied, data=False),
        Scenario("change", ("apply",), _another_round, _applied),
        Scenario("down", ("down",), _as_it_is, _applied),
        Scenario("down -v", ("down", "--volumes", "--yes"), _as_it_is, _applied, data=False),
        Scenario("snapshot", ("volume", "snapshot", "data", "--name", "s"), _as_it_is, _taken),
        Scenario("restore", ("volume", "restore", "data", "s", "--stop"), _kept_apart, _restored),
        Scenario("build", ("build",), _no_image, _built, data=False),
        Scenario("load", ("image", "load", ARCHIVE), _no_image, _loaded, data=False),
        Scenario("gc", ("gc", "--all"), _unused, _no_image, data=False),
    )
}
"""In the order in which one installation can have them all: the last three take its images away."""
