"""What the flags of `up`, `create`, `scale` and `run` ask for, as changes of the environment and of the plan. Pure."""

from __future__ import annotations

from envkit.address import Address
from envkit.errors import NotFoundError
from envkit.plan.model import Action
from envkit.plan.planner import make_plan
from envkit.values import field, replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from envkit.observed.state import ObservedState
    from envkit.plan.effects import Capabilities
    from envkit.plan.model import Change, Plan
    from envkit.spec.environment import Environment, Resource


@value
class Wishes:
    """services: these alone with what they depend on (no_deps: without). build: make their images again; no_build: make
    none. force_recreate and no_recreate: every or no instance is replaced; always_recreate_deps: those of dependencies
    too. scale: service -> replicas. keep_orphans: services that are in no
    file stay; remove_orphans: they go even where services are named, which
    `known` then has to tell: the names of all services of the files, of which the environment is cut to those named."""

    services: tuple[str, ...] = ()
    no_deps: bool = False
    build: bool = False
    no_build: bool = False
    force_recreate: bool = False
    no_recreate: bool = False
    always_recreate_deps: bool = False
    scale: Mapping[str, int] = field(default_factory=dict)
    keep_orphans: bool = False
    remove_orphans: bool = False
    known: frozenset[str] = frozenset()


def wished(environment: Environment, wishes: Wishes) -> Environment:
    """The environment as the wishes want it. Raises NotFoundError for a service that there is not."""
    for name in (*wishes.services, *wishes.scale):
        if environment.get("service", name) is None:
            raise NotFoundError(
                "no such service", f"{name!r} is not a service of {environment.name}",
                hint=f"there is {', '.join(environment.services) or 'none'}",
            )  # fmt: skip
    resources = dict(environment.resources)
    for name, count in wishes.scale.items():
        _respec(resources, Address("service", name), replicas=count)
    if wishes.no_deps:
        for name in wishes.services:
            resource = resources[Address("service", name)]
            needs = tuple(item for item in resource.depends_on if item.address.kind != "service")
            resources[resource.address] = replace(resource, depends_on=needs)
    return replace(environment, resources=resources)


def plan_wishes(
    environment: Environment, observed: ObservedState, capabilities: Capabilities, wishes: Wishes, *,
    only: Sequence[str] = (), demanded: Sequence[str] = (), refresh_only: bool = False,
) -> tuple[Plan, Environment, list[str]]:  # fmt: skip
    """(the plan, the environment it is a plan of, the orphans that stay). environment: what `wished` returned.

    Raises NotFoundError for an image that would have to be built with no_build.
    """
    orphans = _orphans(environment, observed, wishes.known)
    chosen = list(dict.fromkeys([*only, *(f"service.{name}" for name in wishes.services)]))
    if chosen and wishes.remove_orphans and (wishes.known or not wishes.services):
        chosen += [str(address) for address in orphans]
    if wishes.no_recreate or wishes.no_build:
        environment = _kept(environment, observed, wishes)
    replaced = list(demanded)
    if wishes.force_recreate or wishes.always_recreate_deps:
        replaced += [str(address) for address in _recreated(environment, wishes)]
    if wishes.build:
        replaced += [str(address) for address in _built(environment, wishes)]
    plan = make_plan(environment, observed, capabilities, only=chosen, replace=replaced, refresh_only=refresh_only)
    if wishes.no_build:
        _refuse_builds(plan)
    keep: list[Callable[[Change], bool]] = []
    if wishes.keep_orphans:
        keep.append(lambda item: item.action is Action.DELETE and item.address.replica(1) not in environment.resources)
    if wishes.no_recreate:
        keep.append(_is_recreation)
    if keep:
        plan = replace(plan, changes=tuple(_unless(plan.changes, lambda item: any(test(item) for test in keep))))
    return plan, environment, sorted({item.name for item in orphans}) if wishes.keep_orphans and not chosen else []


def scaled(words: Iterable[str]) -> dict[str, int]:
    """SERVICE=N of --scale. Raises ValueError with the word that is none."""
    found = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not name or not equals or not number.isdigit():
            raise ValueError(word)
        found[name] = int(number)
    return found


def closure(environment: Environment, names: Iterable[str]) -> list[str]:
    """The services and all that they depend on, in the order in which they are met."""
    found = dict.fromkeys(names)
    work = list(found)
    while work:
        resource = environment.get("service", work.pop())
        for item in resource.depends_on if resource else ():
            if item.address.kind == "service" and item.address.name not in found:
                found[item.address.name] = None
                work.append(item.address.name)
    return list(found)


def _respec(resources: dict[Address, Resource], address: Address, **changes: object) -> None:
    from envkit.digest import fingerprint

    spec = {**resources[address].spec, **changes}
    resources[address] = replace(resources[address], spec=spec, fingerprint=fingerprint(spec))


def _orphans(environment: Environment, observed: ObservedState, further: Iterable[str]) -> list[Address]:
    known = {*environment.services, *environment.disabled, *further}
    return sorted(item for item in observed.resources if item.kind == "service" and item.name not in known)


def _recreated(environment: Environment, wishes: Wishes) -> list[Address]:
    named = wishes.services or tuple(environment.services)
    if wishes.always_recreate_deps:
        every = closure(environment, named)
        named = tuple(every) if wishes.force_recreate else tuple(name for name in every if name not in wishes.services)
    return [Address("service", name) for name in named]


def _built(environment: Environment, wishes: Wishes) -> list[Address]:
    """The images of the services (all: of the environment) that are made here."""
    if not wishes.services:
        found = [item for item in environment.resources if item.kind == "image"]
    else:
        names = wishes.services if wishes.no_deps else closure(environment, wishes.services)
        found = [Address("image", str(environment.services[name].spec["image"])) for name in names]
    return [item for item in dict.fromkeys(found) if _is_made(environment.resources.get(item))]


def _is_made(resource: Resource | None) -> bool:
    return resource is not None and "reference" not in resource.spec


def _kept(environment: Environment, observed: ObservedState, wishes: Wishes) -> Environment:
    """What is there counts as what is wanted: of services (no_recreate), of images made here (no_build)."""
    resources = dict(environment.resources)
    for address, item in observed.resources.items():
        resource = resources.get(address)
        if resource is None or item.missing:
            continue
        if (address.kind == "service" and wishes.no_recreate) or (
            address.kind == "image" and wishes.no_build and _is_made(resource)
        ):
            spec = {**item.spec, "replicas": resource.spec["replicas"]} if "replicas" in resource.spec else item.spec
            mark = item.fingerprint if spec == item.spec else resource.fingerprint
            resources[address] = replace(resource, spec=spec, fingerprint=mark)
    return replace(environment, resources=resources)


def _is_recreation(change: Change) -> bool:
    item = change.observed
    return change.action.replaces and item is not None and item.complete and not item.missing


def _refuse_builds(plan: Plan) -> None:
    for change in plan.effective:
        if change.address.kind == "image" and _is_made(change.resource) and change.action is not Action.DELETE:
            raise NotFoundError(
                "An image is not built", change.address.name, hint="leave --no-build out, or `envkit build` it first"
            )


def _unless(changes: Iterable[Change], test: Callable[[Change], bool]) -> Iterable[Change]:
    """The changes, with those that pass the test doing nothing."""
    for change in changes:
        if test(change):
            yield replace(change, action=Action.NOOP, attributes=(), requires=(), loses_data=False)
        else:
            yield change
