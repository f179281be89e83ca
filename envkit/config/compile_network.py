"""How a service is connected: networks, ports, names."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.address import Address
from envkit.config.draft import Draft
from envkit.lean import pattern
from envkit.spec.environment import Dependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ATTACHMENT = ("ipv4_address", "ipv6_address", "mac_address", "interface_name", "priority", "gw_priority")
_MODES = pattern(r"none|host|bridge|default|(service|container):.+")


def put_network(draft: Draft, service: Mapping[str, Any]) -> None:
    """Networks, ports, names and name servers."""
    if network_mode := service.get("network_mode"):
        if not _MODES.fullmatch(network_mode):
            draft.scope.error(
                "invalid-value", "A value is not valid", f"{draft.path('network_mode')} is {network_mode!r}",
                draft.path("network_mode"), "write none, host, bridge, service:NAME or container:NAME; networks of "
                "this environment belong below `networks:`",
            )  # fmt: skip
        draft.put("network_mode", network_mode)
    else:
        made = {name: _attachment(item or {}) for name, item in (service.get("networks") or {}).items()}
        draft.put("networks", made or None)
        for name in made:
            draft.needs(Dependency(Address("network", name)))
    _put_ports(draft, service)
    draft.put("expose", sorted({str(item) for item in service.get("expose") or ()}) or None)
    for key in ("links", "external_links"):
        draft.put(key, sorted(service.get(key) or ()) or None)
    draft.put("extra_hosts", hosts(service.get("extra_hosts")) or None)
    for key in ("dns", "dns_search", "dns_opt"):
        value = service.get(key)
        draft.put(key, ([value] if isinstance(value, str) else value) or None)
    draft.put("mac_address", service.get("mac_address") or None)


def _attachment(item: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {key: item[key] for key in _ATTACHMENT if item.get(key)}
    for key in ("aliases", "link_local_ips"):
        if item.get(key):
            made[key] = sorted(set(item[key]))
    if item.get("driver_opts"):
        made["driver_opts"] = {key: str(value) for key, value in item["driver_opts"].items()}
    return made


def hosts(written: Any) -> dict[str, list[str]]:
    """`extra_hosts` in any of its forms: name -> addresses, in the order written."""
    made: dict[str, list[str]] = {}
    if isinstance(written, Mapping):
        return {name: [value] if isinstance(value, str) else list(value) for name, value in written.items()}
    for text in written or ():
        separator = "=" if "=" in text else ":"
        name, _, address = str(text).partition(separator)
        made.setdefault(name.strip(), []).append(address.strip().removeprefix("[").removesuffix("]"))
    return made


def _put_ports(draft: Draft, service: Mapping[str, Any]) -> None:
    local = draft.scope.model.hardened
    made: list[tuple[tuple[Any, ...], int, dict[str, Any]]] = []
    for index, item in enumerate(service.get("ports") or ()):
        written = item.get("host_ip") or ""
        port: dict[str, Any] = {
            "target": int(item["target"]), "published": str(item.get("published") or ""),
            "protocol": item.get("protocol") or "tcp", "host_ip": written or ("127.0.0.1" if local else ""),
        }  # fmt: skip
        for key in ("name", "app_protocol"):
            if item.get(key):
                port[key] = item[key]
        if item.get("mode") not in (None, "", "ingress"):
            port["mode"] = item["mode"]
        order = (port["target"], port["protocol"], port["host_ip"], port["published"])
        made.append((order, index, port))
    made.sort(key=lambda row: row[:2])
    for position, (_, index, _port) in enumerate(made):
        draft.came_from(f"ports[{position}]", f"ports[{index}]")
    if made:
        draft.spec["ports"] = [port for _, _, port in made]
