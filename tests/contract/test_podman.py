"""The contract of the port on Podman's Docker-compatible service."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.mutations import MUTATIONS, check
from tests.contract.rig import Rig, docker_rig, give_image
from tests.contract.test_contract import NAMES, contract
from tests.support.podman import Podman

pytestmark = [pytest.mark.root, pytest.mark.podman, pytest.mark.long]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """An engine that has the image of the services. Podman takes no path of more than 50 characters."""
    with tempfile.TemporaryDirectory(prefix="ekp", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        made = Podman(Path(folder) / "e")
        try:
            give_image(str(made.socket), str(tmp_path_factory.mktemp("images")))
            yield made
        finally:
            made.stop()


@pytest.mark.parametrize("test", contract, ids=NAMES)
def test_podman(test: Callable[[Rig], None], engine: Podman, tmp_path: Path) -> None:
    with docker_rig(str(engine.socket), str(tmp_path / "home"), "podman") as rig:
        test(rig)


def test_mutations_are_named_and_mended(engine: Podman, tmp_path: Path) -> None:
    """But for those of `podman update`, which version 4 does not tell of afterwards."""
    give_image(str(engine.socket), str(tmp_path / "other"), "busybox:other", {"Labels": {"a": "b"}})
    engine.podman("network", "create", "elsewhere")
    with docker_rig(str(engine.socket), str(tmp_path / "home"), "podman") as rig:
        for mutation in MUTATIONS:
            if not mutation.commands[0].startswith("update"):
                check(rig, engine.podman, mutation)
    engine.podman("network", "rm", "elsewhere")
    give_image(str(engine.socket), str(tmp_path / "images"))
