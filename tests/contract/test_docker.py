"""The contract of the port on a real Docker Engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envkit.address import Address
from tests.contract.mutations import MUTATIONS, check
from tests.contract.rig import Rig, docker_rig, give_image
from tests.contract.test_contract import NAMES, contract
from tests.support.dockerd import Dockerd

pytestmark = [pytest.mark.root, pytest.mark.dockerd]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: Any) -> Iterator[Dockerd]:
    """An engine that has the image of the services."""
    folder: Path = tmp_path_factory.mktemp("docker")
    made = Dockerd(folder / "engine")
    try:
        give_image(str(made.socket), str(folder / "images"))
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("test", contract, ids=NAMES)
def test_docker(test: Callable[[Rig], None], engine: Dockerd, tmp_path: Path) -> None:
    with docker_rig(str(engine.socket), str(tmp_path / "home")) as rig:
        test(rig)


def test_mutations_are_named_and_mended(engine: Dockerd, tmp_path: Path) -> None:
    give_image(str(engine.socket), str(tmp_path / "other"), "busybox:other", {"Labels": {"a": "b"}})
    engine.docker("network", "create", "elsewhere")
    with docker_rig(str(engine.socket), str(tmp_path / "home")) as rig:
        for mutation in MUTATIONS:
            check(rig, engine.docker, mutation)
    engine.docker("network", "rm", "elsewhere")
    give_image(str(engine.socket), str(tmp_path / "images"))


def test_what_is_written_into_the_own_layer_is_named(engine: Dockerd, tmp_path: Path) -> None:
    with docker_rig(str(engine.socket), str(tmp_path / "home")) as rig:
        desired = rig.environment(rig.service("a", **rig.secret("password", b"x")))
        rig.settle(desired)
        assert rig.backend.written("contract", Address("service", "a")) == []
        engine.docker("exec", "contract-a-1", "touch", "/etc/note")
        engine.docker("exec", "contract-a-1", "rm", "/etc/group")
        written = rig.backend.written("contract", Address("service", "a"))
        assert written == [("deleted", "/etc/group"), ("added", "/etc/note")]
        assert rig.plan(desired).is_empty
        observed = rig.backend.observe(desired).resources[Address("service", "a")]
        assert observed.attributes["files"] == ["/etc/group", "/etc/note"]
