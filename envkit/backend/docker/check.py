"""What an environment asks and an engine cannot do: diagnostics at plan time, never a silent loss."""

from __future__ import annotations

from envkit.diagnostics import Diagnostic, Position, Severity
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.engine_api import Engine
    from envkit.spec.environment import Environment, Resource


@value
class _Rule:
    """A key that is not honoured: what to say about it, and whether that changes the meaning."""

    key: str
    severity: Severity
    why: str
    hint: str = ""


_RULES = (
    _Rule("pre_start", Severity.ERROR, "containers that run before a service does are not made here",
          "write a service of its own that others wait for: `condition: service_completed_successfully`"),
    _Rule("placement", Severity.WARNING, "there is one engine, so everything is placed on it"),
    _Rule("endpoint_mode", Severity.WARNING, "a name leads to all instances of its service, in turn"),
    _Rule("rollback", Severity.WARNING, "an update that fails stops where it is", "`envkit rollback` goes back"),
)  # fmt: skip
_SINCE = {"annotations": (1, 43)}
_ATTACHMENT_SINCE = {"gw_priority": (1, 48), "mac_address": (1, 44), "interface_name": (1, 49)}
_MOUNT_FLAGS = ("nosuid", "nodev", "noexec")


def check(engine: Engine, backend: str, environment: Environment) -> Sequence[Diagnostic]:
    """Everything about the environment that this engine cannot do."""
    found: list[Diagnostic] = []
    for resource in environment.services.values():
        found += _service(engine, resource)
        found += _mounts(engine, resource, hardened=environment.hardened)
    for address, resource in environment.resources.items():
        if address.kind in ("secret", "config") and resource.spec.get("external"):
            found.append(_say(
                resource, Severity.ERROR, "unsupported-external", "external",
                f"{address.kind} {address.name!r} is external, and a single engine has no store of its own",
                "give it a `file:` or an `environment:`",
            ))  # fmt: skip
    return found


def _service(engine: Engine, resource: Resource) -> Iterator[Diagnostic]:
    spec, name = resource.spec, resource.address.name
    for rule in _RULES:
        if spec.get(rule.key):
            code = f"unsupported-{rule.key.replace('_', '-')}"
            detail = f"service {name!r}: `{rule.key}`: {rule.why}"
            yield _say(resource, rule.severity, code, rule.key, detail, rule.hint)
    if str(spec.get("mode") or "").endswith("-job"):
        yield _say(
            resource, Severity.WARNING, "unsupported-mode", "mode",
            f"service {name!r}: a {spec['mode']} runs like any service", 'give it `restart: "no"`',
        )  # fmt: skip
    restart: Mapping[str, Any] = spec.get("restart") or {}
    for key in ("delay", "window"):
        if key in restart:
            yield _say(
                resource, Severity.WARNING, f"unsupported-restart-{key}", f"restart.{key}",
                f"service {name!r}: the engine has its own pauses between restarts", f"take `restart.{key}` away",
            )  # fmt: skip
    if restart.get("max_attempts") and restart.get("policy") != "on-failure":
        yield _say(
            resource, Severity.WARNING, "unsupported-restart-attempts", "restart.max_attempts",
            f"service {name!r}: the engine counts attempts for `on-failure` alone", "use `on-failure`",
        )  # fmt: skip
    for key, since in _SINCE.items():
        if spec.get(key) and engine.version < since:
            yield _too_old(engine, resource, key, since)
    if "start_interval" in (spec.get("healthcheck") or {}) and engine.version < (1, 44):
        yield _too_old(engine, resource, "healthcheck.start_interval", (1, 44))
    for key, item in (spec.get("networks") or {}).items():
        for option, since in _ATTACHMENT_SINCE.items():
            if (item or {}).get(option) and engine.version < since and not (
                option == "mac_address" and len(spec["networks"]) == 1
            ):  # fmt: skip
                yield _too_old(engine, resource, f"networks.{key}.{option}", since)


def _mounts(engine: Engine, resource: Resource, *, hardened: bool) -> Iterator[Diagnostic]:
    for number, row in enumerate(resource.spec.get("mounts") or ()):
        path = f"mounts[{number}]"
        if row["type"] == "image" and engine.version < (1, 48):
            yield _too_old(engine, resource, path, (1, 48), Severity.ERROR)
        if row["type"] == "volume" and row.get("subpath") and engine.version < (1, 45):
            yield _too_old(engine, resource, f"{path}.subpath", (1, 45), Severity.ERROR)
        flags = [flag for flag in _MOUNT_FLAGS if row.get(flag)]
        if row["type"] in ("bind", "volume") and flags and not hardened:
            yield _say(
                resource, Severity.WARNING, "unsupported-mount-flag", path,
                f"service {resource.address.name!r}: the engine mounts {row['target']} without {', '.join(flags)}",
            )  # fmt: skip


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
    return Diagnostic(severity, code, summary, detail, position(resource.origin(path)), hint)


def position(origin: str) -> Position | None:
    """"file:line:col" as a Position; None for anything else."""
    file, _, rest = origin.rpartition(":")
    file, _, line = file.rpartition(":")
    return Position(file, int(line), int(rest)) if file and line.isdigit() and rest.isdigit() else None
