"""`start` and `restart` after a reboot: processes, mounts and networks are gone, files are as they were.

What was applied last is put in place again under the instances that are wanted, which keep what they have written.
"""

from __future__ import annotations

from envkit.address import Address
from envkit.errors import ApplyError
from envkit.observed.state import InstanceState
from envkit.plan.model import Action, AttributeChange, Change, Effect
from envkit.plan.planner import make_plan
from envkit.reconcile.executor import Executor
from envkit.reconcile.generations import list_generations, read_generation
from envkit.spec.environment import Dependency
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envkit.backend.base import Backend, Materials
    from envkit.events import Emit, Event
    from envkit.host.home import Home
    from envkit.observed.state import ObservedState
    from envkit.spec.environment import Environment

_REASON = "started again as it was"


def awaken(
    backend: Backend, environment: Environment, addresses: Sequence[Address], *, materials: Materials, home: Home,
    emit: Emit, parallel: int = 4, lock_timeout: float | None = None,
) -> None:  # fmt: skip
    """Have the instances run as they were applied last, after those of them that they depend on.

    environment is only used where no generation is kept. Raises the first error after all have been tried.
    """
    kept = list_generations(home, environment.name)
    applied = read_generation(home, environment.name, kept[-1])[0] if kept else environment
    with backend.session(
        applied, materials=materials, emit=emit, parallel=parallel, lock_timeout=lock_timeout
    ) as session:
        observed = backend.observe(applied)
        asleep = [item for item in addresses if not _runs(observed, item)]
        executor = Executor(session, lambda event: emit(_said(event)), parallel)
        executor.run([*_networks(backend, applied, observed, asleep), *_starts(applied, observed, asleep)])
    for error in executor.outcome.errors:
        raise error
    if executor.outcome.interrupted:
        raise KeyboardInterrupt


def _runs(observed: ObservedState, address: Address) -> bool:
    item = observed.resources.get(address)
    return item is not None and item.actual.get("state") == InstanceState.RUNNING


def _said(event: Event) -> Event:
    """The event in the words of `start`."""
    return replace(event, action="start") if event.action == Action.UPDATE.word else event


def _networks(
    backend: Backend, environment: Environment, observed: ObservedState, addresses: Sequence[Address]
) -> Iterator[Change]:
    """The networks that have vanished, if one of the instances is in them."""
    resources = [environment.get("service", item.name) for item in addresses]
    used = {item.address for resource in resources if resource for item in resource.depends_on}
    for change in make_plan(environment, observed, backend.capabilities()).changes:
        if change.address.kind == "network" and change.address in used and change.action is Action.CREATE:
            yield replace(change, requires=())


def _starts(environment: Environment, observed: ObservedState, addresses: Sequence[Address]) -> Iterator[Change]:
    """The instances, in the order of what they depend on."""
    from envkit.reconcile.lifecycle import levels

    names = {item.name for item in addresses}
    for step in levels(environment, names):
        for address in sorted(item for item in addresses if item.name in step):
            resource = environment.get("service", address.name)
            if resource is None or address not in observed.resources:
                raise ApplyError(
                    "It is not known how this was made", f"{address} is not in what was applied last",
                    "`envkit apply` makes it as the files say", address=str(address),
                )  # fmt: skip
            state = AttributeChange("state", "gone", "running", "", Effect.RESTART)
            needs = [item.address for item in resource.depends_on if item.address.kind == "network"]
            needs += [item.address for item in resource.depends_on if item.address.name in names - {address.name}]
            requires = tuple(Dependency(item, "applied") for item in dict.fromkeys(needs))
            yield Change(address, Action.UPDATE, _REASON, (state,), resource, observed.resources[address], requires)
