"""What a YAML can ask of a backend, and how each backend says what it cannot do. Pure.

FEATURES is the one list: its rows are what docs/backends.md shows and what tests hold against engines. A backend
declares exceptions: `cannot` where the meaning would change (an error at plan time), `not_quite` where only comfort,
speed or a second line of defence is lost (a warning). Everything else it honours. Adapters have further checks of
their own, for what depends on the machine.
"""

from __future__ import annotations

from envkit.diagnostics import Diagnostic, Position, Severity
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Literal

    from envkit.spec.environment import Environment, Resource


@value
class Feature:
    """One row. kind: of the resource; path: where its canonical spec has it (`networks.*.aliases`, `mounts[].type`);
    name: as the YAML writes it; example: keys of a spec that asks for it; asks: whether a value found at path does;
    unless: what the mapping around it says where it is honoured by everybody."""

    kind: str
    path: str
    name: str
    example: Mapping[str, Any]
    asks: Callable[[Any], bool] = bool
    variant: str = ""
    unless: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.kind}.{self.path}" + (f":{self.variant}" if self.variant else "")


@value
class Limit:
    """What a backend does not do. since: the API version from which it does, where there is one. filled_in: what is
    said where envkit itself filled the value in (the defaults of an envkit.yaml): the same, one line for all, nothing.
    """

    severity: Severity
    why: str
    hint: str = ""
    since: tuple[int, int] | None = None
    filled_in: Literal["the same", "one line", "nothing"] = "the same"


@value
class Declaration:
    """backend: its name; title: in the docs; limits: feature id -> what it does not do."""

    backend: str
    title: str
    limits: Mapping[str, Limit] = field(default_factory=dict)


def cannot(why: str, hint: str = "", *, since: tuple[int, int] | None = None) -> Limit:
    """The meaning would change: an error."""
    return Limit(Severity.ERROR, why, hint, since)


def not_quite(
    why: str, hint: str = "", *, since: tuple[int, int] | None = None,
    filled_in: Literal["the same", "one line", "nothing"] = "the same",
) -> Limit:  # fmt: skip
    """Something is lost that nothing depends on: a warning."""
    return Limit(Severity.WARNING, why, hint, since, filled_in)


def _service(
    path: str, example: Any, name: str = "", asks: Callable[[Any], bool] = bool, variant: str = "",
    unless: Mapping[str, Any] | None = None,
) -> Feature:  # fmt: skip
    """A row for a key of a service; example: its value, or the whole keys where path is a deep one."""
    keys = example if isinstance(example, dict) and ("." in path or "[" in path or variant) else {path: example}
    return Feature("service", path, name or path, keys, asks, variant, unless or {})


def _is(*values: str) -> Callable[[Any], bool]:
    return lambda found: found in values


def _starts(*beginnings: str) -> Callable[[Any], bool]:
    return lambda found: str(found).startswith(beginnings)


def _is_address(found: Any) -> bool:
    return found not in ("", "0.0.0.0", "::")


def _is_range(found: Any) -> bool:
    return "-" in str(found)


_PORT = {"target": 80, "published": "8081", "protocol": "tcp", "host_ip": ""}
_BIND = {"type": "bind", "source": "/etc/hostname", "target": "/mnt/name", "read_only": True}
_TMPFS = {"type": "tmpfs", "target": "/scratch"}


def _mount(**keys: Any) -> dict[str, Any]:
    return {"mounts": [keys]}


FEATURES: tuple[Feature, ...] = (
    # the process
    _service("command", ["sleep", "1000"]),
    _service("entrypoint", ["/bin/sh", "-c", "sleep 1000"]),
    _service("entrypoint", {"entrypoint": [], "command": ["sleep", "9"]}, "entrypoint: []",
             lambda found: found == [], "none"),
    _service("environment", {"LEVEL": "info"}),
    _service("working_dir", "/tmp"),
    _service("user", "1000:1000"),
    _service("group_add", ["1001"]),
    _service("tty", True),
    _service("stdin_open", True),
    _service("init", True),
    _service("hostname", "box"),
    _service("domainname", "example.org"),
    _service("container_name", "the-box"),
    _service("platform", "linux/amd64"),
    _service("runtime", "runc"),
    _service("labels", {"team": "a"}),
    _service("annotations", {"team": "a"}),
    _service("stop_signal", "SIGINT"),
    _service("stop_grace_period", 2.0),
    _service("restart", {"policy": "on-failure"}),
    _service("restart.delay", {"restart": {"policy": "on-failure", "delay": 2.0}}, "deploy.restart_policy.delay"),
    _service("restart.window", {"restart": {"policy": "on-failure", "window": 9.0}}, "deploy.restart_policy.window"),
    _service("restart.max_attempts", {"restart": {"policy": "on-failure", "max_attempts": 3}}, "restart: on-failure:3"),
    _service("healthcheck", {"test": ["CMD", "true"], "interval": 5.0}),
    _service("healthcheck.start_interval", {"healthcheck": {"test": ["CMD", "true"], "start_interval": 1.0}}),
    _service("logging", {"driver": "json-file", "options": {"max-size": "1m"}}),
    _service("pre_start", [{"command": ["true"]}]),
    _service("post_start", [{"command": ["true"]}]),
    _service("pre_stop", [{"command": ["true"]}]),
    # deploy
    _service("replicas", 2, "deploy.replicas"),
    _service("mode", {"mode": "global"}, "deploy.mode: global", _is("global"), "global"),
    _service("mode", {"mode": "replicated-job"}, "deploy.mode: replicated-job",
             _is("replicated-job", "global-job"), "job"),
    _service("update.parallelism", {"update": {"parallelism": 2}}, "deploy.update_config.parallelism"),
    _service("update.order", {"update": {"order": "start-first"}}, "deploy.update_config.order"),
    _service("update.delay", {"update": {"delay": 1.0}}, "deploy.update_config.delay"),
    _service("update.monitor", {"update": {"monitor": 1.0}}, "deploy.update_config.monitor"),
    _service("update.failure_action", {"update": {"failure_action": "rollback"}},
             "deploy.update_config.failure_action"),
    _service("update.max_failure_ratio", {"update": {"max_failure_ratio": 0.5}},
             "deploy.update_config.max_failure_ratio"),
    _service("rollback", {"order": "start-first"}, "deploy.rollback_config"),
    _service("placement", {"constraints": ["node.role == manager"]}, "deploy.placement"),
    _service("endpoint_mode", "dnsrr", "deploy.endpoint_mode"),
    _service("deploy_labels", {"team": "a"}, "deploy.labels"),
    # files
    _service("read_only", True),
    _service("mounts[].type", _mount(**_BIND), "volumes: a bind", _is("bind"), "bind"),
    _service("mounts[].create_host_path", _mount(**{**_BIND, "create_host_path": True}),
             "volumes: a bind that is made"),
    _service("mounts[].propagation", _mount(**{**_BIND, "propagation": "rslave"}), "volumes: bind.propagation"),
    _service("mounts[].recursive", _mount(**{**_BIND, "recursive": "disabled"}), "volumes: bind.recursive"),
    _service("mounts[].selinux", _mount(**{**_BIND, "selinux": "z"}), "volumes: bind.selinux"),
    _service("mounts[].type", _mount(type="volume", target="/data"), "volumes: a volume", _is("volume"), "volume"),
    _service("mounts[].nocopy", _mount(type="volume", target="/data", nocopy=True), "volumes: volume.nocopy"),
    _service("mounts[].subpath", _mount(type="volume", source="data", target="/data", subpath="a"),
             "volumes: volume.subpath"),
    _service("mounts[].type", _mount(**_TMPFS), "tmpfs", _is("tmpfs"), "tmpfs"),
    _service("mounts[].size", _mount(**{**_TMPFS, "size": 1 << 20}), "volumes: tmpfs.size"),
    _service("mounts[].mode", _mount(**{**_TMPFS, "mode": 0o700}), "volumes: tmpfs.mode"),
    _service("mounts[].uid", _mount(**{**_TMPFS, "uid": 1000}), "tmpfs: uid", lambda found: found is not None),
    _service("mounts[].options", _mount(**{**_TMPFS, "options": ["nr_inodes=100"]}), "tmpfs: further options"),
    _service("mounts[].type", _mount(type="image", source="busybox:test", target="/mnt/image"), "volumes: an image",
             _is("image"), "image"),
    _service("mounts[].nosuid", _mount(**{**_BIND, "nosuid": True}), "volumes: nosuid, nodev, noexec",
             unless={"type": "tmpfs"}),
    _service("volumes_from", ["other"]),
    _service("devices", [{"source": "/dev/null", "target": "/dev/zilch", "permissions": "rwm"}]),
    _service("device_cgroup_rules", ["c 1:3 mr"]),
    _service("gpus", [{"count": -1}]),
    _service("shm_size", 1 << 20),
    _service("storage_opt", {"size": "1G"}),
    # connections
    _service("networks.*.aliases", {"networks": {"net": {"aliases": ["other"]}}}),
    _service("networks.*.ipv4_address", {"networks": {"net": {"ipv4_address": "10.222.3.4"}}}),
    _service("networks.*.link_local_ips", {"networks": {"net": {"link_local_ips": ["169.254.8.9"]}}}),
    _service("networks.*.mac_address", {"networks": {"net": {"mac_address": "02:42:0a:de:03:04"}}}),
    _service("networks.*.interface_name", {"networks": {"net": {"interface_name": "lan0"}}}),
    _service("networks.*.priority", {"networks": {"net": {"priority": 10}}}),
    _service("networks.*.gw_priority", {"networks": {"net": {"gw_priority": 10}}}),
    _service("networks.*.driver_opts", {"networks": {"net": {"driver_opts": {"com.example.option": "1"}}}}),
    _service("network_mode", {"network_mode": "none"}, "network_mode: none", _is("none"), "none"),
    _service("network_mode", {"network_mode": "host"}, "network_mode: host", _is("host"), "host"),
    _service("network_mode", {"network_mode": "bridge"}, "network_mode: bridge", _is("bridge", "default"), "bridge"),
    _service("network_mode", {"network_mode": "service:other"}, "network_mode: service:…, container:…",
             _starts("service:", "container:"), "shared"),
    _service("ports", {"ports": [_PORT]}, "ports", bool, "any"),
    _service("ports[].host_ip", {"ports": [{**_PORT, "host_ip": "127.0.0.1"}]}, "ports: of one address", _is_address),
    _service("ports[].published", {"ports": [{**_PORT, "published": "8081-8083"}]}, "ports: one of a range", _is_range),
    _service("ports[].mode", {"ports": [{**_PORT, "mode": "host"}]}, "ports: mode: host", _is("host")),
    _service("expose", ["80"]),
    _service("links", ["other:friend"]),
    _service("external_links", ["stranger"]),
    _service("extra_hosts", {"box.example": ["10.1.2.3"]}),
    _service("extra_hosts.*", {"extra_hosts": {"host.example": ["host-gateway"]}}, "extra_hosts: host-gateway",
             lambda found: "host-gateway" in found),
    _service("dns", ["10.1.2.3"]),
    _service("dns_search", ["example.org"]),
    _service("dns_opt", ["ndots:2"]),
    _service("mac_address", "02:42:0a:de:03:05"),
    # privileges
    _service("cap_add", ["NET_ADMIN"]),
    _service("cap_drop", ["MKNOD"]),
    _service("privileged", True),
    _service("no_new_privileges", True, "security_opt: no-new-privileges"),
    _service("seccomp", "unconfined", "security_opt: seccomp"),
    _service("security_opt", ["apparmor=unconfined"], "security_opt: others"),
    _service("sysctls", {"net.ipv4.ip_unprivileged_port_start": "0"}),
    _service("ulimits", {"nofile": {"soft": 512, "hard": 1024}}),
    _service("pid", "host"),
    _service("ipc", "host"),
    _service("uts", "host"),
    _service("cgroup", "host"),
    _service("userns_mode", "host", "userns_mode: host", _is("host"), "host"),
    _service("userns_mode", {"userns_mode": "keep-id"}, "userns_mode: others",
             lambda found: found not in ("", "host"), "other"),
    _service("cgroup_parent", "/box"),
    # limits
    _service("limits.memory", {"limits": {"memory": 64 << 20}}, "mem_limit, deploy.resources.limits.memory"),
    _service("limits.memory_swap", {"limits": {"memory": 64 << 20, "memory_swap": 96 << 20}}, "memswap_limit"),
    _service("limits.memory_swappiness", {"limits": {"memory_swappiness": 10}}, "mem_swappiness"),
    _service("limits.memory_reservation", {"limits": {"memory_reservation": 8 << 20}},
             "mem_reservation, deploy.resources.reservations.memory"),
    _service("limits.cpus", {"limits": {"cpus": 0.5}}, "cpus, deploy.resources.limits.cpus"),
    _service("limits.cpu_quota", {"limits": {"cpu_quota": 20000}}, "cpu_quota"),
    _service("limits.cpu_shares", {"limits": {"cpu_shares": 512}}, "cpu_shares"),
    _service("limits.cpu_rt_runtime", {"limits": {"cpu_rt_runtime": 400000}}, "cpu_rt_runtime"),
    _service("limits.cpuset", {"limits": {"cpuset": "0"}}, "cpuset"),
    _service("limits.pids", {"limits": {"pids": 64}}, "pids_limit, deploy.resources.limits.pids"),
    _service("limits.blkio", {"limits": {"blkio": {"weight": 300}}}, "blkio_config"),
    _service("limits.oom_kill_disable", {"limits": {"oom_kill_disable": True}}, "oom_kill_disable"),
    _service("reservations.cpus", {"reservations": {"cpus": 0.1}}, "deploy.resources.reservations.cpus"),
    _service("reservations.generic_resources",
             {"reservations": {"generic_resources": [{"discrete_resource_spec": {"kind": "SSD", "value": 1}}]}},
             "deploy.resources.reservations.generic_resources"),
    _service("reservations.devices", {"reservations": {"devices": [{"capabilities": ["gpu"], "count": 1}]}},
             "deploy.resources.reservations.devices"),
    _service("oom_score_adj", 100),
    # networks, volumes, secrets, configs
    Feature("network", "driver", "networks: driver: macvlan, ipvlan", {"driver": "macvlan"}, _is("macvlan", "ipvlan"),
            "macvlan"),
    Feature("network", "driver", "networks: driver: other", {"driver": "weave"},
            lambda found: found not in ("", "overlay", "macvlan", "ipvlan")),
    Feature("network", "driver", "networks: driver: overlay", {"driver": "overlay"}, _is("overlay"), "overlay"),
    Feature("network", "driver_opts", "networks: driver_opts", {"driver_opts": {"com.example.option": "1"}}),
    Feature("network", "internal", "networks: internal", {"internal": True}),
    Feature("network", "attachable", "networks: attachable", {"attachable": True}),
    Feature("network", "subnets", "networks: ipam", {"subnets": [{"subnet": "10.222.3.0/24"}]}),
    Feature("network", "enable_ipv6", "networks: enable_ipv6", {
        "enable_ipv6": True, "subnets": [{"subnet": "fd00:222:3::/64"}]}),
    Feature("network", "enable_ipv4", "networks: enable_ipv4: false", {"enable_ipv4": False},
            lambda found: found is False),
    Feature("volume", "driver", "volumes: driver", {"driver": "other"}, lambda found: found not in ("", "local")),
    Feature("volume", "driver_opts", "volumes: driver_opts", {"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}),
    Feature("volume", "protect", "volumes: protect", {"protect": True}),
    Feature("secret", "external", "secrets: external", {"external": True}),
    Feature("config", "external", "configs: external", {"external": True}),
)  # fmt: skip

BY_ID = {feature.id: feature for feature in FEATURES}


def find(feature: Feature, spec: Mapping[str, Any]) -> Iterator[str]:
    """The paths in a spec that ask for the feature, as origins name them (`mounts[0].type`)."""
    for path, found, around in _walk(spec, _parts(feature.path), "", {}):
        if feature.asks(found) and not any(around.get(key) == value for key, value in feature.unless.items()):
            yield path


def _parts(path: str) -> list[str]:
    return path.replace("[]", ".[]").split(".")


def _walk(
    found: Any, parts: Sequence[str], path: str, around: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    if not parts:
        yield path, found, around
        return
    first, *rest = parts
    if first == "[]":
        for index, item in enumerate(found if isinstance(found, (list, tuple)) else ()):
            yield from _walk(item, rest, f"{path}[{index}]", {})
    elif isinstance(found, dict):
        for key in found if first == "*" else (first,) if first in found else ():
            yield from _walk(found[key], rest, f"{path}.{key}" if path else str(key), found)


def check(
    declaration: Declaration, environment: Environment, *, version: Callable[[], tuple[int, int]] = lambda: (99, 0)
) -> Iterator[Diagnostic]:
    """A diagnostic for everything that the environment asks and the backend does not do. version: of the API, asked
    where something depends on it."""
    quiet: dict[str, list[str]] = {}
    limits = [(BY_ID[key], limit) for key, limit in declaration.limits.items()]
    for resource in environment.resources.values():
        kind = resource.address.kind
        for feature, limit in limits:
            if feature.kind != kind or (kind == "network" and resource.spec.get("external")):
                continue
            for path in find(feature, resource.spec):
                if limit.since is not None and version() >= limit.since:
                    continue
                if environment.hardened and limit.filled_in != "the same" and not resource.origins.get(path):
                    quiet.setdefault(feature.id, []).append(resource.address.name)
                else:
                    yield diagnostic(declaration, feature, limit, resource, path)
    for key, names in quiet.items():
        feature, limit = BY_ID[key], declaration.limits[key]
        if limit.filled_in == "nothing":
            continue
        few = list(dict.fromkeys(names))
        listed = ", ".join(few[:4]) + (f" and {len(few) - 4} more" if len(few) > 4 else "")
        yield Diagnostic(
            Severity.WARNING, code_of(feature), "A default of envkit.yaml is not kept here",
            f"`{feature.name}` of {listed}: {limit.why}", None, limit.hint,
        )  # fmt: skip


def diagnostic(
    declaration: Declaration, feature: Feature, limit: Limit, resource: Resource, path: str
) -> Diagnostic:
    """What a limit says of one place."""
    error = limit.severity is Severity.ERROR
    summary = f"Not available on {declaration.title}" if error else f"Not honoured in full on {declaration.title}"
    why = limit.why
    if limit.since:
        why = f"{why} (it is from API {limit.since[0]}.{limit.since[1]} on)"
    where = f"{resource.address.kind} {resource.address.name!r}"
    return Diagnostic(
        limit.severity, code_of(feature), summary, f"{where}: `{feature.name}`: {why}",
        position(resource.origin(path)), limit.hint,
    )  # fmt: skip


def code_of(feature: Feature) -> str:
    words = feature.path.replace("[]", "").replace(".*", "").replace(".", "-").replace("_", "-")
    return f"unsupported-{words}" if feature.kind == "service" else f"unsupported-{feature.kind}-{words}"


def position(origin: str) -> Position | None:
    """"file:line:col" as a Position; None for anything else."""
    file, _, rest = origin.rpartition(":")
    file, _, line = file.rpartition(":")
    return Position(file, int(line), int(rest)) if file and line.isdigit() and rest.isdigit() else None
