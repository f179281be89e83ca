"""The live view of `status --watch` and of an attached `up`: what its keys do, and how it begins and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from envkit.address import Address
from envkit.cli.status import reload, theme
from envkit.errors import ConflictError, EngineStoppedError, EnvkitError, InputError
from envkit.events import ignore

if TYPE_CHECKING:
    from collections.abc import Callable

    from envkit.cli.context import Context
    from envkit.config.environment import Loaded
    from envkit.plan.wishes import Wishes
    from envkit.spec.environment import Environment
    from envkit.views.live.feed import Feed

_PATIENCE = 4.0  # seconds; following ends so long after the last instance has gone
_SHELL = "command -v bash >/dev/null 2>&1 && exec bash; exec sh"


class Keys:
    """views.live.app.Hands on the backend of this command line. load: the files as they are now, None where there are
    none. wish: what the flags make of their environment. planned: services to which apply is restricted."""

    def __init__(
        self, context: Context, load: Callable[[], Loaded] | None, *,
        wish: Callable[[Environment], Environment] = lambda environment: environment, planned: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._context, self._load, self._wish = context, load, wish
        self._planned = planned

    def control(self, address: str, verb: str) -> None:
        """See Hands."""
        from envkit.reconcile.lifecycle import in_order, with_restarted

        context, environment = self._context, self._context.identify()
        chosen = [Address.parse(address)]
        if verb == "restart":
            further = set(with_restarted(environment, [chosen[0].name])) - {chosen[0].name}
            chosen += [item for item in context.addresses(environment.name, ()) if item.name in further]
        try:
            in_order(context.backend, environment, chosen, verb, emit=ignore)
        except EngineStoppedError:
            if self._load is None:
                raise
            from envkit.reconcile.awaken import awaken

            awaken(
                context.backend, environment, chosen, materials=self._load().materials, home=context.home, emit=ignore,
                parallel=context.parallel(),
            )  # fmt: skip

    def shell(self, address: str) -> int:
        """See Hands. A process of its own has the terminal; Ctrl-C is meant for what runs in it."""
        import signal

        found = Address.parse(address)
        argv = [*_again(self._context), "exec", "--index", str(found.index), found.name, "sh", "-c", _SHELL]
        print(f"A shell in {address.removeprefix('service.')}; leave it (exit, Ctrl-D) to come back.", flush=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return subprocess.run(argv, cwd=self._context.cwd, env=dict(self._context.environ), check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)

    def apply(self) -> str:
        """See Hands."""
        from envkit.plan.planner import make_plan
        from envkit.reconcile.apply import apply_plan

        context = self._context
        if self._load is None:
            raise ConflictError("There are no files here to apply", "-p stands for them")
        loaded = self._load()
        environment = self._wish(loaded.environment)
        observed = context.backend.observe(environment)
        only = tuple(f"service.{name}" for name in self._planned)
        plan = make_plan(environment, observed, context.backend.capabilities(), only=only)
        if any(item.is_error for item in plan.diagnostics):
            raise InputError(plan.diagnostics)
        if plan.loses_data:
            raise ConflictError("This would lose data", "nothing was done", "`envkit apply` shows what, and asks")
        outcome = apply_plan(
            plan, context.backend, environment, materials=loaded.materials, parallel=context.parallel(),
            lock_timeout=context.options.lock_timeout, home=context.home, observed=observed,
        )  # fmt: skip
        if outcome.errors:
            raise outcome.errors[0]
        done = len(outcome.done)
        return f"applied: {done} change{'s' * (done != 1)}" if done else "there was nothing to apply"


def _again(context: Context) -> list[str]:
    """This command line's own `envkit`, with the flags that say which environment is meant, and where it runs."""
    options = context.options
    words = [sys.executable, "-m", "envkit.cli.main"]
    for flag, given in (("-f", options.file), ("--env-file", options.env_file), ("--profile", options.profile)):
        for item in given or ():
            words += [flag, item]
    for flag, text in (
        ("-p", options.project_name), ("--project-directory", options.project_directory),
        ("--backend", options.backend), ("--target", options.target), ("--context", options.context),
    ):  # fmt: skip
        if text:
            words += [flag, text]
    return words


def draw(context: Context, feed: Feed, keys: Keys, kind: str) -> str:
    """The view until it is left: "quit" or "interrupt"; "failed" when it broke (it has said how)."""
    asked = theme(context)
    context.backend.prepare()
    colour = context.terminal.style.enabled
    if colour:
        os.environ.pop("NO_COLOR", None)
    else:
        os.environ["NO_COLOR"] = "1"  # textual's own way to be told
    from envkit.views.live.app import LiveView
    from envkit.views.live.themes import chosen

    view = LiveView(feed, keys, kind=kind, theme=chosen(asked, context.environ, colour=colour), base=context.cwd)
    result = view.run()
    if any(thread.is_alive() for thread in view.working):
        context.terminal.err("Waiting for what was begun.")
    for thread in view.working:
        thread.join()
    if not context.backend.instances(feed.environment.name):
        feed.join(_PATIENCE)
        context.backend.sweep()  # what was prepared for nothing
    return result or "failed"


def follow(context: Context, environment: Environment, wishes: Wishes) -> int:
    """`up` in the view: q leaves the services running, Ctrl-C stops them. The exit code."""
    from envkit.plan.wishes import closure, wished
    from envkit.views.live.feed import Feed

    options = context.options
    named = tuple(options.services)
    shown = named if options.no_deps or not named else tuple(closure(environment, named))

    def wish(found: Environment) -> Environment:
        return wished(found, wishes)

    def load() -> Loaded:
        return reload(context)

    feed = Feed(context.backend, environment, lambda: wish(load().environment), only=shown, planned=named)
    result = draw(context, feed, Keys(context, load, wish=wish, planned=named), "up")
    if result == "interrupt":
        return _stop(context, environment, shown or tuple(environment.services))
    context.terminal.err(
        f"{environment.name} runs on: `envkit status --watch` shows it again, `envkit stop` stops it."
    )
    return 0 if result == "quit" else 1


def _stop(context: Context, environment: Environment, names: tuple[str, ...]) -> int:
    """Stop what was attached, as without the view; the second Ctrl-C kills."""
    from envkit.reconcile.lifecycle import in_order

    backend = context.backend
    rows = [row for row in backend.instances(environment.name) if row.replica and row.service in names]
    addresses = [
        Address("service", row.service, row.replica) for row in rows if row.state in ("running", "paused", "restarting")
    ]  # fmt: skip
    if not addresses:
        return 130
    context.terminal.err("Stopping gracefully; Ctrl-C again kills.")
    try:
        in_order(backend, environment, addresses, "stop", emit=context.emit(), timeout=context.options.timeout)
    except KeyboardInterrupt:
        for address in addresses:
            try:
                backend.control(environment.name, [address], "kill", emit=ignore, signal="SIGKILL")
            except EnvkitError:  # it has ended by itself meanwhile
                continue
    return 130
