"""What follows from a change for those that depend on the changed thing. Pure; linear in the dependencies.

A network or a volume that is made anew takes the instances along that hold it; a namespace that is shared takes its
guests along; `depends_on.restart` restarts. A job that has completed is left alone, and so is what changes anyway.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from envkit.address import Address
from envkit.plan import reasons
from envkit.plan.draft import Draft
from envkit.plan.effects import Effects, strongest
from envkit.plan.model import Action, AttributeChange, Change, Effect
from envkit.spec.environment import Dependency, Environment, Resource

_NAMESPACES = ("network_mode", "pid", "ipc")


def cascade(environment: Environment, drafts: Sequence[Draft], effects: Effects) -> None:
    """Change the drafts of existing instances that another draft drags along."""
    instances: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.address.kind == "service" and draft.action is not Action.DELETE:
            instances[draft.address.name].append(draft)
    dependents: dict[Address, list[tuple[Resource, Dependency]]] = defaultdict(list)
    for resource in environment.resources.values():
        if resource.address.kind == "service":
            for dependency in resource.depends_on:
                dependents[dependency.address].append((resource, dependency))
    work = deque(draft for draft in drafts if _drags(draft))
    while work:
        cause = work.popleft()
        for resource, dependency in dependents.get(cause.address.replica(1), ()):
            attributes = list(_consequences(cause, resource, dependency, effects))
            for draft in instances[resource.address.name] if attributes else ():
                if _follow(draft, cause, attributes):
                    work.append(draft)


def dragged(change: Change) -> list[str]:
    """The paths for whose sake alone an existing instance is to be restarted: what only the whole plan knows."""
    if change.address.kind != "service" or change.action is not Action.UPDATE:
        return []
    return [item.path for item in change.attributes if item.path.startswith("depends_on.")
            and item.effect is Effect.RESTART and item.before is None]  # fmt: skip


def _drags(draft: Draft) -> bool:
    """Whether others may have to follow: it is made anew, replaced, restarted or lies elsewhere from now on."""
    if draft.address.kind == "service":
        return draft.restarts and (draft.action is not Action.CREATE or draft.address.index == 1)
    if draft.address.kind in ("network", "volume"):
        return draft.action in (Action.CREATE, Action.REPLACE) or any(item.path == "name" for item in draft.attributes)
    return False


def _follow(draft: Draft, cause: Draft, attributes: Sequence[AttributeChange]) -> bool:
    """Whether the draft became a stronger one."""
    if draft.observed is None or draft.action in (Action.CREATE, Action.DELETE) or draft.action.replaces:
        return False
    if draft.completed and strongest(attributes) is not Effect.REPLACE:
        return False
    if cause.action is Action.CREATE and all(_is_told(item.path, draft) for item in attributes):
        return False
    restarted, before = draft.restarts, draft.action
    draft.settle(attributes)
    if draft.action is before and draft.restarts == restarted:
        return False
    draft.because = reasons.cascade(cause.address, _fate(cause), strongest(draft.attributes))
    return True


def _is_told(path: str, draft: Draft) -> bool:
    """Whether the backend itself has said what has become of path, and so what mending it costs."""
    return any(item.path.startswith(f"{path}.") for item in draft.drift)


def _fate(cause: Draft) -> str:
    """What happens to the cause, as a participle."""
    if cause.action is Action.CREATE:
        return "made anew"
    if cause.action is Action.UPDATE:
        return "restarted" if cause.address.kind == "service" else "moved"
    return "replaced"


def _consequences(
    cause: Draft, resource: Resource, dependency: Dependency, effects: Effects
) -> Iterator[AttributeChange]:
    name, spec = cause.address.name, resource.spec
    match cause.address.kind:
        case "network":
            if name in spec.get("networks", {}):
                path = f"networks.{name}"
                yield AttributeChange(path, "attached", "attached anew", resource.origin(path), effects.of(path))
        case "volume":
            for position, mount in enumerate(spec.get("mounts", ())):
                if mount.get("type") == "volume" and mount.get("source") == name:
                    path = f"mounts[{mount['target']}]"
                    origin = resource.origin(f"mounts[{position}]")
                    yield AttributeChange(path, "mounted", "mounted anew", origin, effects.of(path))
        case "service":
            shares = [key for key in _NAMESPACES if spec.get(key) == f"service:{name}"]
            shares += ["volumes_from"] * any(item.split(":")[0] == name for item in spec.get("volumes_from", ()))
            if cause.action is not Action.UPDATE:
                for path in shares:
                    yield AttributeChange(path, "shared", "shared anew", resource.origin(path), Effect.REPLACE)
            if dependency.restart:
                path = f"depends_on.{name}"
                yield AttributeChange(path, None, _fate(cause), resource.origin(path), Effect.RESTART)


