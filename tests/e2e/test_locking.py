"""envkit lock and --frozen."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.root

FILES = {
    "envkit.yaml": """
        images:
          tool:
            from: scratch
            layers: [{archive: ./tool.tar, to: /opt}]
        services: {web: {image: tool, command: [/opt/none]}}
        """,
    "content": "one\n",
}


def pack(project: Project) -> None:
    with tarfile.open(os.path.join(project.directory, "tool.tar"), "w") as archive:
        archive.add(os.path.join(project.directory, "content"), arcname="content")


def test_a_lock_is_written_and_a_frozen_build_obeys_it(project: Callable[..., Project]) -> None:
    there = project(FILES)
    pack(there)
    there.run("build", "--frozen").assert_failure("frozen", "envkit lock")
    assert not os.path.exists(os.path.join(there.directory, "envkit.lock"))
    there.run("lock").assert_success()
    with open(os.path.join(there.directory, "envkit.lock"), encoding="utf-8") as file:
        first = json.load(file)
    assert list(first["archives"]) == ["tool.tar"]
    there.run("build", "--frozen").assert_success()
    there.write({"content": "two\n"})
    pack(there)
    there.run("build", "--frozen").assert_failure("frozen")
    there.run("lock", "--update").assert_success()
    with open(os.path.join(there.directory, "envkit.lock"), encoding="utf-8") as file:
        assert json.load(file)["archives"] != first["archives"]
    there.run("build", "--frozen").assert_success()


def test_a_reference_that_is_not_locked(project: Callable[..., Project]) -> None:
    there = project({"compose.yaml": 'services: {web: {image: "box:1"}}'})
    for words in (("up", "-d", "--frozen"), ("apply", "--frozen"), ("lock", "--frozen")):
        there.run(*words).assert_failure("does not cover every image", "box:1", "envkit lock")
