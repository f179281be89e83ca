"""plan, apply, down."""

from __future__ import annotations

from envkit.errors import EnvkitError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from envkit.backend.base import Materials
    from envkit.cli.context import Context
    from envkit.plan.model import Plan
    from envkit.spec.environment import Environment

CHANGES = 2


def add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these and what they depend on")
    _add_selection(parser)
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
    _refuse_errors(made)
    if options.output:
        _save(made, options.output)
    if context.json:
        from envkit.plan.encode import plan_json

        context.print_json(plan_json(made))
    else:
        terminal = context.terminal
        terminal.out(render_plan(made, terminal.style, base=context.cwd, files=environment.files))
        if not made.is_empty:
            command = f"envkit apply {options.output}" if options.output else "envkit apply"
            terminal.err(f"\nTo carry it out:\n  {command}")
    changed = not made.is_empty
    if options.expect_no_changes and changed:
        return 1
    return CHANGES if options.detailed_exitcode and changed else 0


def add_apply(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE|FILE", help="only these services, or a saved plan")
    _add_selection(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="the default: return when everything is started")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("--build", action="store_true", help="build images again even where their inputs are unchanged")
    parser.add_argument("--wait", action="store_true", help="return when every service is running and healthy")
    parser.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="give up waiting after this long")
    parser.add_argument("--force-recreate", action="store_true", help="replace every service")
    parser.add_argument("--remove-orphans", action="store_true", help="the default: what left the file is removed")
    parser.add_argument("--scale", action="append", default=[], metavar="SERVICE=N", help="another number of replicas")


def apply(context: Context) -> int:
    from envkit.plan.planner import make_plan
    from envkit.views.plan import render_plan

    options = context.options
    if len(options.services) == 1 and options.services[0].endswith((".json", ".plan")):
        return _apply_saved(context, options.services[0])
    loaded = context.load(options.services, write_cache=True)
    environment = _scaled(loaded.environment, options.scale)
    observed = context.backend.observe(environment)
    replace = tuple(options.replace)
    if options.force_recreate:
        replace += tuple(f"service.{name}" for name in environment.services)
    if options.build:
        replace += tuple(str(address) for address in environment.resources if address.kind == "image")
    made = make_plan(
        environment, observed, context.backend.capabilities(), only=_only(options), replace=replace,
        refresh_only=options.refresh_only,
    )  # fmt: skip
    _refuse_errors(made)
    terminal = context.terminal
    if made.is_empty:
        context.backend.maintain(environment.name)
        if context.json:
            context.emit()
        else:
            terminal.out(render_plan(made, terminal.style, base=context.cwd, files=environment.files))
        return _wait_ready(context, environment) if options.wait else 0
    if not context.json:
        terminal.err(render_plan(made, terminal.err_style, base=context.cwd) + "\n")
    if made.loses_data and not (options.yes or context.confirm("This would lose data.", "--yes")):
        terminal.err("Nothing was done.")
        return 1
    code = _carry_out(context, made, environment, loaded.materials)
    return code or (_wait_ready(context, environment) if options.wait else 0)


def add_down(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-v", "--volumes", action="store_true", help="remove the volumes and their data as well")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("-t", "--timeout", type=float, metavar="SECONDS", help="grace period before a kill")
    parser.add_argument("--remove-orphans", action="store_true", help="the default")


def down(context: Context) -> int:
    from envkit.config.materials import NoMaterials
    from envkit.plan.destroy import make_destroy_plan
    from envkit.views.plan import render_plan

    options, terminal = context.options, context.terminal
    environment = context.identify()
    observed = context.backend.observe(environment)
    made = make_destroy_plan(observed, volumes=options.volumes, timeout=options.timeout)
    if made.is_empty:
        context.backend.maintain(environment.name)
        if context.json:
            context.emit()
        else:
            terminal.out(f"Nothing to remove: there is nothing of {environment.name}.")
        return 0
    if made.loses_data and not options.yes:
        terminal.err(render_plan(made, terminal.err_style, base=context.cwd) + "\n")
        if not context.confirm("This destroys the data in the volumes above.", "--yes"):
            terminal.err("Nothing was done.")
            return 1
    return _carry_out(context, made, environment, NoMaterials())


def _carry_out(context: Context, made: Plan, environment: Environment, materials: Materials) -> int:
    """Run the plan with its progress; the exit code."""
    import time

    from envkit.reconcile.apply import apply_plan
    from envkit.views.outcome import outcome_json, render_outcome

    emit = context.emit()
    started = time.monotonic()
    outcome = apply_plan(
        made, context.backend, environment, materials=materials, emit=emit, parallel=context.parallel(),
        lock_timeout=context.options.lock_timeout, home=context.home,
    )  # fmt: skip
    took = time.monotonic() - started
    if context.json:
        emit.write(outcome_json(outcome, took))  # type: ignore[attr-defined]
    else:
        context.terminal.err(render_outcome(outcome, took, context.terminal.err_style, base=context.cwd))
    return 1 if outcome.failed else 0


def _apply_saved(context: Context, path: str) -> int:
    from envkit.plan.saved import check_saved
    from envkit.reconcile.saved import read_saved

    loaded = context.load(write_cache=True)
    saved = read_saved(path)
    observed = context.backend.observe(loaded.environment)
    made = check_saved(saved, loaded.environment, observed, context.backend.capabilities())
    if made.is_empty:
        context.terminal.out("No changes. The saved plan is empty.")
        return 0
    return _carry_out(context, made, loaded.environment, loaded.materials)


def _save(made: Plan, path: str) -> None:
    from envkit.reconcile.saved import write_saved

    write_saved(made, path)


def _wait_ready(context: Context, environment: Environment) -> int:
    from envkit.reconcile.ready import wait_ready

    wait_ready(context.backend, environment, timeout=context.options.wait_timeout, emit=context.emit())
    return 0


def _refuse_errors(made: Plan) -> None:
    errors = [item for item in made.diagnostics if item.is_error]
    if errors:
        from envkit.errors import InputError

        raise InputError(made.diagnostics)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", default=[], metavar="ADDRESS", help="only this (repeatable)")
    parser.add_argument("--replace", action="append", default=[], metavar="ADDRESS", help="replace it in any case")
    parser.add_argument("--refresh-only", action="store_true", help="only look for drift")


def _only(options: argparse.Namespace) -> tuple[str, ...]:
    named = [f"service.{name}" for name in options.services]
    return tuple(dict.fromkeys([*options.only, *named]))


def _scaled(environment: Environment, words: list[str]) -> Environment:
    """The environment with the replicas of --scale. Raises UsageError."""
    if not words:
        return environment
    from envkit.address import Address
    from envkit.digest import fingerprint
    from envkit.values import replace

    resources = dict(environment.resources)
    for word in words:
        name, equals, number = word.partition("=")
        address = Address("service", name)
        if not equals or not number.isdigit():
            raise UsageError(f"--scale {word}", hint="write it as SERVICE=N")
        if address not in resources:
            raise EnvkitError(
                "no such service", f"--scale names {name!r}", hint=f"there is {', '.join(environment.services)}"
            )
        spec = {**resources[address].spec, "replicas": int(number)}
        resources[address] = replace(resources[address], spec=spec, fingerprint=fingerprint(spec))
    return replace(environment, resources=resources)
