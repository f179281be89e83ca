"""What differs between the last apply and now. Pure."""

from __future__ import annotations

from envkit.address import Address
from envkit.observed.state import InstanceState
from envkit.plan.effects import globs
from envkit.plan.model import AttributeChange, Effect
from envkit.plan.sensitive import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from envkit.observed.state import ObservedResource
    from envkit.spec.environment import Environment, Resource

Ignored: TypeAlias = "Callable[[Address, str], bool]"
_FOR_GOOD = frozenset({"no", "on-failure"})
GONE = "gone"
KNOWN_AFTER_BUILD = "(known after build)"
KNOWN_AFTER_PULL = "(known after pull)"


def ignored_paths(environment: Environment) -> Ignored:
    """The environment's `drift.ignore` rules as a question: may (address, path) differ?"""
    rules = [(globs([rule.get("address", "*")]), globs([rule.get("path", "*")])) for rule in environment.drift_ignore]
    if not rules:
        return lambda address, path: False
    return lambda address, path: any(where(str(address)) and what(path) for where, what in rules)


def drift_of(observed: ObservedResource, effect: Callable[[str], Effect], ignored: Ignored) -> list[AttributeChange]:
    """Per differing path, what the last apply left (before) and what is now (after), with what mending it costs.

    A vanished object has the one path `state`. An instance that the supervisor is restarting has nothing to mend, so
    that path's effect is NONE; unpausing needs no restart.
    """
    if observed.missing:
        return [AttributeChange("state", observed.expected.get("state", "present"), GONE, "", Effect.REPLACE)]
    if observed.expected == observed.actual:
        return []
    found: list[AttributeChange] = []
    for path in dict.fromkeys((*observed.expected, *observed.actual)):
        before, after = observed.expected.get(path), observed.actual.get(path)
        if before == after or ignored(observed.address, path):
            continue
        cost = Effect.NONE if path == "health" else _state_effect(after) if path == "state" else effect(path)
        before, after = mask(*_words(path), before, after)
        found.append(AttributeChange(path, before, after, "", cost))
    return found


def _words(path: str) -> tuple[tuple[str, ...], str]:
    """(the parents, the name) of a path; a variable's name may have dots of its own."""
    above, variable, name = path.partition("environment.")
    if variable:
        return (*above.split("."), "environment"), name
    *parents, name = path.split(".")
    return tuple(parents), name


def _state_effect(now: Any) -> Effect:
    if now == InstanceState.RESTARTING:
        return Effect.NONE
    return Effect.IN_PLACE if now == InstanceState.PAUSED else Effect.RESTART


def has_completed(resource: Resource, observed: ObservedResource, awaited: Callable[[str], bool]) -> bool:
    """Whether the instance ended as it was meant to: a job with exit code 0 is done, not broken.

    A job is a service that ends by itself: another one awaits its completion, or its restart policy lets an exit with
    0 be the end and nothing (a published or exposed port, a health check) says that it was to go on. What the user
    stopped has not completed.
    """
    if observed.actual.get("state") != InstanceState.EXITED or observed.attributes.get("exit_code") != 0:
        return False
    if observed.attributes.get("desired") == "stopped":
        return False
    return awaited(resource.address.name) or is_job(resource.spec)


def is_job(spec: Mapping[str, Any]) -> bool:
    """Whether a spec alone says that the service ends by itself."""
    if str(spec.get("mode", "")).endswith("-job"):
        return True
    policy = spec.get("restart", {}).get("policy", "no")
    return policy in _FOR_GOOD and not (spec.get("ports") or spec.get("expose") or _checks_health(spec))


def _checks_health(spec: Mapping[str, Any]) -> bool:
    test = spec.get("healthcheck", {}).get("test")
    return bool(test) and test[0] != "NONE"
