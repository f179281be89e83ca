"""One look at an environment: what the engine has of it, in two round trips. Writes nothing."""

from __future__ import annotations

from envkit.address import Address
from envkit.backend import ownership
from envkit.backend.docker import names
from envkit.backend.engine_api.quoting import quoted as percent_encoded
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any

    from envkit.backend.engine_api import Engine


@value
class Found:
    """containers: inspections; networks and volumes: as listed; images: asked name -> inspection (None: not there)."""

    containers: Sequence[Mapping[str, Any]]
    networks: Sequence[Mapping[str, Any]]
    volumes: Sequence[Mapping[str, Any]]
    images: Mapping[str, Mapping[str, Any] | None]


@value
class Seen:
    """containers: the inspections of all the containers of an environment; at: seconds since the epoch before it."""

    environment: str
    at: float
    containers: Sequence[Mapping[str, Any]]


def look(
    engine: Engine, environment: str, images: Iterable[str] = (), only: Collection[Address] | None = None
) -> Found:
    """Everything of the environment, with the images that are asked for by name or id. only: of the containers, those
    of these addresses."""
    asked = list(dict.fromkeys(images))
    query = {"filters": names.of_environment(environment)}
    listed, networks, volumes, *found = engine.get_all(
        ("/containers/json", {**query, "all": True}), ("/networks", query), ("/volumes", query),
        *(f"/images/{quoted(name)}/json" for name in asked),
    )  # fmt: skip
    rows = [row for row in listed or () if only is None or address_of(row) in only]
    inspected = inspect(engine, [row["Id"] for row in rows])
    return Found(inspected, networks or (), (volumes or {}).get("Volumes") or (), dict(zip(asked, found, strict=True)))


def containers(engine: Engine, environment: str) -> list[dict[str, Any]]:
    """Inspections of the environment's containers."""
    listed = engine.get_all(("/containers/json", {"all": True, "filters": names.of_environment(environment)}))[0]
    return inspect(engine, [row["Id"] for row in listed or ()])


def inspect(engine: Engine, identities: Sequence[str]) -> list[dict[str, Any]]:
    """Inspections, without the containers that have gone meanwhile."""
    found = engine.get_all(*(f"/containers/{identity}/json" for identity in identities))
    return [item for item in found if item is not None]


def quoted(name: str) -> str:
    """An image's name in a path."""
    return percent_encoded(name, safe="/:@")


def labels_of(item: Mapping[str, Any]) -> Mapping[str, str]:
    """Of a container's inspection, or of a network or volume of a list."""
    config = item.get("Config")
    found: Mapping[str, str] = (config or item).get("Labels") or {}
    return found


def address_of(item: Mapping[str, Any]) -> Address | None:
    """The service instance that a container is, by envkit's label or by Compose's; None for a one-off."""
    labels = labels_of(item)
    if labels.get(f"{ownership.COMPOSE}oneoff", "False") == "True":
        return None
    if owner := ownership.owner_of(labels):
        return owner.address if owner.address.kind == "service" else None
    service, number = labels.get(f"{ownership.COMPOSE}service"), labels.get(f"{ownership.COMPOSE}container-number", "1")
    return Address("service", service, int(number)) if service and number.isdigit() else None


def is_foreign(item: Mapping[str, Any]) -> bool:
    """Whether the object is Compose's: it carries no spec of envkit's."""
    return ownership.SPEC not in labels_of(item)


def instances(found: Iterable[Mapping[str, Any]]) -> tuple[dict[Address, Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(the container of every address, the others that claim one: left behind by what was cut off)."""
    chosen: dict[Address, Mapping[str, Any]] = {}
    left: list[Mapping[str, Any]] = []
    for item in sorted(found, key=lambda one: (names.is_scratch(names.own_name(one)), str(one.get("Created")))):
        address = address_of(item)
        if address is None:
            continue
        if address in chosen:
            left.append(item)
        else:
            chosen[address] = item
    return chosen, left


def network_keys(environment: str, networks: Iterable[Mapping[str, Any]], specs: Mapping[str, Any]) -> dict[str, str]:
    """Network name -> key. specs: key -> name of the networks that the files name (external ones too)."""
    found = {
        str(item["Name"]): key
        for item in networks
        if (key := labels_of(item).get(f"{ownership.COMPOSE}network"))
    }  # fmt: skip
    return {**found, **{str(name): key for key, name in specs.items()}}
