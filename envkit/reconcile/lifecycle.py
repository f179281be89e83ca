"""start, stop and restart of existing instances in the order of what they depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envkit.address import Address
from envkit.backend.base import Backend
from envkit.events import Emit
from envkit.spec.environment import Environment


def in_order(
    backend: Backend, environment: Environment, addresses: Sequence[Address], verb: str, *, emit: Emit,
    timeout: float | None = None,
) -> None:  # fmt: skip
    """Backend.control for start, stop or restart: dependencies are started before their dependents and stopped after
    them; what is independent goes at once. Raises as Backend.control does."""
    steps = levels(environment, {item.name for item in addresses})
    if verb == "restart" and len(steps) > 1:
        in_order(backend, environment, addresses, "stop", emit=emit, timeout=timeout)
        verb = "start"
    for names in reversed(steps) if verb == "stop" else steps:
        chosen = [item for item in addresses if item.name in names]
        backend.control(environment.name, chosen, verb, emit=emit, timeout=timeout)


def levels(environment: Environment, names: Iterable[str]) -> list[set[str]]:
    """The services in steps: each depends only on those of earlier steps. What is in no file depends on none."""
    wanted = set(names)
    needs = {name: _dependencies(environment, name) & wanted for name in wanted}
    steps: list[set[str]] = []
    left = set(wanted)
    while left:
        ready = {name for name in left if not needs[name] & left} or set(left)
        steps.append(ready)
        left -= ready
    return steps


def with_restarted(environment: Environment, names: Iterable[str]) -> list[str]:
    """The services, and those that ask to be restarted when one of them is (`depends_on.X.restart: true`)."""
    found = dict.fromkeys(names)
    work = list(found)
    while work:
        cause = Address("service", work.pop())
        for name, resource in environment.services.items():
            if name not in found and any(item.address == cause and item.restart for item in resource.depends_on):
                found[name] = None
                work.append(name)
    return list(found)


def _dependencies(environment: Environment, name: str) -> set[str]:
    """Direct and indirect ones: what lies between two services may not be among those that are handled."""
    found: set[str] = set()
    work = [name]
    while work:
        resource = environment.get("service", work.pop())
        for item in resource.depends_on if resource else ():
            if item.address.kind == "service" and item.address.name not in found:
                found.add(item.address.name)
                work.append(item.address.name)
    return found - {name}
