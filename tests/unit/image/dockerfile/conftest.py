"""One home for all tests of this directory: the busybox image is unpacked once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.host.home import Home
from tests.support.dockerfiles import Kitchen


@pytest.fixture(scope="session")
def dockerfile_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(str(tmp_path_factory.mktemp("dockerfiles") / "home"))


@pytest.fixture
def kitchen(dockerfile_home: Home, tmp_path: Path) -> Iterator[Kitchen]:
    """A context directory of a test's own; no build directory is left behind."""
    yield Kitchen(dockerfile_home, str(tmp_path / "context"))
    work = Path(dockerfile_home.cache, "build/work")
    assert not work.exists() or not list(work.iterdir())
