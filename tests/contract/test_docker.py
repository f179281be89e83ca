"""The contract of the port on a real Docker Engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.rig import Rig, docker_rig, give_image
from tests.contract.test_contract import NAMES, contract
from tests.support.dockerd import Dockerd

pytestmark = [pytest.mark.root, pytest.mark.dockerd]


@pytest.fixture(scope="module")
def socket(tmp_path_factory: Any) -> Iterator[str]:
    """Of an engine that has the image of the services."""
    folder: Path = tmp_path_factory.mktemp("docker")
    engine = Dockerd(folder / "engine")
    try:
        give_image(str(engine.socket), str(folder / "images"))
        yield str(engine.socket)
    finally:
        engine.stop()


@pytest.mark.parametrize("test", contract, ids=NAMES)
def test_docker(test: Callable[[Rig], None], socket: str, tmp_path: Path) -> None:
    with docker_rig(socket, str(tmp_path / "home")) as rig:
        test(rig)
