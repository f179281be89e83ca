"""Stores and images for the tests of this room."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from envkit.host.home import Home
from envkit.image.store import Store
from tests.support.layers import first_layer, second_layer
from tests.support.registry import Registry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(Home(str(tmp_path / "home")))


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Another one."""
    return Store(Home(str(tmp_path / "other")))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without TLS or password."""
    registry = Registry(tmp_path_factory.mktemp("plain"))
    yield registry
    registry.stop()


@pytest.fixture
def reference(store: Store) -> str:
    """An image of two layers in the store: `docker.io/tests/two:1`."""
    first = store.add_layer(io.BytesIO(first_layer()), created_by="base")
    second = store.add_layer(io.BytesIO(second_layer()), [first], created_by="copy .", origin="envkit.yaml:7:9")
    config = {"Cmd": ["/bin/sh"], "Env": ["A=1"], "User": "1000", "Labels": {"x": "y"}}
    store.add_image({"config": config}, [first, second], "tests/two:1")
    return "docker.io/tests/two:1"
