"""A project on a Docker Engine of a test's own, and the ways to it: envkit, Compose, docker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.dockerd import Dockerd
from tests.support.project import Outcome, Project

COMPOSE = Path(sys.executable).parent / "docker-compose"


class Site:
    """A project, and the ways to it."""

    def __init__(self, project: Project, engine: Dockerd) -> None:
        self.project, self.engine = project, engine

    def run(self, *words: str, host: str = "", also: Mapping[str, str] | None = None, **more: Any) -> Outcome:
        variables = {"DOCKER_HOST": host or f"unix://{self.engine.socket}", "ENVKIT_BACKEND": "docker", **(also or {})}
        return self.project.run(*words, variables=variables, **more)

    def compose(self, *words: str) -> str:
        done = subprocess.run(
            [COMPOSE, *words], cwd=self.project.directory, env=self.engine.environ, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def containers(self) -> dict[str, str]:
        """Name -> id and the moment of the last start."""
        names = self.engine.docker("ps", "-a", "--format", "{{.Names}}").split()
        form = "{{.Id}} {{.State.StartedAt}}"
        return {name: self.engine.docker("inspect", "--format", form, name).strip() for name in names}
