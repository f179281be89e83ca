"""`up` without -d: what the services print, until they have ended or Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from envkit.errors import NotFoundError
from envkit.values import value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envkit.cli.context import Context
    from envkit.observed.state import Instance
    from envkit.spec.environment import Environment


@value
class Before:
    """How it was before anything was started. begun: seconds since the epoch."""

    begun: float
    instances: Mapping[str, Instance]

    @classmethod
    def take(cls, context: Context, environment: Environment) -> Before:
        """Look now. Raises NotFoundError for services that the flags name and that are not there."""
        options = context.options
        for name in (*options.attach, *options.no_attach, *filter(None, [options.exit_code_from])):
            if name not in environment.services:
                raise NotFoundError(
                    "no such service", f"{name!r} is not a service of {environment.name}",
                    hint=f"there is {', '.join(environment.services) or 'none'}",
                )  # fmt: skip
        return cls(time.time(), {row.id: row for row in context.backend.instances(environment.name)})

    def restore(self, context: Context, environment: Environment) -> None:
        """Stop what was started since: who interrupts an attached `up` wants nothing to run on, as with Compose."""
        from envkit.address import Address
        from envkit.reconcile.lifecycle import in_order

        ran = {row.id for row in self.instances.values() if row.state == "running"}
        rows = [row for row in context.backend.instances(environment.name) if row.replica and row.id not in ran]
        started = [Address("service", row.service, row.replica) for row in rows if row.state == "running"]
        if started:
            context.terminal.err("Stopping what was started.")
            in_order(
                context.backend, environment, started, "stop", emit=context.emit(), timeout=context.options.timeout
            )


def follow(
    context: Context, environment: Environment, before: Before, *, hold: Callable[[], None] | None = None
) -> int:
    """Stay with the services until they have ended; the exit code. hold: see reconcile.attached.stay."""
    from envkit.plan.wishes import closure
    from envkit.reconcile.attached import Attachment, stay
    from envkit.views.logs import LogView

    options, terminal = context.options, context.terminal
    named = tuple(options.services) or tuple(environment.services)
    held = named if options.no_deps else tuple(closure(environment, named))
    watched = tuple(dict.fromkeys([*named, *filter(None, [options.exit_code_from])]))
    shown = tuple(options.attach) or (held if options.attach_dependencies else named)
    shown = tuple(
        name for name in shown if name not in options.no_attach and _speaks(environment, name, options.attach)
    )
    stop_on = "exit" if options.exit_code_from or options.abort_on_container_exit else ""
    attachment = Attachment(
        watched, shown, held, before.begun, before.instances,
        stop_on or ("failure" if options.abort_on_container_failure else ""), options.exit_code_from, options.timeout,
    )  # fmt: skip
    rows = [row for row in context.backend.instances(environment.name) if row.service in shown and row.replica]
    names = [row.service if row.replica == 1 else f"{row.service}[{row.replica}]" for row in rows]
    view = LogView(
        terminal, names, prefix=not options.no_log_prefix, timestamps=options.timestamps, as_json=context.json
    )

    def tell(text: str) -> None:
        terminal.stdout.flush()
        terminal.err(text)

    return stay(context.backend, environment, attachment, show=view, tell=tell, emit=context.emit(), hold=hold)


def _speaks(environment: Environment, name: str, asked: list[str]) -> bool:
    """Whether its lines are shown: not where the file says `attach: false`, unless --attach names it."""
    return name in asked or environment.services[name].spec.get("attach", True) is not False
