"""Images under the names that public applications use, made by tests/apps/images of Debian's packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from envkit.host.home import Home
from envkit.image.store import Store
from tests.support.project import Project

APPS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "apps")

NAMES = {
    "debian": ("debian:bookworm", "debian:bookworm-slim"),
    "python": (
        "python:3-slim", "python:3.9-slim", "python:3.11-slim", "python:3.11.4-slim-bookworm",
    ),
    "redis": ("redis", "redis:alpine", "redis:7.0.11-bookworm"),
    "nginx": ("nginx", "nginx:1.13", "nginx:1.21.6", "nginx:1.25"),
    "postgres": ("postgres", "postgres:15-alpine", "postgres:15.3-bookworm"),
    "mariadb": ("mariadb", "mariadb:10-focal", "mariadb:10.6.4-focal", "mysql:8.0.27"),
    "node": ("node:lts", "node:14.17.3-bookworm-slim", "node:18-slim", "node:20.6.1-bookworm-slim"),
    "golang": ("golang:1.18-bookworm", "golang:1.19"),
    "wordpress": ("wordpress",),
    "mediawiki": ("mediawiki",),
    "prometheus": ("prom/prometheus",),
    "caddy": ("caddy:2-alpine",),
}  # fmt: skip
"""Key of tests/apps/images/envkit.yaml -> the references that mean the image."""


def provide(home: str, keys: Iterable[str], directory: str) -> None:
    """Afterwards the store of home has the images of keys under all their names. directory: an empty one to work in."""
    wanted = sorted(keys)
    project = Project(directory, {}, home)
    shutil.copytree(os.path.join(APPS, "images"), project.directory, dirs_exist_ok=True)
    built = project.run("build", *wanted, "--json", "--plain", timeout=1800).assert_success()
    digests = built.json_lines[-1]
    store = Store(Home(home))
    for key in wanted:
        for reference in NAMES[key]:
            store.tag(reference, digests[key])
