"""What a service's spec and its image together say about one instance, as its record keeps it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.address import Address
from envkit.backend.embedded.picture import Picture
from envkit.backend.embedded.record import Record, directory_of
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home
from envkit.spec.environment import Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GRACE = 10.0
_NANOSECONDS = 1e9
_HEALTH_KEYS = {
    "Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period", "StartInterval": "start_interval",
}  # fmt: skip


def container_name(environment: str, address: Address, spec: Mapping[str, Any]) -> str:
    """Compose's name of the instance: `container_name`, or PROJECT-SERVICE-N."""
    return str(spec.get("container_name") or f"{environment}-{address.name}-{address.index}")


def healthcheck(spec: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any] | None:
    """The service's healthcheck over the image's; None when there is none or it is switched off.

    image: the `config` object of an image configuration; its durations are nanoseconds (Docker Image Specification
    v1.2, Healthcheck).
    """
    given = image.get("Healthcheck") or {}
    result: dict[str, Any] = {"test": list(given["Test"])} if given.get("Test") else {}
    result |= {key: given[name] / _NANOSECONDS for name, key in _HEALTH_KEYS.items() if given.get(name)}
    if given.get("Retries"):
        result["retries"] = int(given["Retries"])
    result |= spec.get("healthcheck") or {}
    test = result.get("test") or []
    return result if test and test[0] != "NONE" else None


def hostname(spec: Mapping[str, Any], identity: str, host: str) -> str:
    """The instance's host name: as written, the host's where the network or the UTS namespace is the host's, its id."""
    if spec.get("uts") == "host":
        return host
    if spec.get("hostname"):
        return str(spec["hostname"])
    return host if spec.get("network_mode") == "host" else identity


def cgroup(cgroups: Cgroups, environment: str, identity: str, spec: Mapping[str, Any]) -> str:
    """The control group of an instance: below `cgroup_parent` where that is written, else below envkit's own."""
    path = cgroups.path_for(environment, identity)
    parent = str(spec.get("cgroup_parent") or "").strip("/")
    return f"/{parent}/{identity}" if path and parent else path


def refresh(record: Record, resource: Resource, image: Mapping[str, Any]) -> None:
    """Take over everything that a changed spec can change without making the instance anew."""
    spec = dict(resource.spec)
    record.spec = spec
    record.fingerprint = resource.fingerprint
    record.stop_signal = str(spec.get("stop_signal") or image.get("StopSignal") or "SIGTERM")
    record.stop_grace = float(spec.get("stop_grace_period", GRACE))
    record.restart = dict(spec.get("restart") or {"policy": "no"})
    record.healthcheck = healthcheck(spec, image)
    record.depends_on = sorted({item.address.name for item in resource.depends_on if item.address.kind == "service"})
    record.tty = bool(spec.get("tty"))
    record.stdin_open = bool(spec.get("stdin_open"))
    driver = str((spec.get("logging") or {}).get("driver") or "json-file")
    record.log_driver = "none" if driver == "none" else "k8s-file"


def new_record(
    home: Home, environment: str, resource: Resource, address: Address, picture: Picture, *, identity: str, host: str
) -> Record:
    """The record of an instance that is about to be made. host: this machine's host name."""
    spec = dict(resource.spec)
    record = Record(
        home=home, directory=directory_of(home, environment, address.name, address.index), environment=environment,
        service=address.name, replica=address.index, id=identity, name=container_name(environment, address, spec),
        spec=spec, fingerprint=resource.fingerprint, image=str(spec.get("image") or ""), image_digest=picture.digest,
        hostname=hostname(spec, identity, host),
        network_mode=str(spec.get("network_mode") or ""),
    )  # fmt: skip
    refresh(record, resource, picture.config)
    return record
