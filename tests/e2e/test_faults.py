"""Every step of every command cut off, or failing: nothing is lost, nothing is left, and the next apply mends it.

`pytest -m faults` visits every step, which takes hours; the tests without the mark visit a few of each command, the
same ones every time. The summary says how many points of fault were visited.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import BROKEN, FULL, KILL, Bench, Chooser, every, spread, visit
from tests.support.scenarios import SCENARIOS
from tests.support.warm import Warm

pytestmark = [pytest.mark.root, pytest.mark.long]

SAMPLE = {
    "apply": spread(KILL=5, ENOSPC=2, EIO=1),
    "change": spread(KILL=3, EIO=1),
    "down": spread(KILL=3, EIO=1),
    "restore": spread(KILL=2),
    "build": spread(KILL=1, ENOSPC=1),
    "load": spread(KILL=2),
    "gc": spread(KILL=1),
}


@pytest.fixture(scope="module", name="bench")
def _bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Warm() as warm:
        yield Bench(str(tmp_path_factory.mktemp("faults")), warm, 18501)


def _visit(bench: Bench, name: str, choose: Chooser, record_property: object) -> None:
    try:
        visited = visit(bench, SCENARIOS[name], choose)
    finally:
        bench.must("down", "--volumes", "--yes", "--timeout", "0")
    record_property("fault points", visited.points)  # type: ignore[operator]
    assert visited.points
    assert not visited.wrong, "\n".join([f"{len(visited.wrong)} of {visited.points}:", *visited.wrong])


@pytest.mark.parametrize("name", SAMPLE)
def test_some_steps(bench: Bench, name: str, record_property: object) -> None:
    _visit(bench, name, SAMPLE[name], record_property)


@pytest.mark.faults
@pytest.mark.parametrize("kind", [KILL, FULL, BROKEN])
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step(bench: Bench, name: str, kind: str, record_property: object) -> None:
    _visit(bench, name, every([kind]), record_property)
