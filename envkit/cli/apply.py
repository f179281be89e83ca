"""plan and apply; what up, create, scale and down share with them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.base import Materials
    from envkit.cli.context import Context
    from envkit.config.environment import Loaded
    from envkit.events import Emit, Event
    from envkit.observed.state import ObservedState
    from envkit.plan.manner import Manner
    from envkit.plan.model import Plan
    from envkit.plan.wishes import Wishes
    from envkit.spec.environment import Environment

CHANGES = 2
POLICIES = ("always", "missing", "never")


def add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these and what they depend on")
    add_selection(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="save the plan for `envkit apply FILE`")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are changes")
    parser.add_argument("--expect-no-changes", action="store_true", help="exit with 1 when there are changes")


def plan(context: Context) -> int:
    from envkit.plan.planner import make_plan
    from envkit.views.plan import render_plan

    options = context.options
    environment = context.load(options.services).environment
    observed = context.backend.observe(environment)
    made = make_plan(
        environment, observed, context.backend.capabilities(), only=_only(options), replace=tuple(options.replace),
        refresh_only=options.refresh_only,
    )  # fmt: skip
    made = _measured(context, made)
    tell(context, made)
    if options.output:
        _save(made, options.output)
    layers = _layers(context, made, environment, observed.images)
    if context.json:
        from envkit.plan.encode import plan_json
        from envkit.views.diagnostics import diagnostic_json

        said = [diagnostic_json(item) for item in (*environment.warnings, *made.diagnostics)]
        context.print_json(plan_json(made, layers, said))
    else:
        terminal = context.terminal
        terminal.out(render_plan(made, terminal.style, base=context.cwd, files=environment.files, layers=layers))
        if not made.is_empty:
            command = f"envkit apply {options.output}" if options.output else "envkit apply"
            terminal.err(f"\nTo carry it out:\n  {command}")
    changed = not made.is_empty
    if options.expect_no_changes and changed:
        return 1
    return CHANGES if options.detailed_exitcode and changed else 0


def _layers(
    context: Context, made: Plan, environment: Environment, images: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """The layers of the images that the plan builds here: kept, or made and why."""
    specs = {
        change.address.name: change.resource.spec for change in made.effective
        if change.address.kind == "image" and change.resource is not None and "reference" not in change.resource.spec
    }  # fmt: skip
    if not specs or context.backend.name != "embedded":
        return {}
    from envkit.image.foresee import foresee

    wanted: Any = specs
    return foresee(wanted, home=context.home, directory=environment.directory, images=images)


def add_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE|FILE", help="only these services, or a saved plan")
    add_selection(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="the default: return when everything is started")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--build", action="store_true", help="build images again even where their inputs are unchanged")
    parser.add_argument("--frozen", action="store_true", help="build and pull nothing that envkit.lock does not cover")
    parser.add_argument("--pull", choices=POLICIES, default="", help="when to ask registries, for every image")
    parser.add_argument("--quiet-pull", action="store_true", help="do not show how far pulls are")
    parser.add_argument("--wait", action="store_true", help="return when every service is running and healthy")
    parser.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="give up waiting after this long")
    parser.add_argument("--force-recreate", action="store_true", help="replace every service")
    parser.add_argument("--remove-orphans", action="store_true", help="the default: what left the file is removed")
    parser.add_argument("--scale", action="append", default=[], metavar="SERVICE=N", help="another number of replicas")


def apply(context: Context) -> int:
    options = context.options
    if len(options.services) == 1 and options.services[0].endswith((".json", ".plan")):
        return _apply_saved(context, options.services[0])
    loaded = context.load(options.services, write_cache=True)
    wishes = None
    if options.build or options.force_recreate or options.scale:
        from envkit.cli.up import wishes_of

        wishes = wishes_of(context, loaded.environment)
    return converge(context, loaded, wishes)[0]


def converge(
    context: Context, loaded: Loaded, wishes: Wishes | None = None, manner: Manner | None = None
) -> tuple[int, Environment]:
    """Plan, ask where data would be lost, carry out, wait with --wait: (the exit code, the environment as wished)."""
    from envkit.views.plan import render_plan

    options, terminal = context.options, context.terminal
    environment = loaded.environment
    if options.frozen:
        from envkit.cli.lock import freeze

        freeze(environment, context)
    if options.pull:
        from envkit.reconcile.registry import with_policy

        environment = with_policy(environment, options.pull)
    observed = None
    if wishes is not None:
        made, environment = _plan_wishes(context, environment, wishes)
    else:
        from envkit.plan.planner import make_plan

        observed = context.backend.observe(environment, thorough=False)
        flags: dict[str, Any] = {
            "only": _only(options), "replace": tuple(options.replace), "refresh_only": options.refresh_only,
        }  # fmt: skip
        made = make_plan(environment, observed, context.backend.capabilities(), **flags)
        if not made.is_empty and not observed.thorough:
            observed = context.backend.observe(environment)
            made = make_plan(environment, observed, context.backend.capabilities(), **flags)
    made = _measured(context, made)
    tell(context, made)
    if made.is_empty or options.dry_run:
        if not options.dry_run:
            _see_through(context, made, loaded)
            context.backend.maintain(environment.name)
        if context.json:
            context.emit()
        else:
            terminal.out(render_plan(made, terminal.style, base=context.cwd, files=environment.files))
        code = 0
    else:
        if not context.json:
            terminal.err(render_plan(made, terminal.err_style, base=context.cwd) + "\n")
        if not _consents(context, made):
            return 1, environment
        code = carry_out(context, made, environment, loaded.materials, manner, observed=observed)
    if options.wait and not code and not options.dry_run:
        _wait_ready(context, environment)
    return code, environment


def _see_through(context: Context, made: Plan, loaded: Loaded) -> None:
    """An empty plan after an apply that was cut off: what it had left to write down is written."""
    if os.path.exists(context.home.intent(loaded.environment.name)):
        from envkit.reconcile.apply import apply_plan

        apply_plan(
            made, context.backend, loaded.environment, materials=loaded.materials, home=context.home,
            lock_timeout=context.options.lock_timeout,
        )  # fmt: skip


def _measured(context: Context, made: Plan) -> Plan:
    """The plan, which knows how much data it loses or keeps as a snapshot."""
    if not any(change.loses_data or change.snapshot for change in made.changes):
        return made
    from envkit.reconcile.losses import measured

    return measured(made, context.backend)


def _consents(context: Context, made: Plan) -> bool:
    """Whether the user wants to lose the data that the plan would lose."""
    if not made.loses_data or context.options.yes or context.confirm("This would lose data.", "--yes"):
        return True
    context.terminal.err("Nothing was done.")
    return False


def _plan_wishes(context: Context, environment: Environment, wishes: Wishes) -> tuple[Plan, Environment]:
    from envkit.plan.wishes import plan_wishes, wished

    environment = wished(environment, wishes)
    made, environment, orphans = plan_wishes(
        environment, context.backend.observe(environment), context.backend.capabilities(), wishes,
        only=context.options.only, demanded=context.options.replace, refresh_only=context.options.refresh_only,
    )  # fmt: skip
    if orphans and not context.json and not context.is_set("COMPOSE_IGNORE_ORPHANS"):
        style = context.terminal.err_style
        context.terminal.err(
            f"{style('warning', 'bold', 'yellow')}: {', '.join(orphans)} of {environment.name} is in no file; "
            "--remove-orphans removes it"
        )
    return made, environment


def carry_out(
    context: Context, made: Plan, environment: Environment, materials: Materials, manner: Manner | None = None,
    *, command: str = "", observed: ObservedState | None = None,
) -> int:  # fmt: skip
    """Run the plan with its progress; the exit code. command: its name in the journal, where it is another one.
    observed: what the plan was made from, where that was only just looked at."""
    import time

    from envkit.reconcile.apply import AS_WRITTEN, apply_plan
    from envkit.views.outcome import outcome_json, render_outcome

    emit = context.emit()
    if context.json and not made.destroy:  # else the plan has said it
        _warn_of_files(made, emit)
    started = time.monotonic()
    outcome = apply_plan(
        made, context.backend, environment, materials=materials, emit=shown(context, emit),
        parallel=context.parallel(), lock_timeout=context.options.lock_timeout, home=context.home,
        manner=manner or AS_WRITTEN, command=command, observed=observed,
    )  # fmt: skip
    took = time.monotonic() - started
    if context.json:
        emit.write(outcome_json(outcome, took))  # type: ignore[attr-defined]
    else:
        context.terminal.err(render_outcome(outcome, took, context.terminal.err_style, base=context.cwd))
    return 1 if outcome.failed else 0


def _warn_of_files(made: Plan, emit: Emit) -> None:
    """Say which files in containers' own layers are about to be destroyed."""
    from envkit.events import Event, EventKind
    from envkit.plan.encode import lost_files

    for change in made.effective:
        if files := lost_files(change):
            text = f"files written into its own layer will be lost: {', '.join(files)}"
            emit(Event(EventKind.WARNING, str(change.address), change.action.word, text, {"files": list(files)}))


def shown(context: Context, emit: Emit) -> Emit:
    """emit, without how far pulls and builds are where the flags say so."""
    if getattr(context.options, "quiet_pull", False):
        from envkit.cli.registry import without_pulls

        emit = without_pulls(emit)
    if getattr(context.options, "quiet_build", False):
        loud = emit

        def emit(event: Event) -> None:
            if "layer" not in event.data:
                loud(event)

    return emit


def _apply_saved(context: Context, path: str) -> int:
    from envkit.plan.manner import Manner
    from envkit.plan.saved import check_saved
    from envkit.reconcile.saved import read_saved

    loaded = context.load(write_cache=True)
    saved = read_saved(path)
    observed = context.backend.observe(loaded.environment)
    made = check_saved(saved, loaded.environment, observed, context.backend.capabilities())
    if made.is_empty:
        context.terminal.out("No changes. The saved plan is empty.")
        return 0
    made = _measured(context, made)
    if made.loses_data and not context.json:
        from envkit.views.plan import render_plan

        context.terminal.err(render_plan(made, context.terminal.err_style, base=context.cwd) + "\n")
    if not _consents(context, made):
        return 1
    return carry_out(context, made, loaded.environment, loaded.materials, Manner(exact=True))


def _save(made: Plan, path: str) -> None:
    from envkit.reconcile.saved import write_saved

    write_saved(made, path)


def _wait_ready(context: Context, environment: Environment) -> int:
    from envkit.reconcile.ready import wait_ready

    wait_ready(context.backend, environment, timeout=context.options.wait_timeout, emit=context.emit())
    return 0


def tell(context: Context, made: Plan) -> None:
    """Show what the backend cannot honour in full. Raises InputError when something would change its meaning."""
    if any(item.is_error for item in made.diagnostics):
        from envkit.errors import InputError

        raise InputError(made.diagnostics)
    context.show_warnings(made.diagnostics)


def add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", default=[], metavar="ADDRESS", help="only this (repeatable)")
    parser.add_argument("--replace", action="append", default=[], metavar="ADDRESS", help="replace it in any case")
    parser.add_argument("--refresh-only", action="store_true", help="only look for drift")


def _only(options: argparse.Namespace) -> tuple[str, ...]:
    named = [f"service.{name}" for name in options.services]
    return tuple(dict.fromkeys([*options.only, *named]))
