"""docs/tutorial.md and the guides, followed to the letter.

Installing is the one thing that is only rehearsed: apt is asked whether it could, and `envkit` is this copy.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from tests.support.debian import debian_home
from tests.support.pages import Command, File, Reader, steps
from tests.support.project import Project

pytestmark = [pytest.mark.root, pytest.mark.slow(100)]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INSTALLED = {
    "apt-get update": "true",
    "apt-get install": "apt-get install --simulate",
    "python3 -m venv .venv": "test -f pyproject.toml || test -n \"$ENVKIT_HOME\"",
    ".venv/bin/pip install .": "true",
    ". .venv/bin/activate": "true",
}


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> str:
    return debian_home(tmp_path_factory, tmp_path_factory.mktemp("tutorial") / "home")


@pytest.fixture
def reader(tmp_path, debian) -> Iterator[Reader]:
    """Somebody in an empty directory who has envkit; what they leave running is taken down."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "envkit").write_text(f'#!/bin/sh\nexec {sys.executable} -m envkit.cli.main "$@"\n')
    (programs / "envkit").chmod(0o755)
    project = Project(tmp_path, {}, debian)
    environ = project.environ({"PATH": f"{programs}:{os.environ['PATH']}"})
    reader = Reader(project.directory, environ, {**INSTALLED, "8080": str(free_port())})
    yield reader
    for folder, _, files in os.walk(project.directory):
        if "envkit.yaml" in files:
            Project(tmp_path, {}, debian).run("-f", f"{folder}/envkit.yaml", "down", "--volumes", "--yes", "-t", "0")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_the_tutorial(reader):
    reader.follow("tutorial.md")


GUIDES = ("secrets", "health", "ports", "debug", "targets", "develop", "space", "updates", "ci")


@pytest.mark.long
def test_the_guides(reader):
    """One after the other, beginning with what the tutorial describes."""
    for step in steps("tutorial.md"):
        if isinstance(step, File):
            reader.write(step)
    reader.write(File("secrets/password", "sesame\n"))
    reader.run(Command("envkit apply --wait", (), 0), "tutorial.md", 600)
    for guide in GUIDES:
        reader.follow(f"guides/{guide}.md")
