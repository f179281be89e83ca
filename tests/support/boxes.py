"""Projects that run busybox: what e2e tests need of an image, built by no network and in no time."""

from __future__ import annotations

import os
from collections.abc import Mapping

from envkit.host.home import Home
from envkit.image.store import Store
from tests.support.images import busybox_image
from tests.support.project import Project

BOX = "box:1"
"""A reference that every box home has."""

LOOP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
"""A shell's script that waits for its end."""


def box_home(directory: str) -> str:
    """An ENVKIT_HOME whose store has `box:1`; its path."""
    home = os.path.join(directory, "home")
    busybox_image(Store(Home(home)), BOX)
    return home


def box_project(directory: str | os.PathLike[str], home: str, files: Mapping[str, str]) -> Project:
    """A Project in a directory of its own that shares the home of others."""
    return Project(directory, files, home)
