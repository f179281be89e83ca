"""One installation for the session: images are built once, and each test has environments of its own in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.support.boxes import box_home
from tests.support.project import Project


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The ENVKIT_HOME that the tests of this directory share; its store has `box:1`."""
    made = box_home(str(tmp_path_factory.mktemp("installation")))
    yield made
    left = [path for path in (f"{made}/environments", f"{made}/volumes") if os.path.isdir(path)]
    assert not [name for path in left for name in os.listdir(path)], "environments or volumes are left"


@pytest.fixture
def project(tmp_path: object, home: str) -> Iterator[Callable[[Mapping[str, str]], Project]]:
    """A function that makes a Project of files; everything is taken down after the test."""
    with ExitStack() as stack:

        def make(files: Mapping[str, str], name: str = "") -> Project:
            return stack.enter_context(Project(os.path.join(str(tmp_path), name), files, home))

        yield make
