"""Names and labels: how an object of a runtime says whose it is. Pure.

Compose's labels are set as well, because editors, proxies and dashboards read them (`com.docker.compose.*`, as
docker compose v2 writes them); envkit itself reads only its own.
"""

from __future__ import annotations

from envkit.address import Address
from envkit.lean import json
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envkit.spec.environment import Environment, Resource

COMPOSE = "com.docker.compose."
ENVIRONMENT = "envkit.environment"
ADDRESS = "envkit.address"
FINGERPRINT = "envkit.fingerprint"
SPEC = "envkit.spec"
GENERATION = "envkit.generation"
COMPOSE_VERSION = "5.6.1"
_CONDITIONS = {
    "applied": "service_started", "started": "service_started", "healthy": "service_healthy",
    "completed": "service_completed_successfully",
}  # fmt: skip


def instance_name(environment: str, address: Address, spec: Mapping[str, Any]) -> str:
    """`container_name`, or PROJECT-SERVICE-N."""
    given = spec.get("container_name")
    return str(given) if given else f"{environment}-{address.name}-{address.index}"


def oneoff_name(environment: str, service: str, token: str) -> str:
    """PROJECT-SERVICE-run-TOKEN, the name of a container that `run` makes."""
    return f"{environment}-{service}-run-{token}"


def object_name(environment: str, key: str) -> str:
    """PROJECT_KEY: the default name of a network, volume, secret or config."""
    return f"{environment}_{key}"


@value
class Owner:
    """What an object's labels say of it."""

    environment: str
    address: Address
    fingerprint: str
    spec: Mapping[str, Any]
    generation: int = 0


def labels(environment: Environment, address: Address, resource: Resource, *, generation: int = 0) -> dict[str, str]:
    """envkit's own labels of any object, with its kind's label of Compose."""
    own = {
        ENVIRONMENT: environment.name,
        ADDRESS: str(address),
        FINGERPRINT: resource.fingerprint,
        SPEC: json.dumps(dict(resource.spec), separators=(",", ":"), ensure_ascii=False),
        GENERATION: str(generation),
        COMPOSE + "project": environment.name,
        COMPOSE + "version": COMPOSE_VERSION,
    }
    if address.kind in ("network", "volume"):
        own[COMPOSE + address.kind] = address.name
    return own


def instance_labels(
    environment: Environment, address: Address, resource: Resource, *, image_digest: str = "", generation: int = 0,
    oneoff: bool = False,
) -> dict[str, str]:  # fmt: skip
    """All labels of a service instance: the user's, then those that say whose it is."""
    waits = [item for item in resource.depends_on if item.address.kind == "service"]
    return {
        **resource.spec.get("labels", {}),
        **labels(environment, address, resource, generation=generation),
        **compose_labels(
            environment.name, address.name, address.index, fingerprint=resource.fingerprint, image_digest=image_digest,
            directory=environment.directory, files=environment.files, oneoff=oneoff,
        ),
        COMPOSE + "depends_on": ",".join(
            f"{item.address.name}:{_CONDITIONS[item.condition]}:{str(item.restart).lower()}" for item in waits
        ),
    }  # fmt: skip


def compose_labels(
    environment: str, service: str, number: int, *, fingerprint: str, image_digest: str, directory: str,
    files: Sequence[str], oneoff: bool = False,
) -> dict[str, str]:  # fmt: skip
    """What Compose's own labels say of a container, but for its dependencies."""
    return {
        COMPOSE + "project": environment,
        COMPOSE + "version": COMPOSE_VERSION,
        COMPOSE + "service": service,
        COMPOSE + "container-number": str(number),
        COMPOSE + "oneoff": str(oneoff),
        COMPOSE + "config-hash": fingerprint.removeprefix("sha256:"),
        COMPOSE + "image": image_digest,
        COMPOSE + "project.working_dir": directory,
        COMPOSE + "project.config_files": ",".join(files),
    }


def owner_of(given: Mapping[str, str]) -> Owner | None:
    """The inverse of labels(); None for an object that is not envkit's, or whose labels were tampered with."""
    try:
        spec = json.loads(given[SPEC])
        address = Address.parse(given[ADDRESS])
        generation = int(given.get(GENERATION, "0"))
        owner = Owner(given[ENVIRONMENT], address, given[FINGERPRINT], spec, generation)
    except (KeyError, ValueError):
        return None
    return owner if isinstance(spec, dict) else None


def user_labels(given: Mapping[str, str]) -> dict[str, str]:
    """The labels that the user wrote."""
    own = {ENVIRONMENT, ADDRESS, FINGERPRINT, SPEC, GENERATION}
    return {name: value for name, value in given.items() if name not in own and not name.startswith(COMPOSE)}
