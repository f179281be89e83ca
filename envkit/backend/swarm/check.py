"""What an environment asks and this cluster cannot do: diagnostics at plan time."""

from __future__ import annotations

from envkit.backend import features
from envkit.backend.swarm.features import SWARM
from envkit.diagnostics import Diagnostic, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envkit.backend.swarm.cluster import Cluster
    from envkit.host.home import Home
    from envkit.spec.environment import Environment, Resource

_IPVS = "the kernel has no IPVS, so nothing answers at a service's one address"


def check(cluster: Cluster, home: Home, environment: Environment) -> Sequence[Diagnostic]:
    """Everything about the environment that this cluster cannot do."""
    found = list(features.check(SWARM, environment, version=lambda: cluster.manager.version))
    for resource in environment.services.values():
        found += _endpoint(cluster, resource)
        found += _owners(resource)
        if resource.spec.get("entrypoint") == [] and not resource.spec.get("command"):
            found.append(_say(
                resource, Severity.ERROR, "unsupported-entrypoint", "entrypoint",
                "an empty entrypoint cannot be told from none at all", "write the program as `command:`",
            ))  # fmt: skip
    found += _images(cluster, home, environment)
    return found


def _endpoint(cluster: Cluster, resource: Resource) -> Iterator[Diagnostic]:
    """Load balancing needs IPVS in the nodes' kernels; and names that lead to tasks have no shared ports."""
    spec, ports = resource.spec, resource.spec.get("ports") or ()
    shared = [number for number, port in enumerate(ports) if port.get("mode", "ingress") != "host"]
    if spec.get("endpoint_mode") == "vip" and not cluster.has_ipvs:
        yield _say(
            resource, Severity.WARNING, "no-ipvs", "endpoint_mode", f"{_IPVS}; its name leads to its tasks instead",
            "load the module ip_vs on the nodes, or write `endpoint_mode: dnsrr`",
        )  # fmt: skip
    if shared and not cluster.has_ipvs:
        yield _say(
            resource, Severity.WARNING, "no-ipvs", f"ports[{shared[0]}]",
            "the kernel has no IPVS, so there is no ingress network; the port is published on the nodes that run its "
            "tasks", "write `mode: host`, or load the module ip_vs on the nodes",
        )  # fmt: skip
    elif shared and spec.get("endpoint_mode") == "dnsrr":
        yield _say(
            resource, Severity.ERROR, "unsupported-endpoint-mode", f"ports[{shared[0]}]",
            "with `endpoint_mode: dnsrr` a port cannot be published on all nodes", "write `mode: host` for the port",
        )  # fmt: skip
    host = len(ports) - len(shared) if cluster.has_ipvs else len(ports)
    if host and int(spec.get("replicas", 1)) > len(cluster.nodes()) and any(port.get("published") for port in ports):
        yield _say(
            resource, Severity.WARNING, "ports-per-node", "ports",
            f"{spec['replicas']} replicas publish a port of their node, and there are {len(cluster.nodes())} nodes: "
            "those beyond will find no place", "publish no fixed port, or run fewer replicas",
        )  # fmt: skip


def _owners(resource: Resource) -> Iterator[Diagnostic]:
    """Owners of secrets and configs are numbers there."""
    for kind in ("secrets", "configs"):
        for number, row in enumerate(resource.spec.get(kind) or ()):
            for key in ("uid", "gid"):
                if row.get(key) and not str(row[key]).isdigit():
                    yield _say(
                        resource, Severity.ERROR, f"unsupported-{kind}-owner", f"{kind}[{number}].{key}",
                        f"`{key}: {row[key]}` is a name, and a Swarm takes numbers only", "write the number",
                    )  # fmt: skip


def _images(cluster: Cluster, home: Home, environment: Environment) -> Iterator[Diagnostic]:
    """Images of the store reach nodes by a registry, or by their engines."""
    if cluster.registry:
        return
    away = [row for key, row in cluster.nodes().items() if key not in cluster.engines]
    if not away:
        return
    from envkit.image.store import Store

    store = Store(home)
    for resource in environment.resources.values():
        if resource.address.kind != "image":
            continue
        reference = str(resource.spec.get("reference") or "")
        if reference and store.resolve(reference) is None:
            continue
        hosts = ", ".join(sorted(str((row.get("Description") or {}).get("Hostname")) for row in away))
        yield Diagnostic(
            Severity.WARNING, "image-on-few-nodes", "An image does not reach all nodes",
            f"image {resource.address.name!r} is in envkit's store, and there is no way to {hosts}: its services stay "
            "on the nodes that are within reach", features.position(resource.origin("")),
            "name a `registry` in the target, or the engines of the other nodes in `nodes`",
        )  # fmt: skip


def _say(resource: Resource, severity: Severity, code: str, path: str, why: str, hint: str) -> Diagnostic:
    summary = "Not available on Swarm" if severity is Severity.ERROR else "Not honoured in full on Swarm"
    detail = f"service {resource.address.name!r}: {why}"
    return Diagnostic(severity, code, summary, detail, features.position(resource.origin(path)), hint)
