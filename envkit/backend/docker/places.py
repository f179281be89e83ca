"""What surrounds a container: labels, names of networks and volumes, its anonymous volumes, owners of its files."""

from __future__ import annotations

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker import files, look, names
from envkit.backend.docker.encode_network import Place
from envkit.backend.engine_api import EngineError
from envkit.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from envkit.backend.base import Materials
    from envkit.backend.docker.oneoff import OneOff
    from envkit.backend.docker.services import Services
    from envkit.backend.engine_api import Engine
    from envkit.spec.environment import Environment, Resource


def place_of(environment: Environment) -> Place:
    """The engine's names of the environment's networks and volumes."""
    found: dict[str, dict[str, str]] = {"network": {}, "volume": {}}
    for address, resource in environment.resources.items():
        if address.kind in found:
            found[address.kind][address.name] = names.object_name(environment.name, address, resource.spec)
    return Place(found["network"], found["volume"])


def compose_hashes(materials: Materials) -> Mapping[str, str]:
    """Service -> Compose's own hash of it, where the materials know the files: with it as a label, `docker compose up`
    leaves alone what envkit has made."""
    ask = getattr(materials, "compose_hashes", None)
    found: Mapping[str, str] = ask() if ask is not None else {}
    return found


def labels(
    services: Services, address: Address, resource: Resource, image: str, one_off: OneOff | None
) -> dict[str, str]:
    """All labels of a container."""
    found = ownership.instance_labels(
        services.environment, address, resource, image_digest=image, oneoff=one_off is not None
    )
    if (known := services.hashes.get(address.name)) and one_off is None:
        found[f"{ownership.COMPOSE}config-hash"] = known
    if one_off is not None:
        found |= one_off.labels
    return found


def part_labels(environment: str, what: str) -> dict[str, str]:
    """Of an anonymous volume: for the `files` of secrets and configs, or the service's own (`data`)."""
    found = {names.PART: what, ownership.ENVIRONMENT: environment}
    return found if what == "files" else {**found, f"{ownership.COMPOSE}project": environment}


def links(services: Services, spec: Mapping[str, Any]) -> list[str]:
    """`links:` and `external_links:` as CONTAINER:ALIAS."""
    found = []
    for text in spec.get("links") or ():
        service, _, alias = str(text).partition(":")
        item = services.present.get(Address("service", service))
        if item is not None:
            found.append(f"{names.own_name(item)}:{alias or service}")
    for text in spec.get("external_links") or ():
        container, _, alias = str(text).partition(":")
        found.append(f"{container}:{alias or container}")
    return found


# -- anonymous volumes


def anonymous_targets(spec: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    """Where anonymous volumes are mounted: what the spec asks for, and what the image declares and nothing covers."""
    rows = spec.get("mounts") or ()
    covered = {str(row["target"]).rstrip("/") for row in rows}
    own = [str(row["target"]) for row in rows if row["type"] == "volume" and not row.get("source")]
    declared = (image.get("Config") or {}).get("Volumes") or {}
    return own + [target for target in declared if target.rstrip("/") not in covered]


def with_anonymous(
    spec: Mapping[str, Any], image: Mapping[str, Any], old: Mapping[str, Any] | None, environment: str
) -> Mapping[str, Any]:
    """The spec with its anonymous volumes written out: the predecessor's, since a replacement keeps its data, or new
    ones with labels, by which they are found when the environment goes with its volumes."""
    targets = {target.rstrip("/") for target in anonymous_targets(spec, image)}
    if not targets:
        return spec
    kept = {
        str(row["Destination"]).rstrip("/"): str(row["Name"])
        for row in (old or {}).get("Mounts") or () if row.get("Type") == "volume" and row.get("Name")
    }  # fmt: skip

    def filled(row: Mapping[str, Any]) -> Mapping[str, Any]:
        target = str(row["target"]).rstrip("/")
        targets.discard(target)
        if target in kept:
            return {**row, "source": kept[target]}
        return {**row, "labels": part_labels(environment, "data")}

    rows = [
        filled(row) if row["type"] == "volume" and not row.get("source") else row for row in spec.get("mounts") or ()
    ]
    rows += [filled({"type": "volume", "target": target}) for target in sorted(targets)]
    return {**spec, "mounts": rows}


def anonymous_volumes(item: Mapping[str, Any]) -> list[str]:
    """Names of a container's volumes that nobody named: the engine gives them 64 hexadecimal digits."""
    return [
        str(row["Name"]) for row in item.get("Mounts") or ()
        if row.get("Type") == "volume" and len(row.get("Name") or "") == 64
    ]  # fmt: skip


def file_volumes(engine: Engine, item: Mapping[str, Any]) -> list[str]:
    """Names of the volumes that hold the files of a container's secrets and configs."""
    owner = ownership.owner_of(look.labels_of(item))
    if owner is None:
        return []
    wanted = set(files.directories(owner.spec))
    found = [str(row["Name"]) for row in item.get("Mounts") or () if row.get("Destination") in wanted]
    rows = engine.get_all(*(f"/volumes/{name}" for name in found))
    return [str(row["Name"]) for row in rows if row and (row.get("Labels") or {}).get(names.PART) == "files"]


# -- whose files are


def owner(
    services: Services, identity: str, spec: Mapping[str, Any], contents: Iterable[tuple[Mapping[str, Any], bytes]],
    image: Mapping[str, Any],
) -> tuple[int, int]:  # fmt: skip
    """(uid, gid) of files that say nothing: root in a compose.yaml, the service's user in an envkit.yaml."""
    if not services.environment.hardened or all("uid" in item and "gid" in item for item, _ in contents):
        return 0, 0
    user, _, group = str(spec.get("user") or (image.get("Config") or {}).get("User") or "0").partition(":")
    uid = identify(services, identity, "passwd", user)
    if group:
        return uid, identify(services, identity, "group", group)
    for line in _table(services, identity, "passwd").splitlines():
        fields = line.split(":")
        if user in (fields[0], fields[2] if len(fields) > 2 else "") and len(fields) > 3:
            return uid, int(fields[3])
    return uid, 0


def identify(services: Services, identity: str, table: str, name: str) -> int:
    """The number of a user or group of the container. Raises NotFoundError."""
    if name.isdigit():
        return int(name)
    return files.number(name, _table(services, identity, table), f"/etc/{table}")


def _table(services: Services, identity: str, table: str) -> str:
    """/etc/passwd or /etc/group of a container; "" where it has none."""
    import io
    import tarfile

    try:
        data = b"".join(services.engine.stream(f"/containers/{identity}/archive", path=f"/etc/{table}"))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            content = tar.extractfile(tar.getmembers()[0])
            return content.read().decode(errors="replace") if content else ""
    except (EngineError, NotFoundError, tarfile.TarError, IndexError):
        return ""
