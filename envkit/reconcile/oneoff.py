"""What `envkit run SERVICE` needs around its container: the image, networks, volumes and services it depends on."""

from __future__ import annotations

from envkit.address import Address
from envkit.backend.base import Backend, Materials
from envkit.errors import InputError
from envkit.events import Emit
from envkit.host.home import Home
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import apply_plan
from envkit.reconcile.ready import wait_ready
from envkit.spec.environment import Environment


def apply_dependencies(
    backend: Backend, environment: Environment, service: str, *, materials: Materials, emit: Emit, parallel: int,
    lock_timeout: float | None, home: Home,
) -> None:  # fmt: skip
    """Make everything that the service depends on as the files say, and wait for the conditions it names.

    The service itself is left as it is. Raises InputError or the first failure.
    """
    resource = environment.resources[Address("service", service)]
    needed = [item for item in resource.depends_on if item.address in environment.resources]
    if not needed:
        return
    observed = backend.observe(environment)
    plan = make_plan(environment, observed, backend.capabilities(), only=[item.address for item in needed])
    if any(item.is_error for item in plan.diagnostics):
        raise InputError(plan.diagnostics)
    outcome = apply_plan(
        plan, backend, environment, materials=materials, emit=emit, parallel=parallel, lock_timeout=lock_timeout,
        home=home,
    )  # fmt: skip
    if outcome.errors:
        raise outcome.errors[0]
    conditions = {
        item.address.name: item.condition for item in needed if item.address.kind == "service" and item.required
    }
    wait_ready(backend, environment, timeout=None, emit=emit, conditions=conditions)
