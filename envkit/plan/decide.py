"""One desired resource against one observed one -> a Draft. Pure; knows nothing of the other resources.

The rules, in order of strength: missing -> CREATE; cut off or demanded -> REPLACE; another spec or another image ->
whatever its attributes cost; drift -> whatever mending it costs; else nothing.
"""

from __future__ import annotations

from envkit.plan import reasons
from envkit.plan.compare import compare
from envkit.plan.draft import Draft
from envkit.plan.drift import KNOWN_AFTER_BUILD, KNOWN_AFTER_PULL, drift_of, has_completed
from envkit.plan.model import Action, AttributeChange, Effect
from envkit.plan.protect import guard, holds_data
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from envkit.address import Address
    from envkit.observed.state import ObservedResource
    from envkit.plan.drift import Ignored
    from envkit.plan.effects import Effects
    from envkit.spec.environment import Resource

_IN_PLACE = {"network": frozenset({"labels", "attachable"}), "volume": frozenset({"labels", "protect", "name"})}


@value
class Rules:
    """What a decision depends on besides the two resources.

    images: image name -> digest in the store; pending: image names that this plan makes; demanded: addresses of
    --replace; ignored: drift that may be; awaited: is the completion of this service waited for? offered: reference ->
    what is to be pulled in place of what is here.
    """

    effects: Effects
    images: Mapping[str, str]
    pending: Collection[str]
    demanded: Collection[Address]
    ignored: Ignored
    awaited: Callable[[str], bool]
    offered: Mapping[str, str] = field(default_factory=dict)


def decide_service(
    address: Address, resource: Resource, observed: ObservedResource | None, rules: Rules, replicas: int, siblings: int
) -> Draft:
    """One instance (or, where the backend expands replicas itself, the whole service)."""
    draft = Draft(address, resource, observed)
    if observed is None or observed.missing:
        if observed is not None:
            draft.drift = drift_of(observed, rules.effects.of, rules.ignored)
        return _create(draft, reasons.creation(address, observed, replicas, siblings))
    draft.start_first = observed.complete and rules.effects.is_start_first(resource.spec)
    draft.completed = has_completed(resource, observed, rules.awaited)
    if not draft.completed:
        draft.drift = drift_of(observed, rules.effects.of, rules.ignored)
    changed: list[AttributeChange] = []
    if observed.fingerprint != resource.fingerprint:
        changed = compare(observed.spec, resource.spec, rules.effects.of, resource.origin)
        changed = [item for item in changed if item.effect is not Effect.NONE]
    changed += _image_change(resource, observed, rules)
    owed = [path for path in observed.attributes.get("pending", ()) if not draft.completed]
    changed += [AttributeChange(path, None, "restarted", resource.origin(path), Effect.RESTART) for path in owed]
    if not observed.complete:
        draft.replace(reasons.CUT_OFF)
    elif address in rules.demanded or resource.address in rules.demanded:
        draft.replace(reasons.DEMANDED)
    draft.settle(changed)
    if changed and not draft.because:
        draft.because = reasons.OWED if len(owed) == len(changed) else reasons.alteration(changed)
    if not draft.action.replaces:
        _mend(draft)
    if draft.completed and draft.action is Action.NOOP:
        draft.because = reasons.COMPLETED
    return draft


def decide_image(resource: Resource, observed: ObservedResource | None, rules: Rules, bases: Collection[str]) -> Draft:
    """An image: made where it is absent, made again where its recipe changed or `bases` (among those it is made from)
    are made again. The old one stays in the store until nothing needs it."""
    draft = Draft(resource.address, resource, observed)
    name = resource.address.name
    if observed is None or observed.missing or name not in rules.images:
        return _create(draft, reasons.image_creation(resource, observed))
    attributes = []
    if observed.fingerprint != resource.fingerprint:
        attributes = compare(observed.spec, resource.spec, _no_effect, resource.origin)
        attributes = [item for item in attributes if item.path != "pull_policy"]  # when, not what
    if now := rules.offered.get(name):
        source = resource.origin("reference")
        attributes.append(AttributeChange("image_digest", rules.images[name], now, source, Effect.NONE))
    attributes += [AttributeChange("base.image", base, KNOWN_AFTER_BUILD, "", Effect.NONE) for base in sorted(bases)]
    draft.drift = drift_of(observed, _no_effect, rules.ignored)
    attributes += [AttributeChange(item.path, item.after, item.before, "", Effect.NONE) for item in draft.drift]
    demanded = resource.address in rules.demanded
    if attributes or demanded or not observed.complete:
        draft.action, draft.attributes = Action.UPDATE, attributes
        draft.because = reasons.image_renewal(resource, attributes, sorted(bases), demanded)
    return draft


def decide_other(resource: Resource, observed: ObservedResource | None, rules: Rules) -> Draft:
    """A network, volume, secret or config. What is external is nobody's to change."""
    draft = Draft(resource.address, resource, observed)
    if resource.spec.get("external"):
        return draft
    if observed is None or observed.missing:
        if observed is not None:
            draft.drift = drift_of(observed, _in_place, rules.ignored)
        return _create(draft, reasons.creation(resource.address, observed, 1, 0))
    draft.drift = drift_of(observed, _in_place, rules.ignored)
    changed: list[AttributeChange] = []
    if observed.fingerprint != resource.fingerprint:
        changed = compare(observed.spec, resource.spec, _effect_for(resource.address.kind), resource.origin)
    keeps_data = resource.address.kind == "volume"
    if not observed.complete and not keeps_data:
        draft.replace(reasons.CUT_OFF)
    elif resource.address in rules.demanded and not keeps_data:
        draft.replace(reasons.DEMANDED)
    elif not observed.complete:
        changed.append(AttributeChange("complete", False, True, "", Effect.IN_PLACE))
        draft.because = reasons.FINISHED
    draft.settle(changed)
    if changed and not draft.because:
        draft.because = reasons.alteration(changed)
    if draft.action.replaces:
        draft.loses_data = keeps_data and holds_data(observed.spec)
        guard(draft, resource.spec)
    else:
        _mend(draft)
    return draft


def _create(draft: Draft, because: str) -> Draft:
    draft.action, draft.because = Action.CREATE, because
    return draft


def _mend(draft: Draft) -> None:
    """Turn drift into attributes that lead back (before: now, after: what the last apply left)."""
    costly = [item for item in draft.drift if item.effect is not Effect.NONE]
    if not costly or draft.observed is None:
        return
    changed = draft.action is not Action.NOOP
    draft.settle(AttributeChange(item.path, item.after, item.before, "", item.effect) for item in costly)
    if not changed or draft.action.replaces:
        facts = draft.observed.attributes
        draft.because = reasons.mending(draft.drift, facts.get("exit_code"), facts.get("desired") == "stopped")


def _image_change(resource: Resource, observed: ObservedResource, rules: Rules) -> list[AttributeChange]:
    name, before = resource.spec.get("image", ""), observed.image_digest
    if name in rules.pending:
        after = KNOWN_AFTER_PULL if name in rules.offered else KNOWN_AFTER_BUILD
        return [AttributeChange("image_digest", before or None, after, resource.origin("image"))]
    now = rules.images.get(name, "")
    if now and before and now != before:
        return [AttributeChange("image_digest", before, now, resource.origin("image"))]
    return []


def _effect_for(kind: str) -> Callable[[str], Effect]:
    in_place = _IN_PLACE.get(kind)
    if in_place is None:
        return _in_place
    return lambda path: Effect.IN_PLACE if path.partition(".")[0] in in_place else Effect.REPLACE


def _no_effect(path: str) -> Effect:
    return Effect.NONE


def _in_place(path: str) -> Effect:
    return Effect.IN_PLACE
