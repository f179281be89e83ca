"""What an environment asks and this machine or backend cannot do: diagnostics at plan time, never a silent loss.

An error where the meaning would change, a warning where only comfort or speed is lost.
"""

from __future__ import annotations

from envkit.diagnostics import Diagnostic, Position, Severity
from envkit.host.cgroups import Cgroups
from envkit.host.process import find
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.host.home import Home
    from envkit.spec.environment import Environment, Resource

LOG_DRIVERS = frozenset({"json-file", "local", "none", ""})
_PACKAGES = {"conmon": "conmon", "nft": "nftables"}


@value
class _Rule:
    """A key that is not honoured here: what to say about it, and whether that changes the meaning."""

    key: str
    severity: Severity
    why: str
    hint: str = ""


_RULES = (
    _Rule("gpus", Severity.ERROR, "devices of graphics processors cannot be handed over by this backend"),
    _Rule("storage_opt", Severity.ERROR, "an instance's own layer cannot be limited in size by this backend",
          "limit the file system that ENVKIT_HOME lies on"),
    _Rule("cgroup_parent", Severity.WARNING, "instances stay below envkit's own control group"),
    _Rule("runtime", Severity.WARNING, "instances run on crun, or on runc where crun is absent"),
    _Rule("external_links", Severity.ERROR, "containers of other environments are reached by a shared network",
          "join an `external` network instead"),
)  # fmt: skip


def check(home: Home, environment: Environment) -> Sequence[Diagnostic]:
    """Everything about the environment that this machine or backend cannot do."""
    found = list(_tools(environment))
    supported = Cgroups.of(home).supported
    for resource in environment.services.values():
        found += _service(resource)
        found += _limits(resource, supported)
    for address, resource in environment.resources.items():
        if address.kind == "network" and not resource.spec.get("external"):
            found += [
                _say(resource, Severity.ERROR, "unsupported-network", path, f"network {address.name!r}: {why}")
                for path, why in _network_problems(resource.spec)
            ]
        if address.kind == "volume" and resource.spec.get("driver", "local") != "local":
            found.append(_say(
                resource, Severity.ERROR, "unsupported-volume-driver", "driver",
                f"volume {address.name!r} wants the driver {resource.spec['driver']!r}",
                "this backend has `local`, with `driver_opts` type, o and device",
            ))  # fmt: skip
        if address.kind in ("secret", "config") and resource.spec.get("external"):
            found.append(_say(
                resource, Severity.ERROR, "unsupported-external", "external",
                f"{address.kind} {address.name!r} is external, and this backend has no store of its own",
                "give it a `file:` or an `environment:`",
            ))  # fmt: skip
    return found


def _network_problems(spec: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    if spec.keys() & {"driver", "driver_opts", "ipam_driver", "ipam_options"}:
        from envkit.backend.embedded.network import problems

        return problems(spec)
    return ()


def _tools(environment: Environment) -> Iterator[Diagnostic]:
    if not environment.services:
        return
    if not find("crun") and not find("runc"):
        yield Diagnostic(Severity.ERROR, "missing-tool", "A program is missing", "crun", hint="apt-get install crun")
    for tool, package in _PACKAGES.items():
        if not find(tool):
            yield Diagnostic(
                Severity.ERROR, "missing-tool", "A program is missing", tool, hint=f"apt-get install {package}"
            )


def _service(resource: Resource) -> Iterator[Diagnostic]:
    spec, name = resource.spec, resource.address.name
    for rule in _RULES:
        if spec.get(rule.key):
            detail = f"service {name!r}: `{rule.key}`: {rule.why}"
            code = f"unsupported-{rule.key.replace('_', '-')}"
            yield _say(resource, rule.severity, code, rule.key, detail, rule.hint)
    driver = str((spec.get("logging") or {}).get("driver") or "")
    if driver not in LOG_DRIVERS:
        yield _say(
            resource, Severity.WARNING, "unsupported-logging", "logging.driver",
            f"service {name!r}: the logging driver {driver!r} is not available; its lines are kept in a local file",
            "use json-file, local or none",
        )  # fmt: skip
    if spec.get("network_mode") == "bridge":
        yield _say(
            resource, Severity.ERROR, "unsupported-network-mode", "network_mode",
            f"service {name!r}: there is no bridge that all environments share",
            "leave `network_mode` out for the environment's default network, or name networks",
        )  # fmt: skip
    if spec.get("userns_mode") not in (None, "", "host"):
        yield _say(
            resource, Severity.ERROR, "unsupported-userns-mode", "userns_mode",
            f"service {name!r}: user namespaces per service are not available", "leave it out",
        )  # fmt: skip
    yield from _security(resource)


def _security(resource: Resource) -> Iterator[Diagnostic]:
    spec, name = resource.spec, resource.address.name
    for number, option in enumerate(spec.get("security_opt") or ()):
        key = option.replace(":", "=", 1).partition("=")[0]
        if key == "label" and not _has_selinux():
            continue  # SELinux labels say nothing where there is no SELinux, as with Docker
        if key not in ("apparmor", "label", "systempaths"):
            yield _say(
                resource, Severity.ERROR, "unsupported-security-opt", f"security_opt[{number}]",
                f"service {name!r}: {option!r} is not known to this backend",
            )  # fmt: skip
    if spec.get("init"):
        from envkit.backend.embedded import machine
        from envkit.errors import UnsupportedError

        try:
            machine.init_program()
        except UnsupportedError as error:
            detail = f"service {name!r}: {error.detail}"
            yield _say(resource, Severity.ERROR, "missing-tool", "init", detail, error.hint)


def _has_selinux() -> bool:
    import os

    return os.path.exists("/sys/fs/selinux/enforce")


def _limits(resource: Resource, supported: frozenset[str]) -> Iterator[Diagnostic]:
    limits: Mapping[str, Any] = resource.spec.get("limits") or {}
    for key, wanted in limits.items():
        parts = [key]
        if key == "blkio":
            parts = ["blkio.weight" if part.startswith("weight") else "blkio.device" for part in wanted]
        unlimited = wanted in (0, -1, "", None, False) or (key == "memory_swap" and "memory" in limits)
        for part in sorted(set(parts) - supported):
            if unlimited:
                continue
            yield _say(
                resource, Severity.WARNING, "unsupported-limit", f"limits.{key}",
                f"service {resource.address.name!r}: this machine's control groups cannot keep {part!r}",
                "`envkit doctor` says what it can keep",
            )  # fmt: skip


def _say(
    resource: Resource, severity: Severity, code: str, path: str, detail: str, hint: str = ""
) -> Diagnostic:
    summary = "Not available on the embedded backend" if severity is Severity.ERROR else "Not honoured in full"
    return Diagnostic(severity, code, summary, detail, position(resource.origin(path)), hint)


def position(origin: str) -> Position | None:
    """"file:line:col" as a Position; None for anything else."""
    file, _, rest = origin.rpartition(":")
    file, _, line = file.rpartition(":")
    return Position(file, int(line), int(rest)) if file and line.isdigit() and rest.isdigit() else None
