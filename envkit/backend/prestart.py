"""What the container of a `pre_start` hook is. Pure. Source: Compose Specification 05-services.md, pre_start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NOT_ITS_OWN = frozenset({
    "pre_start", "post_start", "pre_stop", "container_name", "replicas", "restart", "healthcheck", "ports", "expose",
    "update", "rollback", "mode", "placement", "deploy_labels", "tty", "stdin_open", "hostname",
})  # fmt: skip
_FIXED = frozenset({"aliases", "ipv4_address", "ipv6_address", "mac_address", "link_local_ips"})


def spec_of(service: Mapping[str, Any], hook: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical spec of a `pre_start` hook's container. Pure."""
    spec = {key: value for key, value in service.items() if key not in _NOT_ITS_OWN}
    spec |= {key: value for key, value in hook.items() if key not in ("per_replica", "mounts")}
    own = hook.get("mounts") or ()
    targets = {row["target"] for row in own}
    mounts = [*(row for row in service.get("mounts") or () if row["target"] not in targets), *own]
    if mounts:
        spec["mounts"] = sorted(mounts, key=lambda row: str(row["target"]).rstrip("/").count("/"))
    if networks := spec.get("networks"):
        spec["networks"] = {
            key: {name: value for name, value in (item or {}).items() if name not in _FIXED}
            for key, item in networks.items()
        }
    spec["logging"] = {"driver": "json-file"}
    return spec
