"""What a runtime would refuse when it is too late, found while there is still a place in the YAML to point at.

Sources: capabilities(7); getrlimit(2) and Docker's names for it; signal(7); Compose Specification 05-services.md
(ports, ipv4_address) and 06-networks.md (ipam).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envkit.config.draft import Scope
from envkit.config.suggest import did_you_mean
from envkit.spec.environment import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CAPABILITIES = (
    "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE",
    "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE",
    "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
)  # fmt: skip
ULIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip


def check_capability(scope: Scope, name: str, path: str) -> None:
    """A capability by its name without CAP_."""
    if name not in CAPABILITIES:
        scope.error("unknown-capability", "A capability is not known", f"{path} is {name!r}", path,
                    did_you_mean(name, CAPABILITIES) or "see capabilities(7)")  # fmt: skip


def check_ulimits(scope: Scope, limits: Mapping[str, Mapping[str, int]], base: str) -> None:
    """`ulimits:` in canonical form; base: where it is written."""
    for name, limit in limits.items():
        path = f"{base}.{name}"
        if name not in ULIMITS:
            scope.error("unknown-ulimit", "A limit is not known", f"{base} has {name!r}", path,
                        did_you_mean(name, ULIMITS) or f"write one of {', '.join(ULIMITS)}")  # fmt: skip
        elif limit["hard"] != -1 and (limit["soft"] > limit["hard"] or limit["soft"] == -1):
            scope.error("invalid-value", "A value is not valid", f"{path} has a soft limit of {limit['soft']}, above "
                        f"the hard one of {limit['hard']}", path, "raise the hard limit")  # fmt: skip


def check_signal(scope: Scope, name: str, path: str) -> None:
    """A signal by name or number."""
    if name.startswith("SIGRT") or (name.isdigit() and 0 < int(name) < 65):
        return
    from signal import Signals

    if name not in Signals.__members__:
        scope.error("unknown-signal", "A signal is not known", f"{path} is {name!r}", path,
                    did_you_mean(name, Signals.__members__) or "see signal(7)")  # fmt: skip


def check_ports(scope: Scope, services: Iterable[Resource]) -> None:
    """A port of a host can be published once; the instances of a service on a cluster are on several hosts."""
    one_host = not scope.model.is_cluster
    taken: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for resource in services:
        name = resource.address.name
        for index, port in enumerate(resource.spec.get("ports", ())):
            published = port["published"]
            if not published or "-" in published:
                continue
            path = _origin_path(scope, name, index, port)
            if one_host and int(resource.spec.get("replicas", 1)) > 1:
                scope.error(
                    "port-conflict", "A port is published twice", f"services.{name} has "
                    f"{resource.spec['replicas']} instances, and all of them publish {published}", path,
                    f'publish a range, like "{published}-{int(published) + resource.spec["replicas"] - 1}:'
                    f'{port["target"]}", or nothing',
                )  # fmt: skip
            others = taken.setdefault((published, port["protocol"]), [])
            clash = next((other for host, other in others if _overlap(host, port["host_ip"]) and other != name), None)
            if clash:
                detail = f"services.{name} and services.{clash} both publish {published}/{port['protocol']}"
                scope.error("port-conflict", "A port is published twice", detail, path,
                            "give one of them another port")  # fmt: skip
            others.append((port["host_ip"], name))


def _overlap(one: str, other: str) -> bool:
    everywhere = ("", "0.0.0.0", "::")
    return one == other or one in everywhere or other in everywhere


def _origin_path(scope: Scope, name: str, index: int, port: Mapping[str, Any]) -> str:
    """The path in the model of a compiled port, which may stand elsewhere in the sorted list."""
    for number, item in enumerate(scope.section("services")[name].get("ports") or ()):
        same = str(item.get("published") or "") == port["published"] and int(item["target"]) == port["target"]
        if same and (item.get("protocol") or "tcp") == port["protocol"]:
            return f"services.{name}.ports[{number}]"
    return f"services.{name}.ports[{index}]"


def check_addresses(scope: Scope, resources: Mapping[str, Resource], services: Iterable[Resource]) -> None:
    """Subnets are subnets, gateways and fixed addresses lie in them. resources: networks by key."""
    if not any(item.spec.get("subnets") for item in resources.values()) and not any(
        "ipv4_address" in link or "ipv6_address" in link
        for item in services for link in item.spec.get("networks", {}).values()
    ):  # fmt: skip
        return
    import ipaddress

    known: dict[str, list[Any]] = {}
    for key, item in resources.items():
        known[key] = []
        for index, subnet in enumerate(item.spec.get("subnets", ())):
            path = f"networks.{key}.ipam.config[{index}]"
            try:
                network = ipaddress.ip_network(subnet["subnet"]) if "subnet" in subnet else None
                gateway = ipaddress.ip_address(subnet["gateway"]) if "gateway" in subnet else None
                if "ip_range" in subnet:
                    ipaddress.ip_network(subnet["ip_range"])
            except ValueError as problem:
                scope.error("invalid-value", "A value is not valid", f"{path}: {problem}", path,
                            "write a subnet like 172.28.0.0/16, and addresses in it")  # fmt: skip
                continue
            if network is not None:
                known[key].append(network)
            if gateway is not None and network is not None and gateway not in network:
                scope.error("invalid-value", "A value is not valid", f"{path}.gateway {gateway} is not in {network}",
                            f"{path}.gateway", "take an address of the subnet")  # fmt: skip
    for item in services:
        for key, link in item.spec.get("networks", {}).items():
            for kind in ("ipv4_address", "ipv6_address"):
                if kind in link and not resources[key].spec.get("external"):
                    path = f"services.{item.address.name}.networks.{key}.{kind}"
                    _check_fixed(scope, link[kind], known[key], path, ipaddress.ip_address)


def _check_fixed(scope: Scope, text: str, subnets: list[Any], path: str, parse: Any) -> None:
    try:
        address = parse(text)
    except ValueError as problem:
        scope.error("invalid-value", "A value is not valid", f"{path}: {problem}", path, "write an IP address")
        return
    if not any(address in subnet for subnet in subnets if subnet.version == address.version):
        key = path.split(".networks.")[1].rpartition(".")[0]
        scope.error("invalid-value", "A value is not valid", f"{path} is {text}, which is in no subnet of the network",
                    path, f"give networks.{key} a subnet that has it: `ipam: {{config: [{{subnet: …}}]}}`")  # fmt: skip
