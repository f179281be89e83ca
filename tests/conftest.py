"""Every test leaves the process, the machine and its own directory as it found them.

A test that needs root or a program of the machine carries a marker (pyproject.toml). Where such a thing is missing it
is left out, and the summary says why; with CI=true in the environment it fails instead, so that no machine passes by
doing less.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.leaks import Snapshot, leaks

_NEEDS = {
    "apps": ("crun", "conmon", "nft", "ip"),
    "root": ("crun", "conmon", "nft", "ip"),
    "dockerd": ("dockerd",),
    "registry": ("docker-registry",),
    "screens": ("rsvg-convert",),
    "browser": ("chromium",),
    "vm": ("qemu-system-x86_64", "mmdebstrap", "mke2fs"),
}
"""Marker -> the programs that its tests run."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with SIGINT ignored, and children inherit it: interrupts could not be tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_left_out = pytest.StashKey[dict[str, int]]()


def missing(item: pytest.Item) -> str:
    """What this machine lacks for a test; "" for nothing."""
    from envkit.host.process import find

    for marker, programs in _NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        if os.geteuid() != 0:
            return "they must run as root"
        absent = [program for program in programs if find(program) is None]
        if absent:
            return f"this machine has no {', '.join(absent)}"
    return ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here, and begin with the files that take longest: none runs alone at the end."""
    seconds: dict[object, float] = {}
    for item in items:
        marked = item.get_closest_marker("slow")
        seconds[item.path] = max(seconds.get(item.path, 0.0), marked.args[0] if marked else 0.0)
    items.sort(key=lambda item: -seconds[item.path])
    reasons: dict[str, int] = {}
    if os.environ.get("CI") != "true":
        lacking = {item: why for item in items if (why := missing(item))}
        for why in lacking.values():
            reasons[why] = reasons.get(why, 0) + 1
        items[:] = [item for item in items if item not in lacking]
        if lacking:
            config.hook.pytest_deselected(items=list(lacking))
    config.stash[_left_out] = reasons


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and how many points of fault were visited (tests/e2e/test_faults.py)."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    points = sum(value for report in reports for name, value in report.user_properties if name == "fault points")
    if points:
        terminalreporter.write_line(f"{points} points of fault were visited")
    for why, count in config.stash.get(_left_out, {}).items():
        terminalreporter.write_line(f"{count} tests were left out: {why}; `make test` installs what tests need")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """With CI=true, fail what cannot run here."""
    if why := missing(item):
        pytest.fail(f"{why}; `make test` installs what tests need", pytrace=False)


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a test after which something is there that was not there before."""
    on_machine = any(request.node.get_closest_marker(marker) for marker in _NEEDS)
    base = str(tmp_path_factory.getbasetemp()) if on_machine else ""
    before = Snapshot.take(base)
    yield
    found = leaks(before, base)
    before.restore()
    if found:
        pytest.fail(f"the test leaves behind:\n{found}", pytrace=False)
