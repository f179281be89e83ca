"""Build images on demand (`envkit build`, `apply --build`): the session's own way, whatever the plan thinks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envkit.address import Address
from envkit.backend.base import Backend, Materials
from envkit.errors import UsageError
from envkit.events import Emit, ignore
from envkit.plan.model import Action, Change
from envkit.plan.planner import in_order
from envkit.reconcile.executor import Executor
from envkit.reconcile.interrupts import graceful
from envkit.spec.environment import Dependency, Environment, Resource
from envkit.values import replace


def build_images(  # noqa: PLR0913  (keyword-only: what a build needs to know)
    backend: Backend, environment: Environment, names: Sequence[str], *, materials: Materials, emit: Emit = ignore,
    parallel: int = 4, no_cache: bool = False, pull: bool = False, arguments: Mapping[str, str] | None = None,
    ssh: Sequence[str] = (), lock_timeout: float | None = None,
) -> dict[str, str]:  # fmt: skip
    """Make the images of these names (keys or references) and those that they are made of; name -> digest of all.

    Images that are not made here are left alone. no_cache: every layer anew; pull: newer bases are looked for;
    arguments: further build arguments; ssh: further agents, as in the YAML. Raises the first error when an image cannot
    be made, KeyboardInterrupt.
    """
    wanted = _closure(environment, names)
    if not wanted:
        return {}
    renew = frozenset(word for word, asked in (("layers", no_cache), ("bases", pull)) if asked)
    changes = [_change(item, set(wanted), renew, arguments or {}, ssh) for item in wanted.values()]
    with backend.session(
        environment, materials=materials, emit=emit, parallel=parallel, lock_timeout=lock_timeout
    ) as session:
        executor = Executor(session, emit, parallel)
        with graceful(executor.stop):
            executor.run(in_order(changes))
    outcome = executor.outcome
    if outcome.errors:
        raise outcome.errors[0]
    if outcome.interrupted:
        raise KeyboardInterrupt
    images = backend.observe(environment).images
    return {address.name: images.get(address.name, "") for address in wanted}


def _closure(environment: Environment, names: Sequence[str]) -> dict[Address, Resource]:
    """The images of names that are made here, with those that they need."""
    found: dict[Address, Resource] = {}
    todo = [Address("image", name) for name in reversed(names)]
    while todo:
        address = todo.pop()
        resource = environment.resources.get(address)
        if resource is None:
            raise UsageError(f"there is no image {address.name!r}")
        if address in found or "reference" in resource.spec:
            continue
        found[address] = resource
        todo += [item.address for item in resource.depends_on if item.address.kind == "image"]
    return found


def _change(
    resource: Resource, wanted: set[Address], renew: frozenset[str], arguments: Mapping[str, str], ssh: Sequence[str]
) -> Change:
    spec: dict[str, Any] = dict(resource.spec)
    if ssh and "build" in spec:
        spec["build"] = {**spec["build"], "ssh": [*(spec["build"].get("ssh") or ()), *ssh]}
    if arguments and "build" in spec:
        spec["build"] = {**spec["build"], "args": {**_arguments(spec["build"].get("args")), **arguments}}
    needs = tuple(Dependency(item.address) for item in resource.depends_on if item.address in wanted)
    return Change(
        resource.address, Action.CREATE, "asked for", resource=replace(resource, spec=spec), requires=needs,
        renew=renew,
    )  # fmt: skip


def _arguments(written: Any) -> dict[str, Any]:
    if isinstance(written, Mapping):
        return dict(written)
    cut = (str(text).partition("=") for text in written or ())
    return {name: value for name, equals, value in cut if equals}


def parse_arguments(words: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """`--build-arg NAME=VALUE`; a name alone takes its value from environ. Raises UsageError."""
    made = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"--build-arg {word}", hint="write it as NAME=VALUE")
        if equals:
            made[name] = value
        elif name in environ:
            made[name] = environ[name]
    return made


