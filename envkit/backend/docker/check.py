"""What an environment asks and an engine cannot do: diagnostics at plan time, never a silent loss."""

from __future__ import annotations

from envkit.backend import features
from envkit.backend.docker.features import DECLARATIONS
from envkit.diagnostics import Diagnostic, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.engine_api import Engine
    from envkit.spec.environment import Environment, Resource


def check(engine: Engine, backend: str, environment: Environment, *, builder: str = "") -> Sequence[Diagnostic]:
    """Everything about the environment that this engine cannot do. builder: `engine` where it builds Dockerfiles."""
    found = list(features.check(DECLARATIONS[backend], environment, version=lambda: engine.version))
    if builder == "engine":
        from envkit.backend.docker.engine_build import problems

        found += problems(environment)
    for resource in environment.services.values():
        found += _service(engine, resource)
        if backend == "docker" and not environment.hardened:
            found += _copy_up(resource)
    return found


def _copy_up(resource: Resource) -> Iterator[Diagnostic]:
    for number, row in enumerate(resource.spec.get("mounts") or ()):
        if "tmpcopyup" in (row.get("options") or ()):
            yield _say(
                resource, Severity.WARNING, "unsupported-tmpcopyup", f"mounts[{number}]",
                f"service {resource.address.name!r}: the tmpfs at {row['target']} begins empty", "mount a volume there",
            )  # fmt: skip


def _service(engine: Engine, resource: Resource) -> Iterator[Diagnostic]:
    spec, name = resource.spec, resource.address.name
    restart: Mapping[str, Any] = spec.get("restart") or {}
    if restart.get("max_attempts") and restart.get("policy") != "on-failure":
        yield _say(
            resource, Severity.WARNING, "unsupported-restart-attempts", "restart.max_attempts",
            f"service {name!r}: the engine counts attempts for `on-failure` alone", "use `on-failure`",
        )  # fmt: skip
    networks: Mapping[str, Any] = spec.get("networks") or {}
    for key, item in networks.items():  # before 1.44 an address is the container's, and so that of its only network
        if (item or {}).get("mac_address") and len(networks) > 1 and engine.version < (1, 44):
            yield _too_old(engine, resource, f"networks.{key}.mac_address", (1, 44))


def _too_old(
    engine: Engine, resource: Resource, path: str, since: tuple[int, int], severity: Severity = Severity.WARNING
) -> Diagnostic:
    have, want = (f"{major}.{minor}" for major, minor in (engine.version, since))
    return _say(
        resource, severity, "engine-too-old", path,
        f"service {resource.address.name!r}: `{path}` needs API {want}, the engine has {have}", "upgrade the engine",
    )  # fmt: skip


def _say(resource: Resource, severity: Severity, code: str, path: str, detail: str, hint: str = "") -> Diagnostic:
    summary = "The engine cannot do this" if severity is Severity.ERROR else "Not honoured in full"
    return Diagnostic(severity, code, summary, detail, features.position(resource.origin(path)), hint)
