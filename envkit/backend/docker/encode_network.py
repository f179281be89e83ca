"""How a service joins networks and publishes ports, as the Engine API says it. Pure."""

from __future__ import annotations

from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


@value
class Place:
    """The engine's names of what is around a service: key below `networks:` or `volumes:` -> name."""

    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)


def host(spec: Mapping[str, Any], resolve: Callable[[str], str]) -> dict[str, Any]:
    """HostConfig without the networks' own keys."""
    found: dict[str, Any] = {}
    if mode := spec.get("network_mode"):
        found["NetworkMode"] = resolve(str(mode))
    if ports := bindings(spec):
        found["PortBindings"] = ports
    if hosts := spec.get("extra_hosts"):
        found["ExtraHosts"] = [f"{name}:{address}" for name, addresses in hosts.items() for address in addresses]
    return found


def exposed(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """ExposedPorts: what is published is exposed."""
    found: dict[str, dict[str, Any]] = {}
    for text in spec.get("expose") or ():
        ports, _, protocol = str(text).partition("/")
        first, _, last = ports.partition("-")
        for number in range(int(first), int(last or first) + 1):
            found[f"{number}/{protocol or 'tcp'}"] = {}
    for port in spec.get("ports") or ():
        found[f"{port['target']}/{port['protocol']}"] = {}
    return found


def bindings(spec: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """PortBindings; an empty HostPort is one that the engine chooses, a range one that it chooses of it."""
    found: dict[str, list[dict[str, str]]] = {}
    for port in spec.get("ports") or ():
        row = {"HostIp": port.get("host_ip") or "", "HostPort": str(port.get("published") or "")}
        found.setdefault(f"{port['target']}/{port['protocol']}", []).append(row)
    return found


def ordered(spec: Mapping[str, Any]) -> list[str]:
    """The keys of the networks, the one with the highest priority first, as Compose joins them."""
    networks: Mapping[str, Any] = spec.get("networks") or {}
    return sorted(networks, key=lambda key: (-int((networks[key] or {}).get("priority") or 0), key))


def endpoint(
    service: str, spec: Mapping[str, Any], key: str, version: tuple[int, int], *, links: Sequence[str] = (),
    aliases: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """EndpointSettings of one network. aliases: it answers to the service's name, and to those that the spec gives."""
    given: Mapping[str, Any] = (spec.get("networks") or {}).get(key) or {}
    found: dict[str, Any] = {}
    if aliases:
        found["Aliases"] = list(dict.fromkeys([service, *(given.get("aliases") or ())]))
    addresses = {
        name: given[own]
        for own, name in (
            ("ipv4_address", "IPv4Address"), ("ipv6_address", "IPv6Address"), ("link_local_ips", "LinkLocalIPs")
        )
        if given.get(own)
    }  # fmt: skip
    if addresses:
        found["IPAMConfig"] = addresses
    mac = given.get("mac_address") or spec.get("mac_address")
    if mac and version >= (1, 44):
        found["MacAddress"] = mac
    if given.get("driver_opts"):
        found["DriverOpts"] = dict(given["driver_opts"])
    if given.get("gw_priority") and version >= (1, 48):
        found["GwPriority"] = given["gw_priority"]
    if links:
        found["Links"] = list(links)
    return found


def network(environment: str, key: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The body of POST /networks/create."""
    body: dict[str, Any] = {
        "Name": spec.get("name") or f"{environment}_{key}", "CheckDuplicate": True,
        "Driver": spec.get("driver") or "bridge", "Labels": dict(labels),
        "Internal": bool(spec.get("internal")), "Attachable": bool(spec.get("attachable")),
        "EnableIPv6": bool(spec.get("enable_ipv6")), "Options": dict(spec.get("driver_opts") or {}),
    }  # fmt: skip
    if "enable_ipv4" in spec:
        body["EnableIPv4"] = bool(spec["enable_ipv4"])
    subnets = [
        {
            name: row[own]
            for own, name in (
                ("subnet", "Subnet"), ("gateway", "Gateway"), ("ip_range", "IPRange"),
                ("aux_addresses", "AuxiliaryAddresses"),
            )
            if row.get(own)
        }
        for row in spec.get("subnets") or ()
    ]  # fmt: skip
    if subnets or spec.get("ipam_driver") or spec.get("ipam_options"):
        body["IPAM"] = {"Driver": spec.get("ipam_driver") or "default", "Config": subnets}
        if spec.get("ipam_options"):
            body["IPAM"]["Options"] = dict(spec["ipam_options"])
    return body


def volume(environment: str, key: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The body of POST /volumes/create."""
    return {
        "Name": spec.get("name") or f"{environment}_{key}", "Driver": spec.get("driver") or "local",
        "DriverOpts": dict(spec.get("driver_opts") or {}), "Labels": dict(labels),
    }  # fmt: skip
