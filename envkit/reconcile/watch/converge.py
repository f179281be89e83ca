"""Plan and apply in this process, once per round that concerns the environment itself."""

from __future__ import annotations

from envkit.errors import ApplyError, InputError
from envkit.plan.model import Action
from envkit.plan.planner import make_plan
from envkit.reconcile.apply import apply_plan
from envkit.reconcile.watch.round import Act
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from envkit.address import Address
    from envkit.backend.base import Backend
    from envkit.config.environment import Loaded
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.observed.state import ObservedState
    from envkit.plan.model import Change, Plan
    from envkit.reconcile.watch.round import Round
    from envkit.spec.environment import Environment


class Converger:
    """only: addresses (texts) that may be changed, with what they depend on; all when empty. built: called after images
    were made."""

    def __init__(
        self, backend: Backend, home: Home, emit: Emit, *, only: tuple[str, ...] = (), parallel: int = 4,
        lock_timeout: float | None = None, built: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._backend, self._home, self._emit = backend, home, emit
        self._only, self._parallel, self._lock_timeout = only, parallel, lock_timeout
        self._built = built
        self._settled: dict[Address, str] | None = None  # fingerprints of what has been applied
        self._ours: set[Address] = set()  # what has been in the files while they were watched

    def settled(self, environment: Environment) -> None:
        """This is what runs, or is being applied by somebody else."""
        self._settled = _fingerprints(environment)
        self._ours |= set(environment.resources)

    def converge(self, loaded: Loaded, made: Round) -> None:
        """Make it so; what was done, and what could not be, goes into made. Raises EnvkitError."""
        environment = loaded.environment
        self._ours |= set(environment.resources)
        if self._settled == _fingerprints(environment):
            return
        self._settled = None
        plan, observed = self._plan(environment)
        if any(item.is_error for item in plan.diagnostics):
            raise InputError(plan.diagnostics)
        if plan.loses_data:
            raise ApplyError("This would lose data", "so it is not done without being asked for",
                             "`envkit apply` shows what, and asks")  # fmt: skip
        if plan.is_empty:
            self._settled = _fingerprints(environment)
            return
        outcome = apply_plan(
            plan, self._backend, environment, materials=loaded.materials, emit=self._emit, parallel=self._parallel,
            lock_timeout=self._lock_timeout, home=self._home, command="watch",
            observed=observed,
        )  # fmt: skip
        done = set(outcome.done)
        changes = [change for change in plan.effective if change.address in done]
        made.acts += [Act(change.action.word, str(change.address), detail=_why(change)) for change in changes]
        made.problems += outcome.errors
        if not outcome.failed:
            self._settled = _fingerprints(environment)
        if any(change.address.kind == "image" for change in changes):
            self._built()

    def _plan(self, environment: Environment) -> tuple[Plan, ObservedState]:
        capabilities = self._backend.capabilities()
        observed = self._backend.observe(environment, thorough=False)
        plan = make_plan(environment, observed, capabilities, only=self._only)
        if environment.hardened:
            return plan, observed
        # As `up` of a Compose file does, what was never in the files that are watched is left alone.
        kept = tuple(
            change for change in plan.changes
            if change.action is not Action.DELETE or change.address.replica(1) in self._ours
        )  # fmt: skip
        return replace(plan, changes=kept), observed


def _why(change: Change) -> str:
    """The attributes that differ, or the reason."""
    paths = [item.path for item in change.attributes]
    if change.action in (Action.CREATE, Action.DELETE) or not paths:
        return ""
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")


def _fingerprints(environment: Environment) -> dict[Address, str]:
    return {
        address: f"{item.fingerprint} {item.depends_on!r}" for address, item in environment.resources.items()
    }
