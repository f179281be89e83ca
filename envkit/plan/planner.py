"""Environment x ObservedState x Capabilities -> Plan. Pure: no I/O, no clock, no environment variables; linear.

The walk: pair each desired with its observed resource and decide it alone (`decide`), let changes drag others along
(`cascade`), say what waits for what (`requires`), put all in order (`order`).
"""

from __future__ import annotations

from envkit.address import Address
from envkit.lean import cache, sha256
from envkit.plan import reasons
from envkit.plan.decide import Rules, decide_image, decide_other, decide_service
from envkit.plan.draft import Draft
from envkit.plan.drift import ignored_paths
from envkit.plan.effects import Effects
from envkit.plan.graph import edges
from envkit.plan.model import Action, Plan
from envkit.plan.order import topological
from envkit.plan.protect import refusals
from envkit.plan.selection import Selection, addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from envkit.observed.state import ObservedResource, ObservedState
    from envkit.plan.effects import Capabilities
    from envkit.plan.model import Change
    from envkit.spec.environment import Environment, Resource

_KINDS = ("image", "network", "volume", "secret", "config", "service")


def make_plan(
    environment: Environment, observed: ObservedState, capabilities: Capabilities, *,
    only: Collection[str | Address] = (), replace: Collection[str | Address] = (), refresh_only: bool = False,
) -> Plan:  # fmt: skip
    """What must be done so that what is observed becomes what is desired.

    only: change nothing but these and what they depend on. replace: make these anew in any case. refresh_only: report
    drift and plan nothing. Volumes are never deleted, external things never touched. Raises NotFoundError when only or
    replace name what is not there.
    """
    known = {*environment.resources, *observed.resources}
    demanded = addresses(replace, known, "--replace")
    selected = addresses(only, known, "--only")
    selection = Selection(environment, selected)
    drafts = [draft for draft in _drafts(environment, observed, capabilities, demanded) if draft.address in selection]
    if any(draft.action is not Action.NOOP for draft in drafts):
        from envkit.plan.cascade import cascade
        from envkit.plan.requires import require

        cascade(environment, drafts, Effects(capabilities))
        require(environment, drafts, capabilities.kinds)
    changes = [draft.change() for draft in drafts]
    if not all(change.action is Action.NOOP for change in changes):
        changes = in_order(changes)
    drift = tuple(draft.divergence() for draft in drafts if draft.drift)
    return Plan(
        environment.name, () if refresh_only else tuple(changes), drift,
        (*capabilities.check(environment), *(() if refresh_only else refusals(drafts))),
        basis_of(observed), tuple(map(str, selected)), tuple(map(str, demanded)),
    )  # fmt: skip


def in_order(changes: list[Change]) -> list[Change]:
    """The changes in an order in which they can be carried out one by one."""
    by_address = {change.address: change for change in changes}
    return [by_address[address] for address in topological(list(by_address), edges(changes))]


def basis_of(observed: ObservedState) -> str:
    """A digest of everything in the observed state that a plan can depend on."""
    digest = sha256()
    for address in sorted(observed.resources):
        item = observed.resources[address]
        differing = "" if item.expected == item.actual else sorted(item.actual.items(), key=lambda pair: pair[0])
        facts = (str(address), item.fingerprint, item.image_digest, item.missing, item.complete, differing,
                 item.attributes.get("exit_code") if differing else None, item.attributes.get("pending"))  # fmt: skip
        digest.update(repr(facts).encode())
    digest.update(repr(sorted(observed.images.items())).encode())
    if observed.offered:
        digest.update(repr(sorted(observed.offered.items())).encode())
    return "sha256:" + digest.hexdigest()


def _drafts(
    environment: Environment, observed: ObservedState, capabilities: Capabilities, demanded: Collection[Address]
) -> Iterator[Draft]:
    """A draft per address: images, networks, volumes, secrets, configs, services, then what has to go."""
    kinds, expands = capabilities.kinds, capabilities.expands_replicas
    by_kind: dict[str, list[Resource]] = {kind: [] for kind in _KINDS}
    for address, resource in environment.resources.items():
        if address.kind in kinds:
            by_kind[address.kind].append(resource)
    replicas = _replicas_by_name(observed.resources)
    rules = _rules(environment, observed, capabilities, demanded)
    pending = rules.pending
    assert isinstance(pending, set)
    for resource in _bases_first(by_kind["image"]):
        bases = {item.address.name for item in resource.depends_on if item.address.kind == "image"} & pending
        draft = decide_image(resource, observed.resources.get(resource.address), rules, bases)
        if draft.action is not Action.NOOP:
            pending.add(resource.address.name)
        yield draft
    for kind in _KINDS[1:5]:
        for resource in by_kind[kind]:
            yield decide_other(resource, observed.resources.get(resource.address), rules)
    for resource in by_kind["service"]:
        there = replicas.get(resource.address.name, ())
        count = int(resource.spec.get("replicas", 1)) if expands else 1
        for index in range(1, count + 1):
            address = resource.address.replica(index)
            yield decide_service(address, resource, observed.resources.get(address), rules, count, len(there))
        for index in sorted((index for index in there if index > count), reverse=True):
            source = resource.origin("replicas")
            because = reasons.removal(environment, resource.address, count, source)
            address = resource.address.replica(index)
            yield Draft(address, None, observed.resources[address], Action.DELETE, because)
    yield from _orphans(environment, observed, kinds)


def _orphans(environment: Environment, observed: ObservedState, kinds: Collection[str]) -> Iterator[Draft]:
    """What is there and in no file: deleted, but for volumes, images, and what services of other profiles use."""
    left_alone = {Address("service", name) for name in environment.disabled}
    for address, item in observed.resources.items():
        if address.kind == "service" and address.name in environment.disabled:
            left_alone |= {Address("network", name) for name in item.spec.get("networks", {})}
            for kind in ("secret", "config"):
                left_alone |= {Address(kind, use["source"]) for use in item.spec.get(f"{kind}s", ())}
    for address in sorted(observed.resources, key=_last_first):
        item, plain = observed.resources[address], address.replica(1)
        if plain in environment.resources or plain in left_alone or address.kind not in kinds:
            continue
        if address.kind not in ("volume", "image") and not item.spec.get("external"):
            yield Draft(address, None, item, Action.DELETE, reasons.removal(environment, address, None, ""))


def _last_first(address: Address) -> tuple[int, str, int]:
    return (-_KINDS.index(address.kind), address.name, -address.index)


def _replicas_by_name(resources: Mapping[Address, ObservedResource]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for address in resources:
        if address.kind == "service":
            found.setdefault(address.name, []).append(address.index)
    return found


def _rules(
    environment: Environment, observed: ObservedState, capabilities: Capabilities, demanded: Collection[Address]
) -> Rules:
    @cache
    def awaited() -> frozenset[str]:
        return frozenset(
            item.address.name
            for resource in environment.resources.values()
            for item in resource.depends_on
            if item.condition == "completed"
        )

    return Rules(
        Effects(capabilities), observed.images, set(), frozenset(demanded), ignored_paths(environment),
        lambda name: name in awaited(), observed.offered,
    )  # fmt: skip


def _bases_first(images: list[Resource]) -> list[Resource]:
    by_address = {resource.address: resource for resource in images}
    before = {resource.address: [item.address for item in resource.depends_on] for resource in images}
    return [by_address[address] for address in topological(list(by_address), before)]
