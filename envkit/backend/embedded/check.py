"""What an environment asks and this machine or backend cannot do: diagnostics at plan time, never a silent loss.

An error where the meaning would change, a warning where only comfort or speed is lost.
"""

from __future__ import annotations

from envkit.backend import features
from envkit.backend.alone import alone
from envkit.backend.embedded import images
from envkit.backend.embedded.features import EMBEDDED
from envkit.diagnostics import Diagnostic, Severity
from envkit.host.cgroups import Cgroups
from envkit.host.process import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.host.home import Home
    from envkit.spec.environment import Environment, Resource

LOG_DRIVERS = frozenset({"json-file", "local", "none", "syslog", "journald", ""})
RUNTIMES = frozenset({"crun", "runc", "io.containerd.runc.v2"})
_LAN = ("macvlan", "ipvlan")
ENDPOINT_OPTION = "com.docker.network.endpoint.sysctls"  # attach.SYSCTLS, without its imports
FAILURE_ACTIONS = ("pause", "continue", "rollback")
SOCKETS = frozenset({"docker.sock"})
_PACKAGES = {"conmon": "conmon", "nft": "nftables"}


def check(home: Home, environment: Environment) -> Sequence[Diagnostic]:
    """Everything about the environment that this machine or backend cannot do."""
    found = [*_tools(environment), *features.check(EMBEDDED, environment)]
    found += [
        _say(item, Severity.ERROR, code, "reference", what, hint)
        for item, code, what, hint in images.problems(home, environment)
    ]
    supported = Cgroups.of(home).supported
    for resource in environment.services.values():
        found += _service(resource)
        found += _limits(resource, supported)
        found += _external_links(home, environment, resource)
        found += _unreachable_ports(environment, resource)
        if not environment.hardened:  # there, `allow: [runtime-socket]` has been asked for
            found += _sockets(resource)
    for address, resource in environment.resources.items():
        if address.kind == "network" and not resource.spec.get("external"):
            found += [
                _say(resource, Severity.ERROR, "unsupported-network", path, f"network {address.name!r}: {why}")
                for path, why in _network_problems(resource.spec)
            ]
    return found


def _network_problems(spec: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    if spec.keys() & {"driver", "driver_opts", "ipam_driver", "ipam_options"}:
        from envkit.backend.embedded.network import problems

        return [(path, why) for path, why in problems(spec) if path != "driver"]  # that is declared
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
    if spec.get("runtime") and spec["runtime"] not in RUNTIMES:
        yield _say(
            resource, Severity.WARNING, "unsupported-runtime", "runtime", f"service {name!r}: instances run on crun, "
            f"or on runc where crun is absent, not on {spec['runtime']!r}", "take `runtime` away",
        )  # fmt: skip
    for key, item in (spec.get("networks") or {}).items():
        for option in sorted((item or {}).get("driver_opts") or ()):
            if option != ENDPOINT_OPTION:
                yield _say(
                    resource, Severity.WARNING, "unsupported-endpoint-option", f"networks.{key}.driver_opts.{option}",
                    f"service {name!r}: the option {option!r} of its network {key!r} is not honoured", "take it away",
                )  # fmt: skip
    yield from _updates(resource)
    if (spec.get("update") or {}).get("order") == "start-first":
        for path, why in alone(spec):
            yield _say(
                resource, Severity.WARNING, "stop-first", path,
                f"service {name!r} is replaced stop-first, not start-first: {why}", f"take `{path}` away",
            )  # fmt: skip
    yield from _logging(resource)
    yield from _security(resource)


def _unreachable_ports(environment: Environment, resource: Resource) -> Iterator[Diagnostic]:
    """Published ports of a service that no network connects with the outside, or whose address leads to none."""
    joined = [environment.get("network", key) for key in resource.spec.get("networks") or ()]
    has_ipv6 = any(item is None or item.spec.get("external") or _has_ipv6(item.spec) for item in joined)
    for number, port in enumerate(resource.spec.get("ports") or ()):
        address = str(port.get("host_ip") or "")
        if ":" not in address or (has_ipv6 and address != "::1"):
            continue
        why, hint = "none of its networks has IPv6", "give one of its networks `enable_ipv6: true`"
        if address == "::1":  # the kernel's route_localnet is for IPv4 alone (ip-sysctl.rst)
            why = "from the IPv6 loopback address nothing can be led into a container"
            hint = "publish it on 127.0.0.1, or on another address of this machine"
        yield _say(
            resource, Severity.WARNING, "unreachable-port", f"ports[{number}]",
            f"service {resource.address.name!r}: nobody reaches its port {port['target']} at [{address}]: {why}", hint,
        )  # fmt: skip
    if resource.spec.get("ports") and joined and all(item and item.spec.get("driver") in _LAN for item in joined):
        yield _say(
            resource, Severity.WARNING, "lan-ports", "ports",
            f"service {resource.address.name!r} is a machine of its own in the parent's network: its ports are not "
            "published", "reach it at its own address, or take the ports away",
        )  # fmt: skip
    elif resource.spec.get("ports") and joined and all(item and item.spec.get("internal") for item in joined):
        yield _say(
            resource, Severity.WARNING, "internal-ports", "ports",
            f"service {resource.address.name!r} has internal networks only: nobody but this host reaches its ports",
            "join a network that is not internal as well, or take the ports away",
        )  # fmt: skip


def _has_ipv6(network: Mapping[str, Any]) -> bool:
    return bool(network.get("enable_ipv6")) or any(":" in row.get("subnet", "") for row in network.get("subnets") or ())


def _updates(resource: Resource) -> Iterator[Diagnostic]:
    """What of `update_config` and `rollback_config` says nothing here."""
    spec, name = resource.spec, resource.address.name
    action = (spec.get("update") or {}).get("failure_action") or "pause"
    if action not in FAILURE_ACTIONS:
        yield _say(
            resource, Severity.WARNING, "unsupported-update-config", "update.failure_action",
            f"service {name!r}: {action!r} is no failure action; an update that fails is paused",
            f"write one of {', '.join(FAILURE_ACTIONS)}",
        )  # fmt: skip
    for key in sorted((spec.get("rollback") or {}).keys() - {"order"}):
        yield _say(
            resource, Severity.WARNING, "unsupported-rollback-config", f"rollback.{key}",
            f"service {name!r}: `deploy.rollback_config.{key}` is not honoured; an update is rolled back all at once",
            "`order` is honoured",
        )  # fmt: skip


def _sockets(resource: Resource) -> Iterator[Diagnostic]:
    for number, mount in enumerate(resource.spec.get("mounts") or ()):
        source = str(mount.get("source") or "")
        if mount["type"] == "bind" and source.rpartition("/")[2] in SOCKETS:
            yield _say(
                resource, Severity.ERROR, "docker-socket", f"mounts[{number}]",
                f"service {resource.address.name!r} wants {source}: no Docker Engine knows of what runs here, so a "
                "program that talks to one would see nothing of this environment",
                "run it on Docker with `--backend docker`, leave the service out with a profile, or, if the socket of "
                "a Docker Engine on this machine is meant, write the service in an envkit.yaml with "
                "`allow: [runtime-socket]`",
            )  # fmt: skip


def _external_links(home: Home, environment: Environment, resource: Resource) -> Iterator[Diagnostic]:
    links = resource.spec.get("external_links")
    if not links:
        return
    from envkit.backend.embedded.record import find_named
    from envkit.backend.embedded.resolve import container_name

    own = {
        container_name(environment.name, item.address.replica(number), item.spec)
        for item in environment.services.values() for number in range(1, int(item.spec.get("replicas") or 1) + 1)
    }  # fmt: skip
    for number, link in enumerate(links):
        target = str(link).partition(":")[0]
        if target not in own and find_named(home, target) is None:
            yield _say(
                resource, Severity.WARNING, "unsupported-external-links", f"external_links[{number}]",
                f"service {resource.address.name!r}: there is no container {target!r} here; its name leads nowhere",
                "start it first, in a network that both are in",
            )  # fmt: skip


def _logging(resource: Resource) -> Iterator[Diagnostic]:
    logging: Mapping[str, Any] = resource.spec.get("logging") or {}
    driver, options = str(logging.get("driver") or ""), logging.get("options") or {}
    name = resource.address.name
    if driver not in LOG_DRIVERS:
        yield _say(
            resource, Severity.WARNING, "unsupported-logging", "logging.driver",
            f"service {name!r}: the logging driver {driver!r} is not available; its lines are kept in a local file",
            "use json-file, local, none, syslog or journald",
        )  # fmt: skip
    elif driver in ("syslog", "journald"):
        yield from _forwarding(resource, driver, options)


def _forwarding(resource: Resource, driver: str, options: Mapping[str, str]) -> Iterator[Diagnostic]:
    import os

    from envkit.backend.embedded import sinks
    from envkit.errors import EnvkitError

    name = resource.address.name
    kind, local = "unix", sinks.JOURNAL
    if driver == "syslog":
        try:
            kind, local, _ = sinks.parse_address(options.get("syslog-address") or sinks.LOCAL)
            sinks.facility(options.get("syslog-facility") or "daemon")
        except EnvkitError as error:
            detail = f"service {name!r}: {error.summary[0].lower()}{error.summary[1:]}: {error.detail}"
            yield _say(resource, Severity.ERROR, "unsupported-logging", "logging.options", detail, error.hint)
            return
        if options.get("syslog-format", "") not in sinks.FORMATS:
            yield _say(
                resource, Severity.ERROR, "unsupported-logging", "logging.options",
                f"service {name!r}: {options['syslog-format']!r} is no format of syslog",
                f"write one of {', '.join(sinks.FORMATS[1:])}",
            )  # fmt: skip
        for option in sorted(options.keys() - sinks.SYSLOG_OPTIONS):
            yield _say(
                resource, Severity.WARNING, "unsupported-logging", f"logging.options.{option}",
                f"service {name!r}: the logging option {option!r} is not honoured", "take it away",
            )  # fmt: skip
    if kind.startswith("unix") and not os.path.exists(local):
        yield _say(
            resource, Severity.WARNING, "missing-log-socket", "logging.driver",
            f"service {name!r}: {local} does not exist; lines wait in a local file until it does",
            "start a syslog daemon or the journal, or use json-file or local",
        )  # fmt: skip


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
    return Diagnostic(severity, code, summary, detail, features.position(resource.origin(path)), hint)
