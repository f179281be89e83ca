"""A service of the Swarm as flat facts, path -> value, in the words of a ServiceSpec. Pure.

The same function reads what envkit sends and what the engine answers, so that a difference is one that somebody made:
what the engine fills in by itself (empty objects, default values, the resolved ids of names) is taken out.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_NANO = 1_000_000_000
_DEFAULTS = {"Parallelism": 1, "FailureAction": "pause", "Order": "stop-first", "MaxFailureRatio": 0, "Delay": 0,
             "Monitor": 5 * _NANO}  # fmt: skip
_ROLLOUT = {
    "Parallelism": "parallelism", "FailureAction": "failure_action", "Order": "order", "Delay": "delay",
    "MaxFailureRatio": "max_failure_ratio", "Monitor": "monitor",
}  # fmt: skip
_CONTAINER = {
    "Dir": "working_dir", "User": "user", "Hostname": "hostname", "TTY": "tty", "OpenStdin": "stdin_open",
    "ReadOnly": "read_only", "Init": "init", "StopSignal": "stop_signal", "Command": "entrypoint", "Args": "command",
    "OomScoreAdj": "oom_score_adj",
}  # fmt: skip
_LISTS = {"Groups": "group_add", "CapabilityAdd": "cap_add", "CapabilityDrop": "cap_drop", "Hosts": "extra_hosts"}
_GRACE = 10 * _NANO
OWN = ("envkit.", "com.docker.compose.", "com.docker.stack.")
"""Beginnings of labels that are not the user's."""


def facts(service: Mapping[str, Any], networks: Mapping[str, str]) -> dict[str, Any]:
    """Of the `Spec` of a service. networks: id -> name."""
    return {path: value for path, value in _all(service, networks) if value not in (None, "", [], {})}


def _all(service: Mapping[str, Any], networks: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    task: Mapping[str, Any] = service.get("TaskTemplate") or {}
    for name, value in (service.get("Labels") or {}).items():
        if not name.startswith(OWN):
            yield f"deploy_labels.{name}", value
    yield from _mode(service.get("Mode") or {})
    job = any(key.endswith("Job") for key in service.get("Mode") or {})
    for own, key in (("UpdateConfig", "update"), ("RollbackConfig", "rollback")):
        given = service.get(own)
        for name, path in _ROLLOUT.items() if not job else ():
            value = (given or {}).get(name, _DEFAULTS[name])
            if name == "Monitor" and not value:
                value = _DEFAULTS[name]
            if value != _DEFAULTS[name]:
                yield f"{key}.{path}", value / _NANO if name in ("Delay", "Monitor") else value
    yield from _endpoint(service.get("EndpointSpec") or {})
    yield from _container(task.get("ContainerSpec") or {})
    yield from _resources(task.get("Resources") or {})
    yield from _restart(task.get("RestartPolicy") or {})
    placement: Mapping[str, Any] = task.get("Placement") or {}
    yield "placement.constraints", sorted(placement.get("Constraints") or ())
    spread = [(item.get("Spread") or {}).get("SpreadDescriptor") for item in placement.get("Preferences") or ()]
    yield "placement.preferences", spread
    yield "placement.max_replicas_per_node", placement.get("MaxReplicas") or None
    driver: Mapping[str, Any] = task.get("LogDriver") or {}
    yield "logging.driver", driver.get("Name")
    for name, value in (driver.get("Options") or {}).items():
        yield f"logging.options.{name}", value
    for row in task.get("Networks") or service.get("Networks") or ():
        name = networks.get(row["Target"], row["Target"])
        yield f"networks.{name}", "attached"
        yield f"networks.{name}.aliases", sorted(row.get("Aliases") or ())
        for option, value in (row.get("DriverOpts") or {}).items():
            yield f"networks.{name}.driver_opts.{option}", value


def _mode(mode: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, given in mode.items():
        match name:
            case "Replicated":
                yield "replicas", given.get("Replicas", 1)
            case "ReplicatedJob":
                yield "mode", "replicated-job"
                yield "replicas", given.get("TotalCompletions", 1)
            case "Global":
                yield "mode", "global"
            case "GlobalJob":
                yield "mode", "global-job"


def _endpoint(endpoint: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "endpoint_mode", endpoint.get("Mode") or "vip"
    ports: dict[str, list[str]] = {}
    for port in endpoint.get("Ports") or ():
        text = f"{port.get('PublishedPort') or 'any'} ({port.get('PublishMode') or 'ingress'})"
        ports.setdefault(f"published.{port.get('TargetPort')}/{port.get('Protocol', 'tcp')}", []).append(text)
    for where, texts in ports.items():
        yield where, ", ".join(sorted(texts))


def _container(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "image", str(given.get("Image") or "")
    for text in given.get("Env") or ():
        name, equals, value = text.partition("=")
        yield f"environment.{name}", value if equals and value else "(empty)" if equals else "(unset)"
    for name, value in (given.get("Labels") or {}).items():
        if not name.startswith(OWN):
            yield f"labels.{name}", value or "(empty)"
    for own, key in _CONTAINER.items():
        if own == "Init" and given.get(own) is False:
            yield key, False
        else:
            yield key, given.get(own) or None
    for own, key in _LISTS.items():
        yield key, sorted(given.get(own) or ())
    yield from _surroundings(given)
    yield from _privileges(given.get("Privileges") or {})


def _surroundings(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Health, files, names and limits of a container."""
    grace = given.get("StopGracePeriod", _GRACE)
    yield "stop_grace_period", None if grace == _GRACE else grace / _NANO
    for name, value in (given.get("Healthcheck") or {}).items():
        path = "".join("_" + char.lower() if char.isupper() else char for char in name).lstrip("_")
        yield f"healthcheck.{path}", value / _NANO if name in _DURATIONS else value
    for own, key in (("Nameservers", "dns"), ("Search", "dns_search"), ("Options", "dns_opt")):
        yield key, list((given.get("DNSConfig") or {}).get(own) or ())
    for name, value in (given.get("Sysctls") or {}).items():
        yield f"sysctls.{name}", value
    for row in given.get("Ulimits") or ():
        yield f"ulimits.{row['Name']}", [row.get("Soft"), row.get("Hard")]
    for row in given.get("Mounts") or ():
        yield f"mounts[{row['Target']}]", _mount(row)
    for kind in ("Secret", "Config"):
        for row in given.get(f"{kind}s") or ():
            file: Mapping[str, Any] = row.get("File") or {}
            target = file.get("Name") or row.get("Runtime") or ""
            yield f"{kind.lower()}s[{target}]", [
                row.get(f"{kind}Name"), file.get("UID"), file.get("GID"), file.get("Mode"),
            ]  # fmt: skip


def _privileges(privileges: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "no_new_privileges", privileges.get("NoNewPrivileges") or None
    seccomp: Mapping[str, Any] = privileges.get("Seccomp") or {}
    if seccomp.get("Mode") not in (None, "", "default"):
        yield "seccomp", [seccomp["Mode"], seccomp.get("Profile") or ""]
    yield "apparmor", (privileges.get("AppArmor") or {}).get("Mode")


_DURATIONS = frozenset({"Interval", "Timeout", "StartPeriod", "StartInterval"})


def _mount(row: Mapping[str, Any]) -> str:
    """One line that says everything about a mount."""
    words = [str(row.get("Type")), str(row.get("Source") or "")] + ["read-only"] * bool(row.get("ReadOnly"))
    for key in ("BindOptions", "VolumeOptions", "TmpfsOptions"):
        for name, value in sorted((row.get(key) or {}).items()):
            if name not in ("Labels", "DriverConfig") and value not in (None, "", 0, False):
                words.append(f"{name}={value}")
    return " ".join(word for word in words if word)


def _resources(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    limits: Mapping[str, Any] = given.get("Limits") or {}
    reserved: Mapping[str, Any] = given.get("Reservations") or {}
    yield "limits.cpus", (limits.get("NanoCPUs") or 0) / _NANO or None
    yield "limits.memory", limits.get("MemoryBytes") or None
    yield "limits.pids", limits.get("Pids") or None
    yield "limits.memory_reservation", reserved.get("MemoryBytes") or None
    yield "reservations.cpus", (reserved.get("NanoCPUs") or 0) / _NANO or None
    for item in reserved.get("GenericResources") or ():
        for row in item.values():
            yield f"reservations.generic_resources.{row.get('Kind')}", row.get("Value")


def _restart(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "restart.policy", given.get("Condition") or "any"
    delay = given.get("Delay")
    yield "restart.delay", None if delay in (None, 5 * _NANO) else delay / _NANO
    yield "restart.window", (given.get("Window") or 0) / _NANO or None
    yield "restart.max_attempts", given.get("MaxAttempts") or None
