"""What each draft must wait for: dependencies, the pace of a rollout, names that somebody else still holds. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from envkit.address import Address
from envkit.plan.draft import Draft
from envkit.plan.model import Action
from envkit.plan.order import reaches
from envkit.spec.environment import Dependency, Environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def require(environment: Environment, drafts: Sequence[Draft], kinds: Collection[str]) -> None:
    """Fill in `requires` of every draft that does something."""
    staying = {draft.address.replica(1) for draft in drafts if draft.action is not Action.DELETE}
    rollouts: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.action in (Action.NOOP, Action.DELETE) or draft.resource is None:
            continue
        waits = draft.restarts
        for dependency in draft.resource.depends_on:
            at_hand = dependency.address in staying and dependency.address.kind in kinds
            if at_hand and (waits or dependency.address.kind != "service"):
                draft.requires.append(dependency)
        if draft.action.replaces and _width(draft) > 0:
            rollouts[draft.address.name].append(draft)
    for rollout in rollouts.values():
        _pace(rollout)
    require_removals(drafts)
    _hand_over(drafts)


def require_removals(drafts: Sequence[Draft]) -> None:
    """A thing is deleted after those that use it: a network after its instances, a service after its dependents."""
    deleted = {draft.address: draft for draft in drafts if draft.action is Action.DELETE}
    if not deleted:
        return
    staying = {draft.address.replica(1) for draft in drafts if draft.action is not Action.DELETE}
    instances: dict[str, list[Draft]] = defaultdict(list)
    for draft in deleted.values():
        if draft.address.kind == "service" and draft.address.replica(1) not in staying:
            instances[draft.address.name].append(draft)
    owned = _owned(deleted.values())
    for draft in drafts:
        if draft.address.kind != "service" or draft.observed is None or draft.action is Action.NOOP:
            continue
        everyone = "" if draft.observed.spec.get("volumes_from") else str(draft.address)
        for volume in owned.get(everyone, ()):
            volume.requires.append(Dependency(draft.address))
        for used in uses(draft.observed.spec):
            if (other := deleted.get(used)) is not None:
                other.requires.append(Dependency(draft.address))
        for name in _leans_on(draft):
            for below in instances.get(name, ()) if name != draft.address.name else ():
                below.requires.append(Dependency(draft.address))


def _owned(deleted: Iterable[Draft]) -> dict[str, list[Draft]]:
    """Deleted anonymous volumes by the text of their instance's address; "": all."""
    found: dict[str, list[Draft]] = defaultdict(list)
    for draft in deleted:
        owner = str(draft.observed.attributes.get("owner", "")) if draft.observed else ""
        if owner:
            found[""].append(draft)
            found[owner.partition(" ")[0]].append(draft)
    return found


def uses(spec: Mapping[str, Any]) -> Iterator[Address]:
    """The networks, volumes, secrets and configs that an instance of a service's spec has."""
    for name in spec.get("networks", {}):
        yield Address("network", name)
    for mount in spec.get("mounts", ()):
        if mount.get("type") == "volume" and mount.get("source"):
            yield Address("volume", mount["source"])
    for kind in ("secret", "config"):
        for item in spec.get(f"{kind}s", ()):
            yield Address(kind, item["source"])


def _leans_on(draft: Draft) -> set[str]:
    """The services that this one needs alive while it runs, as far as it is known without the YAML."""
    spec: Mapping[str, Any] = draft.observed.spec if draft.observed else {}
    names = set(draft.observed.attributes.get("depends_on") or ()) if draft.observed else set()
    if draft.resource is not None:
        names |= {item.address.name for item in draft.resource.depends_on if item.address.kind == "service"}
    for key in ("network_mode", "pid", "ipc"):
        if str(spec.get(key, "")).startswith("service:"):
            names.add(spec[key].removeprefix("service:"))
    return names | {item.split(":")[0] for key in ("links", "volumes_from") for item in spec.get(key, ())}


def _pace(rollout: list[Draft]) -> None:
    """Each replica waits for the one so many places ahead, whatever becomes of it; the highest goes first.

    What a failure does to the rest is the reconciler's to say (`reconcile.rollout`).
    """
    rollout.sort(key=lambda draft: draft.address, reverse=True)
    for position, draft in enumerate(rollout):
        ahead = position - _width(draft)
        if ahead >= 0:
            draft.requires.append(Dependency(rollout[ahead].address, required=False))


def _width(draft: Draft) -> int:
    """How many replicas are updated at a time (`update.parallelism`); 0: all, as where nothing is written of it."""
    update = draft.resource.spec.get("update") if draft.resource else None
    return int(update.get("parallelism", 1)) if update else 0


def _hand_over(drafts: Sequence[Draft]) -> None:
    """Who claims a host port, a container name or an address waits for the one that gives it up, unless that one waits
    for it already."""
    givers: dict[tuple[str, ...], Draft] = {}
    for draft in drafts:
        if draft.address.kind == "service" and draft.observed is not None and draft.action is not Action.NOOP:
            kept = set(_claims(draft.resource.spec)) if draft.resource and draft.action is not Action.DELETE else set()
            for claim in _claims(draft.observed.spec):
                if claim not in kept:
                    givers[claim] = draft
    if not givers:
        return
    before: dict[Address, list[Address]] = defaultdict(list)  # by service: a requirement may mean all its replicas
    for draft in drafts:
        before[draft.address.replica(1)] += [item.address.replica(1) for item in draft.requires]
    for draft in drafts:
        if draft.address.kind != "service" or draft.resource is None or draft.action in (Action.NOOP, Action.DELETE):
            continue
        for claim in _claims(draft.resource.spec):
            giver = givers.get(claim)
            taker = draft.address.replica(1)
            if giver is None or giver is draft or reaches(giver.address.replica(1), taker, before):
                continue
            draft.requires.append(Dependency(giver.address))
            before[taker].append(giver.address.replica(1))


def _claims(spec: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for port in spec.get("ports", ()):
        if port.get("published"):
            yield "port", port["published"], port["protocol"]
    if spec.get("container_name"):
        yield "name", spec["container_name"]
    for network, attachment in spec.get("networks", {}).items():
        for key in ("ipv4_address", "ipv6_address"):
            if attachment and attachment.get(key):
                yield "address", network, attachment[key]
