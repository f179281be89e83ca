"""Name -> backend. Each is imported only when it is chosen."""

from __future__ import annotations

import sys

from envkit.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.base import Backend
    from envkit.backend.features import Declaration
    from envkit.backend.memory.backend import Memory
    from envkit.host.home import Home

NAMES = ("embedded", "docker", "podman", "swarm", "kubernetes", "memory")
_SYSTEMS = {"darwin": "macOS", "win32": "Windows", "cygwin": "Windows"}
_memories: dict[str, Memory] = {}


def select_backend(name: str, home: Home, place: Mapping[str, Any] | None = None) -> Backend:
    """The backend called name, on the state below home. place: the settings of a target (spec.environment_file.Target)
    and its project's directory; without one an engine is where the docker command would go.

    The memory backend lives as long as this process, one per home. Raises UsageError for an unknown name and
    UnsupportedError for a backend that this version does not have.
    """
    match name:
        case "embedded":
            if sys.platform != "linux":
                raise UnsupportedError(
                    "The embedded backend needs Linux", f"this machine runs {_SYSTEMS.get(sys.platform, sys.platform)}",
                    "give --backend docker (or ENVKIT_BACKEND=docker), or name a place of `targets:` with --target",
                )  # fmt: skip
            from envkit.backend.embedded.backend import Embedded

            return Embedded(home)
        case "memory":
            return _memory(home)
        case "docker" | "podman":
            from envkit.backend.docker.select import docker_at

            return docker_at(home, name, place or {})
        case "swarm":
            from envkit.backend.swarm.backend import Swarm

            return Swarm(home, place)
        case "kubernetes":
            raise UnsupportedError(
                "This version of envkit has no such backend", f"{name} is planned; the embedded one needs no daemon",
                "leave --backend out, or give --backend embedded",
            )  # fmt: skip
    import difflib

    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(NAMES[:-1])}"
    raise UsageError(f"--backend {name}: there is no such backend", hint=hint)


def declarations() -> list[Declaration]:
    """What every backend says of itself, in the order of the docs."""
    from envkit.backend.docker.features import DOCKER, PODMAN
    from envkit.backend.embedded.features import EMBEDDED
    from envkit.backend.swarm.features import SWARM

    return [EMBEDDED, DOCKER, PODMAN, SWARM]


def _memory(home: Home) -> Memory:
    from envkit.backend.memory.backend import Memory

    return _memories.setdefault(home.root, Memory())
