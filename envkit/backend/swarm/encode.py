"""A canonical ServiceSpec as the body of POST /services/create. Pure.

Source: Docker Engine API v1.41–1.47, ServiceCreate. What has no key there is in features.py. Durations are nanoseconds.
"""

from __future__ import annotations

from envkit.backend.swarm import encode_container
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

STACK = "com.docker.stack.namespace"
"""The label by which `docker stack` knows what belongs together."""

NANO = 1_000_000_000
_CONDITIONS = {"no": "none", "always": "any", "unless-stopped": "any", "on-failure": "on-failure"}
_JOBS = frozenset({"replicated-job", "global-job"})


@value
class Place:
    """What is around a service. image: what its tasks run, an id or a pinned reference; networks, volumes: key -> name
    in the cluster; secrets, configs: key -> (id, name); volume_options: key -> VolumeOptions; awaited: another service
    waits for its completion; vip: the nodes can balance load (IPVS); version: of the API."""

    environment: str
    image: str
    version: tuple[int, int] = (1, 41)
    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    volume_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    configs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    awaited: bool = False
    vip: bool = True
    hardened: bool = False


def service_name(environment: str, service: str) -> str:
    """ENVIRONMENT_SERVICE, as `docker stack deploy` has it."""
    return f"{environment}_{service}"


def service(name: str, spec: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The body, without labels of the service itself."""
    task: dict[str, Any] = {
        "ContainerSpec": encode_container.container(spec, place),
        "RestartPolicy": restart(spec, awaited=place.awaited), "Resources": resources(spec),
        "Placement": placement(spec.get("placement") or {}), "Networks": networks(name, spec, place), "ForceUpdate": 0,
    }  # fmt: skip
    if logging := spec.get("logging"):
        options = dict(logging.get("options") or {})
        task["LogDriver"] = {"Name": logging.get("driver") or "json-file", "Options": options}
    body: dict[str, Any] = {
        "Name": service_name(place.environment, name), "TaskTemplate": task, "Mode": mode(spec),
        "EndpointSpec": endpoint(spec, vip=place.vip),
    }  # fmt: skip
    if not is_job(spec):
        for key, own in (("update", "UpdateConfig"), ("rollback", "RollbackConfig")):
            if key in spec:
                body[own] = rollout(spec[key])
        if task["RestartPolicy"]["Condition"] == "none" and _ends(spec, place.awaited):
            # To the managers, a task that ends well in an update has failed.
            body["UpdateConfig"] = {**rollout(spec.get("update") or {}), "FailureAction": "continue"}
    return body


def is_job(spec: Mapping[str, Any]) -> bool:
    """Whether it is one of Swarm's jobs."""
    return spec.get("mode") in _JOBS


def mode(spec: Mapping[str, Any]) -> dict[str, Any]:
    count = int(spec.get("replicas", 1))
    match spec.get("mode"):
        case "global":
            return {"Global": {}}
        case "global-job":
            return {"GlobalJob": {}}
        case "replicated-job":
            return {"ReplicatedJob": {"MaxConcurrent": count, "TotalCompletions": count}}
    return {"Replicated": {"Replicas": count}}


def restart(spec: Mapping[str, Any], *, awaited: bool) -> dict[str, Any]:
    """RestartPolicy. Without a policy of its own, what ends by itself (another service awaits it, or nothing says that
    it goes on) runs once; everything else is kept running, since a node may be lost."""
    given: Mapping[str, Any] = spec.get("restart") or {}
    usual = "none" if _ends(spec, awaited) else "any"
    condition = _CONDITIONS.get(str(given.get("policy")), "any") if given else usual
    if is_job(spec) and condition == "any":
        condition = "on-failure"  # a job that ended well is done: the API refuses `any`
    made: dict[str, Any] = {"Condition": condition}
    for key, own in (("delay", "Delay"), ("window", "Window")):
        if given.get(key) is not None:
            made[own] = nanoseconds(given[key])
    if given.get("max_attempts"):
        made["MaxAttempts"] = int(given["max_attempts"])
    return made


def _ends(spec: Mapping[str, Any], awaited: bool) -> bool:
    """Whether it ends by itself: another service waits for that, or nothing says that it goes on."""
    goes_on = spec.get("ports") or spec.get("expose") or (spec.get("healthcheck") or {}).get("test")
    return awaited or not goes_on


def nanoseconds(seconds: float) -> int:
    return round(float(seconds) * NANO)


def resources(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Limits and reservations; -1 and 0 are none."""
    limits: Mapping[str, Any] = spec.get("limits") or {}
    reserved: Mapping[str, Any] = spec.get("reservations") or {}
    upper: dict[str, Any] = {}
    lower: dict[str, Any] = {}
    for key, own in (("memory", "MemoryBytes"), ("pids", "Pids")):
        if int(limits.get(key) or 0) > 0:
            upper[own] = int(limits[key])
    cpus = float(limits.get("cpus") or 0)
    if not cpus and limits.get("cpu_quota"):
        cpus = int(limits["cpu_quota"]) / int(limits.get("cpu_period") or 100_000)
    if cpus > 0:
        upper["NanoCPUs"] = nanoseconds(cpus)
    if int(limits.get("memory_reservation") or 0) > 0:
        lower["MemoryBytes"] = int(limits["memory_reservation"])
    if reserved.get("cpus"):
        lower["NanoCPUs"] = nanoseconds(reserved["cpus"])
    generic = [_generic(item) for item in reserved.get("generic_resources") or ()]
    if generic:
        lower["GenericResources"] = generic
    return {name: part for name, part in (("Limits", upper), ("Reservations", lower)) if part}


def _generic(item: Mapping[str, Any]) -> dict[str, Any]:
    given: Mapping[str, Any] = item.get("discrete_resource_spec") or {}
    return {"DiscreteResourceSpec": {"Kind": given.get("kind"), "Value": int(given.get("value") or 0)}}


def placement(given: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if given.get("constraints"):
        made["Constraints"] = [str(item) for item in given["constraints"]]
    if given.get("preferences"):
        made["Preferences"] = [{"Spread": {"SpreadDescriptor": item["spread"]}} for item in given["preferences"]]
    if given.get("max_replicas_per_node"):
        made["MaxReplicas"] = int(given["max_replicas_per_node"])
    return made


def networks(name: str, spec: Mapping[str, Any], place: Place) -> list[dict[str, Any]]:
    """Attachments: the service's name is an alias in every network, as Compose has it."""
    if spec.get("network_mode") == "host":
        return [{"Target": place.networks.get("host", "host")}]
    made = []
    for key, given in (spec.get("networks") or {}).items():
        aliases = list(dict.fromkeys([name, *(given or {}).get("aliases", ())]))
        row: dict[str, Any] = {"Target": place.networks.get(key, key), "Aliases": aliases}
        if (given or {}).get("driver_opts"):
            row["DriverOpts"] = dict(given["driver_opts"])
        made.append(row)
    return made


def endpoint(spec: Mapping[str, Any], *, vip: bool) -> dict[str, Any]:
    """EndpointSpec. Without IPVS on the nodes, names lead to the tasks and ports are those of the tasks' nodes."""
    wanted = str(spec.get("endpoint_mode") or ("vip" if vip else "dnsrr"))
    if not vip:
        wanted = "dnsrr"
    made: dict[str, Any] = {"Mode": wanted}
    ports = []
    for port in spec.get("ports") or ():
        row: dict[str, Any] = {
            "Protocol": port["protocol"], "TargetPort": port["target"],
            "PublishMode": "host" if not vip else port.get("mode") or "ingress",
        }  # fmt: skip
        if port.get("published"):
            row["PublishedPort"] = int(port["published"])
        if port.get("name"):
            row["Name"] = port["name"]
        ports.append(row)
    if ports:
        made["Ports"] = ports
    return made


def rollout(given: Mapping[str, Any]) -> dict[str, Any]:
    """UpdateConfig or RollbackConfig: one task at a time unless it is said otherwise (the API's own 0 means all)."""
    made: dict[str, Any] = {
        "Parallelism": int(given.get("parallelism", 1)), "FailureAction": given.get("failure_action") or "pause",
        "Order": given.get("order") or "stop-first", "MaxFailureRatio": float(given.get("max_failure_ratio") or 0),
    }  # fmt: skip
    for key, own in (("delay", "Delay"), ("monitor", "Monitor")):
        if given.get(key) is not None:
            made[own] = nanoseconds(given[key])
    return made


def network(environment: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The body of POST /networks/create."""
    options = {key: str(value) for key, value in (spec.get("driver_opts") or {}).items()}
    body: dict[str, Any] = {
        "Name": spec["name"], "CheckDuplicate": True, "Driver": spec.get("driver") or "overlay", "Scope": "swarm",
        "Labels": {**(spec.get("labels") or {}), **labels, STACK: environment}, "Options": options,
        "Internal": bool(spec.get("internal")), "Attachable": bool(spec.get("attachable")),
        "EnableIPv6": bool(spec.get("enable_ipv6")),
    }  # fmt: skip
    if "encrypted" in options:
        options["encrypted"] = ""
    subnets = [
        {own: row[key] for key, own in (("subnet", "Subnet"), ("gateway", "Gateway"), ("ip_range", "IPRange"),
                                        ("aux_addresses", "AuxiliaryAddresses")) if row.get(key)}
        for row in spec.get("subnets") or ()
    ]  # fmt: skip
    if subnets or spec.get("ipam_driver"):
        body["IPAM"] = {
            "Driver": spec.get("ipam_driver") or "default", "Config": subnets,
            "Options": dict(spec.get("ipam_options") or {}),
        }  # fmt: skip
    return body
