"""What Docker Compose made, as if envkit had made it: every field of the files against the inspection. Pure.

Such an object has no spec of envkit's. It is taken to have that of the files; whatever of it is different in the engine
is reported field by field, and what costs a new container costs one then. Nothing is changed where nothing differs.
"""

from __future__ import annotations

from envkit.backend import ownership
from envkit.backend.docker import encode, encode_mounts, encode_network, facts, names, places
from envkit.backend.docker.look import labels_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from envkit.address import Address
    from envkit.spec.environment import Environment

_CONFIG = {"user": "User", "working_dir": "WorkingDir", "tty": "Tty", "stdin_open": "OpenStdin",
           "domainname": "Domainname", "stop_grace_period": "StopTimeout"}  # fmt: skip
_SETS = frozenset({"CapAdd", "CapDrop", "GroupAdd", "SecurityOpt", "Ulimits", "Devices"})
_HOST_PATHS = {name: key for key, name in encode.HOST.items() if name != "ShmSize"} | {
    "SecurityOpt": "security_opt", "ExtraHosts": "extra_hosts", "PidMode": "pid", "Ulimits": "ulimits",
    "Devices": "devices", "DeviceRequests": "gpus",
}  # fmt: skip
_SHM = 64 << 20
_NOTHING: tuple[Any, ...] = (None, "", 0, False, [], {}, ())
_DEFAULTS = {"UsernsMode": ("host",), "CgroupnsMode": ("host", "private"), "Runtime": ("runc", "crun")}


def service(
    environment: Environment, address: Address, inspection: Mapping[str, Any], now: Mapping[str, Any],
    images: Mapping[str, Mapping[str, Any] | None],
) -> tuple[Mapping[str, Any], str, dict[str, Any], dict[str, Any]]:  # fmt: skip
    """(spec, fingerprint, expected, actual) of a container of Compose's. now: its facts; images: name -> inspection."""
    resource = environment.get("service", address.name)
    if resource is None:
        networks: dict[str, Any] = {path.removeprefix("networks."): {} for path in now if path.startswith("networks.")}
        return {"image": inspection["Config"].get("Image"), "networks": networks}, "", dict(now), dict(now)
    spec = resource.spec
    image = _image(environment, str(spec["image"]), images)
    place = places.place_of(environment)
    body = encode.container(
        spec, image="", labels={}, place=place, file_volumes={}, image_config=image, version=(1, 44),
        resolve=lambda text: text,
    )
    expected = {**facts.wanted(spec, ownership.instance_name(environment.name, address, spec))}
    actual = dict(now)
    for before, after in (
        _config(spec, body, image, inspection["Config"]), _host(spec, body["HostConfig"], inspection["HostConfig"]),
        _mounts(spec, image, inspection, place),
    ):  # fmt: skip
        expected |= before
        actual |= after
    return spec, resource.fingerprint, expected, actual


def _image(
    environment: Environment, name: str, images: Mapping[str, Mapping[str, Any] | None]
) -> Mapping[str, Any]:
    resource = environment.get("image", name)
    reference = str(resource.spec.get("reference") or resource.spec["name"]) if resource else name
    found: Mapping[str, Any] = (images.get(reference) or {}).get("Config") or {}
    return found


def _config(
    spec: Mapping[str, Any], body: Mapping[str, Any], image: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `Config` says, with the image's part of it."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    wanted = dict(text.partition("=")[::2] for text in image.get("Env") or ())
    for name, text in (spec.get("environment") or {}).items():
        wanted.pop(name, None)
        if text is not None:
            wanted[name] = text
    for side, variables in ((expected, wanted), (actual, dict(_pairs(config.get("Env") or ())))):
        side |= {f"environment.{name}": text for name, text in variables.items()}
    labels = {**(image.get("Labels") or {}), **(spec.get("labels") or {})}
    expected |= {f"labels.{name}": text for name, text in ownership.user_labels(labels).items()}
    actual |= {f"labels.{name}": text for name, text in ownership.user_labels(config.get("Labels") or {}).items()}
    for key, name in _CONFIG.items():
        expected[key] = body.get(name) or (image.get(name) if name in ("User", "WorkingDir") else None) or None
        actual[key] = config.get(name) or None
    expected["stop_signal"] = spec.get("stop_signal") or image.get("StopSignal")
    actual["stop_signal"] = config.get("StopSignal")
    if "hostname" in spec:
        expected["hostname"], actual["hostname"] = spec["hostname"], config.get("Hostname")
    entrypoint = [word for word in body.get("Entrypoint", image.get("Entrypoint")) or () if word]
    expected["entrypoint"], actual["entrypoint"] = entrypoint, list(config.get("Entrypoint") or ())
    inherited = None if "entrypoint" in spec else image.get("Cmd")
    expected["command"] = list(body.get("Cmd", inherited) or ())
    actual["command"] = list(config.get("Cmd") or ())
    check = {**(image.get("Healthcheck") or {}), **(body.get("Healthcheck") or {})}
    expected["healthcheck"] = {name: item for name, item in check.items() if item}
    actual["healthcheck"] = {name: item for name, item in (config.get("Healthcheck") or {}).items() if item}
    return expected, actual


def _pairs(rows: Iterable[str]) -> Iterable[tuple[str, str]]:
    for row in rows:
        name, _, text = row.partition("=")
        yield name, text


def _host(
    spec: Mapping[str, Any], wanted: Mapping[str, Any], host: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `HostConfig` says, but for mounts, networks and limits."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    for name, path in _HOST_PATHS.items():
        left, right = _even(name, wanted.get(name)), _even(name, host.get(name))
        if left != right and not (left is None and right in _DEFAULTS.get(name, ())):
            expected[path], actual[path] = left, right
    expected["shm_size"], actual["shm_size"] = spec.get("shm_size") or _SHM, host.get("ShmSize") or _SHM
    for side, ports in ((expected, wanted.get("PortBindings")), (actual, host.get("PortBindings"))):
        side |= {f"ports[{target}]": sorted(map(_binding, rows or ())) for target, rows in (ports or {}).items()}
    if "logging" in spec:
        expected["logging"] = _log(wanted.get("LogConfig") or {})
        actual["logging"] = _log(host.get("LogConfig") or {})
    return expected, actual


def _even(name: str, item: Any) -> Any:
    if item in _NOTHING:
        return None
    if name in _SETS and isinstance(item, list):
        rows = (dict(sorted(row.items())) if isinstance(row, dict) else row for row in item)
        return sorted(str(row).removeprefix("CAP_").removesuffix(":true") for row in rows)
    if name == "ExtraHosts":
        return sorted(str(row).replace("=", ":", 1) for row in item)
    return item


def _binding(row: Mapping[str, str]) -> str:
    host = row.get("HostIp") or ""
    return f"{'' if host in ('0.0.0.0', '::') else host}:{row.get('HostPort') or ''}"


def _log(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"driver": row.get("Type") or "json-file", "options": dict(row.get("Config") or {})}


def _mounts(
    spec: Mapping[str, Any], image: Mapping[str, Any], inspection: Mapping[str, Any], place: encode_network.Place
) -> tuple[dict[str, Any], dict[str, Any]]:
    """By target: (type, source, read-only). Files of secrets and configs are Compose's own business."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    own = {str(item["target"]) for kind in ("secrets", "configs") for item in spec.get(kind) or ()}
    for target in places.anonymous_targets(spec, {"Config": image}):
        expected[f"mounts[{target}]"] = {"type": "volume", "source": None, "read_only": False}
    for row in spec.get("mounts") or ():
        source = row.get("source")
        if row["type"] == "volume":
            source = place.volumes.get(source, source) if source else None
        elif row["type"] == "tmpfs":
            source = ",".join(encode_mounts.tmpfs_options(row))
        expected[f"mounts[{row['target']}]"] = {
            "type": row["type"], "source": source, "read_only": bool(row.get("read_only"))
        }
    for row in inspection.get("Mounts") or ():
        if row["Destination"] in own or row["Type"] == "tmpfs":
            continue
        source = row.get("Name") if row["Type"] == "volume" else row.get("Source")
        anonymous = row["Type"] == "volume" and len(source or "") == 64
        actual[f"mounts[{row['Destination']}]"] = {
            "type": row["Type"], "source": None if anonymous else source, "read_only": not row.get("RW", True)
        }
    host = inspection["HostConfig"]
    memory = dict(host.get("Tmpfs") or {})
    memory |= {row["Target"]: "" for row in host.get("Mounts") or () if row.get("Type") == "tmpfs"}
    for target in memory:
        path = f"mounts[{target}]"
        actual[path] = expected[path] if (expected.get(path) or {}).get("type") == "tmpfs" else {
            "type": "tmpfs", "source": memory[target], "read_only": False
        }
    return expected, actual


def object_facts(
    environment: str, address: Address, spec: Mapping[str, Any], row: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(expected, actual) of a network or volume of Compose's."""
    expected: dict[str, Any] = {"name": names.object_name(environment, address, spec)}
    actual: dict[str, Any] = {"name": row["Name"]}
    body = (encode_network.network if address.kind == "network" else encode_network.volume)(
        environment, address.name, spec, spec.get("labels") or {}
    )
    for path, name in (
        ("driver", "Driver"), ("internal", "Internal"), ("attachable", "Attachable"), ("enable_ipv6", "EnableIPv6")
    ):  # fmt: skip
        if name in body:
            expected[path], actual[path] = body[name], row.get(name)
    options = body.get("Options") if address.kind == "network" else body.get("DriverOpts")
    expected["driver_opts"], actual["driver_opts"] = options or {}, row.get("Options") or {}
    expected["labels"] = ownership.user_labels(spec.get("labels") or {})
    actual["labels"] = ownership.user_labels(labels_of(row))
    if subnets := (body.get("IPAM") or {}).get("Config"):
        expected["subnets"] = [item.get("Subnet") for item in subnets]
        actual["subnets"] = [item.get("Subnet") for item in (row.get("IPAM") or {}).get("Config") or ()]
    return expected, actual
