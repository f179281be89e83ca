"""exec and attach: by the engine of the node that runs the replica."""

from __future__ import annotations

from envkit.backend import containers, terminal
from envkit.backend.swarm.control import container_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envkit.address import Address
    from envkit.backend.base import ExecRequest
    from envkit.backend.swarm.cluster import Cluster


def exec_in(cluster: Cluster, environment: str, request: ExecRequest) -> int:
    """See backend.base.Backend.exec."""
    engine, identity = container_of(cluster, environment, request.address, "exec")
    config = engine.get(f"/containers/{identity}/json").get("Config") or {}
    return containers.exec_in(engine, identity, config, request)


def attach(
    cluster: Cluster, environment: str, address: Address, *, stdin: bool, forward_signals: bool, detach_keys: str
) -> int:
    """See backend.base.Backend.attach."""
    if detach_keys:
        terminal.parse_keys(detach_keys)
    engine, identity = container_of(cluster, environment, address, "attach")
    config = engine.get(f"/containers/{identity}/json").get("Config") or {}
    return containers.attach(engine, identity, config, stdin=stdin, forward=forward_signals, keys=detach_keys)
