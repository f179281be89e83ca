"""What things are called in the engine, and the paths of the API's queries. Pure."""

from __future__ import annotations

from envkit.backend import ownership

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.address import Address

PART = "envkit.part"
"""Label of an anonymous volume that carries the files of an instance's secrets and configs."""

SCRATCH = "envkit-"
"""How the name of a container begins that is not yet what it is to be."""


def of_environment(environment: str) -> dict[str, list[str]]:
    """The filter for everything of an environment, by Compose's label: what Compose made is seen as well."""
    return {"label": [f"{ownership.COMPOSE}project={environment}"]}


def object_name(environment: str, address: Address, spec: Mapping[str, Any]) -> str:
    """A network's or volume's name in the engine."""
    return str(spec.get("name") or ownership.object_name(environment, address.name))


def scratch_name(final: str) -> str:
    """A name for a container that is still being made, or that goes when its successor is up."""
    import os

    return f"{SCRATCH}{os.urandom(4).hex()}-{final}"


def is_scratch(name: str) -> bool:
    """Whether a container with this name was left behind half done."""
    token = name.removeprefix(SCRATCH)
    return name != token and token[8:9] == "-" and all(digit in "0123456789abcdef" for digit in token[:8])


def own_name(container: Mapping[str, Any]) -> str:
    """The name of a container of a list (`Names`, links left out) or of an inspection (`Name`)."""
    if given := container.get("Name"):
        return str(given).lstrip("/")
    return next((name[1:] for name in container.get("Names") or () if "/" not in name[1:]), "")
