"""The contract of the port on a Swarm of three real nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.rig import Rig
from tests.contract.swarm_rig import swarm_rig
from tests.contract.test_contract import contract
from tests.support.swarm import swarm

pytestmark = [pytest.mark.root, pytest.mark.dockerd, pytest.mark.long]


@pytest.fixture(scope="module")
def place() -> Iterator[dict[str, Any]]:
    """The settings of a target: the manager, and the two workers."""
    with swarm() as cluster:
        yield {"host": cluster.manager.url, "nodes": [node.url for node in cluster.nodes[1:]]}


OTHERWISE = {"start_first_keeps_the_old_one_until_the_new_one_is_good", "a_failed_update_pauses_or_goes_back"}
"""Here the managers roll out, not envkit: e2e/test_swarm.py has what they do."""
MEANT = [test for test in contract if test.__name__ not in OTHERWISE]


@pytest.mark.parametrize("test", MEANT, ids=[test.__name__.replace("_", " ") for test in MEANT])
def test_swarm(test: Callable[[Rig], None], place: dict[str, Any], tmp_path: Path) -> None:
    with swarm_rig(place, str(tmp_path / "home")) as rig:
        test(rig)
