"""Environments built from canonical specs, without YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envkit.address import Address
from envkit.digest import fingerprint
from envkit.spec.environment import Dependency, Environment, Resource

_CONDITIONS = {"started", "healthy", "completed"}


class KeyedMaterials:
    """Contents of secrets and configs from a dictionary."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def secret(self, name: str) -> bytes:
        return self._contents[name]

    def config(self, name: str) -> bytes:
        return self._contents[name]


def resource(address: str, spec: Mapping[str, Any], depends_on: Mapping[str, Any] | None = None) -> Resource:
    """A Resource whose origins are invented: line numbers in the order of the keys.

    depends_on: address -> condition, or {"condition", "required", "restart"}; networks, named volumes and the image
    that a service's spec names are dependencies as well.
    """
    where = Address.parse(address)
    spec = dict(spec)
    if where.kind in ("network", "volume", "secret", "config", "image"):
        spec.setdefault("name", f"shop_{where.name}" if where.kind != "image" else where.name)
    needs = [Dependency(item) for item in _implied(where, spec)]
    for name, written in (depends_on or {}).items():
        how = {"condition": written} if isinstance(written, str) else {"condition": "started", **written}
        needs.append(
            Dependency(Address.parse(name), how["condition"], how.get("required", True), how.get("restart", False))
        )
    return Resource(where, spec, fingerprint(spec), tuple(needs), dict(_origins(spec)))


def environment(*resources: Resource, name: str = "shop", directory: str = "/srv/shop", **more: Any) -> Environment:
    """An Environment of these resources; implied dependencies on what is not there are dropped."""
    there = {item.address for item in resources}
    kept = []
    for item in resources:
        needs = tuple(each for each in item.depends_on if each.address in there or each.address.kind == "service")
        kept.append(Resource(item.address, item.spec, item.fingerprint, needs, item.origins))
    files = more.pop("files", (f"{directory}/envkit.yaml",))
    return Environment(name, directory, files, True, {item.address: item for item in kept}, **more)


def _implied(where: Address, spec: Mapping[str, Any]) -> list[Address]:
    if where.kind == "image":
        base = spec.get("base", {}).get("image")
        return [Address("image", base)] if base else []
    if where.kind != "service":
        return []
    found = [Address("image", spec["image"])] if "image" in spec else []
    found += [Address("network", key) for key in spec.get("networks", {})]
    named = [mount for mount in spec.get("mounts", ()) if mount["type"] == "volume" and "source" in mount]
    return found + [Address("volume", mount["source"]) for mount in named]


def _origins(spec: Mapping[str, Any]) -> Any:
    line = 10
    for key, value in spec.items():
        line += 1
        yield key, f"envkit.yaml:{line}:5"
        if isinstance(value, dict):
            for below in value:
                line += 1
                yield f"{key}.{below}", f"envkit.yaml:{line}:7"
        if isinstance(value, list):
            for position, _ in enumerate(value):
                line += 1
                yield f"{key}[{position}]", f"envkit.yaml:{line}:9"
