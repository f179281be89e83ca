"""Phases: services that no active profile enables are set aside; a model is cut to the services that were asked for."""

from __future__ import annotations

from collections.abc import Iterable

from envkit.config.suggest import did_you_mean, one_of
from envkit.config.tree import Map
from envkit.diagnostics import Diagnostics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def enabled(service: Any, profiles: Iterable[str]) -> bool:
    """Whether a service takes part: it has no profiles, or one of them is active (`*`: all are)."""
    own = service.get("profiles") if isinstance(service, dict) else None
    return not own or any(profile == "*" or profile in own for profile in profiles)


def split(model: Map, profiles: tuple[str, ...], named: tuple[str, ...]) -> tuple[tuple[str, ...], Map]:
    """Take the disabled services out of model; (the active profiles, the disabled services).

    A disabled service that is named activates its profiles.
    """
    services = model.get("services")
    disabled = Map()
    if not isinstance(services, Map):
        return profiles, disabled
    for name in named:
        service = services.get(name)
        if isinstance(service, Map) and not enabled(service, profiles):
            profiles = (*profiles, *service.get("profiles", ()))
    for name in [name for name, service in services.items() if not enabled(service, profiles)]:
        disabled.put(name, services[name], services.at.get(name))
        services.drop(name)
    return profiles, disabled


def select(model: Map, named: tuple[str, ...], disabled: Map, problems: Diagnostics) -> None:
    """Cut model to the named services and what they depend on; no names: everything stays."""
    services = model.get("services")
    if not named or not isinstance(services, Map):
        return
    wanted: set[str] = set()
    left = [(name, True) for name in named]
    while left:
        name, required = left.pop()
        if name in wanted:
            continue
        if name not in services:
            if required:
                problems.error(
                    "unknown-service", "There is no such service", f"`{name}`", None,
                    did_you_mean(name, [*services, *disabled]) or one_of(services))  # fmt: skip
            continue
        wanted.add(name)
        depends_on = services[name].get("depends_on") or {}
        left.extend((other, bool(how.get("required", True))) for other, how in depends_on.items())
    for name in [name for name in services if name not in wanted]:
        services.drop(name)
    for service in services.values():
        depends_on = service.get("depends_on")
        for name in [name for name in depends_on or () if name not in wanted]:
            depends_on.drop(name)
        if isinstance(depends_on, Map) and not depends_on:
            service.drop("depends_on")


def drop_unused(model: Map) -> None:
    """Remove networks, volumes, secrets and configs that no service uses."""
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set(), "configs": set()}
    for service in (model.get("services") or {}).values():
        used["networks"].update(service.get("networks") or ())
        for mount in service.get("volumes") or ():
            if mount.get("type") == "volume":
                used["volumes"].add(mount.get("source", ""))
        for kind in ("secrets", "configs"):
            used[kind].update(item.get("source", "") for item in service.get(kind) or ())
        build = service.get("build")
        used["secrets"].update(item.get("source", "") for item in (build or {}).get("secrets") or ())
        for hook in service.get("pre_start") or ():
            used["networks"].update(hook.get("networks") or ())
    for image in (model.get("images") or {}).values():
        for layer in image.get("layers") or ():
            used["secrets"].update(layer.get("secrets") or ())
    for kind, names in used.items():
        section = model.get(kind)
        if isinstance(section, Map):
            for name in [name for name in section if name not in names]:
                section.drop(name)
            if not section:
                model.drop(kind)
