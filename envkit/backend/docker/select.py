"""Which engine `--backend docker` and `--backend podman` mean."""

from __future__ import annotations

import os

from envkit.backend.docker.backend import Docker
from envkit.backend.engine_api import EngineAddress
from envkit.backend.place import engine_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.host.home import Home


def docker_at(home: Home, name: str, place: Mapping[str, Any]) -> Docker:
    """The backend on a target's engine, or where the docker command (the podman command) would go."""
    if name == "podman" and not (place.get("host") or place.get("context")):
        return Docker(home, podman_address(os.environ), name=name)
    return Docker(home, engine_address(place, os.environ), name=name)


def podman_address(environ: Mapping[str, str]) -> EngineAddress:
    """CONTAINER_HOST, else DOCKER_HOST, else the socket of `podman system service`: the user's, or root's
    (podman-system-service(1))."""
    for variable in ("CONTAINER_HOST", "DOCKER_HOST"):
        if environ.get(variable):
            return engine_address({"host": environ[variable]}, environ)
    runtime = environ.get("XDG_RUNTIME_DIR")
    folder = runtime if runtime and os.geteuid() else "/run"
    return EngineAddress(f"unix://{folder}/podman/podman.sock", source="podman's default")
