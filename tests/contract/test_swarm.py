"""The contract of the port on a Swarm of three real nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.rig import Rig
from tests.contract.swarm_rig import swarm_rig
from tests.contract.test_contract import NAMES, contract
from tests.support.swarm import swarm

pytestmark = [pytest.mark.root, pytest.mark.dockerd]


@pytest.fixture(scope="module")
def place() -> Iterator[dict[str, Any]]:
    """The settings of a target: the manager, and the two workers."""
    with swarm() as cluster:
        yield {"host": cluster.manager.url, "nodes": [node.url for node in cluster.nodes[1:]]}


@pytest.mark.parametrize("test", contract, ids=NAMES)
def test_swarm(test: Callable[[Rig], None], place: dict[str, Any], tmp_path: Path) -> None:
    with swarm_rig(place, str(tmp_path / "home")) as rig:
        test(rig)
