"""System calls of an apply of three services, killed or failing (tests/support/strace.py): the next apply mends it.

`pytest -m faults` visits every call of every family; the test without the mark a few of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import strace
from tests.support.faults import Bench, compared
from tests.support.scenarios import SCENARIOS
from tests.support.warm import Warm

pytestmark = [pytest.mark.root, pytest.mark.long]

KILLED, FULL = "signal=KILL", "error=ENOSPC"
SAMPLE = [("rename", 0.5, KILLED), ("mount", 0.4, FULL), ("write", 0.7, FULL), ("send", 0.6, KILLED)]


@pytest.fixture(scope="module", name="bench")
def _bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Warm() as warm:
        yield Bench(str(tmp_path_factory.mktemp("calls")), warm, 18512)


@pytest.fixture(autouse=True)
def _down(bench: Bench) -> Iterator[None]:
    yield
    SCENARIOS["apply"].before(bench)


def visit(bench: Bench, points: list[tuple[str, int, str]]) -> list[str]:
    """What did not hold, at which of the points (family, number, what happens)."""
    scenario, wrong = SCENARIOS["apply"], []
    scenario.after(bench)
    wanted = bench.settled()
    for family, number, what in points:
        try:
            scenario.before(bench)
            strace.fault(bench, family, number, what, "apply")
            scenario.after(bench)
            found = compared(bench, wanted) or "; ".join(bench.damaged() + bench.temporary())
        except AssertionError as error:
            found = str(error)
        if found:
            wrong.append(f"{family} {number} {what}: {found}")
    return wrong


def test_some_calls(bench: Bench, record_property: object) -> None:
    points = []
    for family, place, what in SAMPLE:
        SCENARIOS["apply"].before(bench)
        first, last = strace.counted(bench, family, "apply")
        points.append((family, first + int((last - first) * place), what))
    record_property("fault points", len(points))  # type: ignore[operator]
    assert not (wrong := visit(bench, points)), "\n".join(wrong)


@pytest.mark.faults
@pytest.mark.parametrize("what", [KILLED, FULL])
@pytest.mark.parametrize("family", strace.FAMILIES)
def test_every_call(bench: Bench, family: str, what: str, record_property: object) -> None:
    SCENARIOS["apply"].before(bench)
    first, last = strace.counted(bench, family, "apply")
    points = [(family, number, what) for number in range(first, last + 1)]
    record_property("fault points", len(points))  # type: ignore[operator]
    assert not (wrong := visit(bench, points)), "\n".join(wrong)
