"""up, create and scale: Compose's names and flags for apply."""

from __future__ import annotations

from envkit.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from envkit.cli.context import Context
    from envkit.plan.manner import Manner
    from envkit.plan.wishes import Wishes
    from envkit.spec.environment import Environment

_INCOMPATIBLE = (
    ("force_recreate", "no_recreate"), ("always_recreate_deps", "no_recreate"), ("build", "no_build"),
    ("attach", "attach_dependencies"), ("wait", "no_start"), ("wait", "abort_on_container_exit"),
    ("wait", "abort_on_container_failure"), ("wait", "exit_code_from"), ("wait", "attach"),
    ("wait", "attach_dependencies"),
    ("detach", "abort_on_container_exit"), ("detach", "abort_on_container_failure"), ("detach", "exit_code_from"),
    ("watch", "detach"), ("watch", "wait"), ("watch", "no_start"), ("watch", "abort_on_container_exit"),
    ("watch", "abort_on_container_failure"), ("watch", "exit_code_from"),
    ("view", "no_view"), ("view", "detach"), ("view", "wait"), ("view", "no_start"), ("view", "watch"),
    ("view", "plain"), ("view", "json"),
    ("detach", "attach"), ("detach", "attach_dependencies"), ("no_start", "abort_on_container_exit"),
    ("no_start", "abort_on_container_failure"), ("no_start", "exit_code_from"),
)  # fmt: skip
_ATTACHED = ("attach", "no_attach", "attach_dependencies", "abort_on_container_exit", "abort_on_container_failure",
             "exit_code_from")  # fmt: skip
_LINES = (*_ATTACHED, "no_log_prefix", "timestamps", "no_view")
"""Flags that speak of lines, and so mean them instead of the live view."""


def add_up(parser: argparse.ArgumentParser) -> None:
    from envkit.cli.status import add_theme

    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these and what they depend on")
    parser.add_argument("-d", "--detach", action="store_true", help="return when everything is started")
    parser.add_argument("--wait", action="store_true", help="return when every service is running and healthy")
    parser.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="give up waiting after this long")
    _add_creation(parser)
    parser.add_argument("--always-recreate-deps", action="store_true", help="replace what the services depend on")
    parser.add_argument("--no-deps", action="store_true", help="leave out what the services depend on")
    parser.add_argument("--no-start", action="store_true", help="make everything and start nothing")
    parser.add_argument("-V", "--renew-anon-volumes", action="store_true", help="new anonymous volumes for what is new")
    parser.add_argument("-t", "--timeout", type=float, metavar="SECONDS", help="grace period before a kill")
    parser.add_argument("--attach", action="append", default=[], metavar="SERVICE", help="show only its lines")
    parser.add_argument("--no-attach", action="append", default=[], metavar="SERVICE", help="do not show its lines")
    parser.add_argument("--attach-dependencies", action="store_true", help="show the lines of dependencies as well")
    parser.add_argument("--abort-on-container-exit", action="store_true", help="stop all when one has ended")
    parser.add_argument("--abort-on-container-failure", action="store_true", help="stop all when one has failed")
    parser.add_argument("--exit-code-from", default="", metavar="SERVICE", help="stop all when one has ended; its code")
    parser.add_argument("--no-log-prefix", action="store_true", help="lines without the service's name")
    parser.add_argument("--timestamps", action="store_true", help="lines with their time")
    parser.add_argument("--menu", action="store_true", help="accepted; there is no menu")
    parser.add_argument("-w", "--watch", action="store_true", help="rebuild and refresh as files change")
    parser.add_argument("--view", action="store_true", help="the live view (the default of envkit.yaml on a terminal)")
    parser.add_argument("--no-view", action="store_true", help="lines on a terminal, too")
    add_theme(parser)
    _add_envkit(parser)


def up(context: Context) -> int:
    options = context.options
    _refuse(options)
    if options.no_start:
        return create(context)
    attached = not (options.detach or options.wait or options.dry_run)
    if not attached and any(getattr(options, name) for name in _ATTACHED):
        raise UsageError("nothing is attached with -d, --wait or --dry-run", hint="leave them out")
    from envkit.cli.apply import converge

    if attached and options.watch:
        return _watching(context)
    loaded = context.load(options.services, write_cache=True)
    wishes = wishes_of(context, loaded.environment)
    if not attached:
        return converge(context, loaded, wishes, _manner(options))[0]
    from envkit.cli.attached import Before, follow

    viewed = _is_viewed(context, loaded.environment)
    before = Before.take(context, loaded.environment)
    try:
        code, environment = converge(context, loaded, wishes, _manner(options))
    except KeyboardInterrupt:
        before.restore(context, loaded.environment)
        raise
    if viewed and not code:
        from envkit.cli.live import follow as follow_in_view

        return follow_in_view(context, environment, wishes)
    return code or follow(context, environment, before)


def _is_viewed(context: Context, environment: Environment) -> bool:
    """Whether an attached up opens the live view: for envkit.yaml on a terminal, unless lines are asked for."""
    from envkit.cli.status import can_draw, theme

    options = context.options
    lines = [name for name in _LINES if getattr(options, name)]
    if not options.view:
        return environment.hardened and not lines and can_draw(context)
    if lines:
        raise UsageError(f"--view and --{lines[0].replace('_', '-')} exclude each other", hint="leave one of them out")
    if not can_draw(context):
        raise UsageError("--view needs a terminal", hint="leave --view out for lines")
    theme(context)
    return True


def _watching(context: Context) -> int:
    """`up --watch`: the services' lines, and whatever a change leads to."""
    from envkit.cli.apply import converge
    from envkit.cli.attached import Before, follow
    from envkit.cli.watch import beside, load

    loaded = load(context)
    context.show_warnings(loaded.environment.warnings)
    wishes = wishes_of(context, loaded.environment)
    with beside(context, loaded, wishes) as watcher:
        before = Before.take(context, loaded.environment)
        code, environment = converge(context, loaded, wishes, _manner(context.options))
        if code:
            return code
        watcher.start()
        return follow(context, environment, before, hold=watcher.end)


def add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these and what they depend on")
    _add_creation(parser)
    _add_envkit(parser)


def create(context: Context) -> int:
    from envkit.cli.apply import converge
    from envkit.values import replace

    options = context.options
    _refuse(options)
    options.wait = False
    loaded = context.load(options.services, write_cache=True)
    return converge(
        context, loaded, wishes_of(context, loaded.environment), replace(_manner(options), start=False)
    )[0]


def add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scale", nargs="+", metavar="SERVICE=N", help="how many replicas")
    parser.add_argument("--no-deps", action="store_true", help="leave out what the services depend on")


def scale(context: Context) -> int:
    from envkit.cli.apply import converge
    from envkit.plan.wishes import Wishes

    options = context.options
    numbers = _numbers(options.scale)
    options.only, options.replace, options.refresh_only = [], [], False
    options.pull, options.yes, options.wait, options.frozen = "", False, False, False
    loaded = context.load(tuple(numbers), write_cache=True)
    wishes = Wishes(tuple(numbers), no_deps=options.no_deps, scale=numbers, keep_orphans=True)
    return converge(context, loaded, wishes)[0]


def wishes_of(context: Context, environment: Environment) -> Wishes:
    """What the flags of apply, up or create ask for."""
    from envkit.plan.wishes import Wishes

    options = context.options
    asked = options.remove_orphans or context.is_set("COMPOSE_REMOVE_ORPHANS")
    keeps = options.called_as in ("up", "create") and not environment.hardened and not asked
    known: frozenset[str] = frozenset()
    if asked and options.services:
        whole = context.load().environment
        known = frozenset((*whole.services, *whole.disabled))
    return Wishes(
        tuple(options.services), no_deps=getattr(options, "no_deps", False), build=options.build,
        no_build=getattr(options, "no_build", False), force_recreate=options.force_recreate,
        no_recreate=getattr(options, "no_recreate", False),
        always_recreate_deps=getattr(options, "always_recreate_deps", False), scale=_numbers(options.scale),
        keep_orphans=keeps, remove_orphans=asked, known=known,
    )  # fmt: skip


def _manner(options: argparse.Namespace) -> Manner:
    from envkit.plan.manner import Manner

    timeout = getattr(options, "timeout", None)
    return Manner(timeout=timeout, drop_anonymous=getattr(options, "renew_anon_volumes", False))


def _refuse(options: argparse.Namespace) -> None:
    for one, other in _INCOMPATIBLE:
        if getattr(options, one, False) and getattr(options, other, False):
            flags = [f"--{name.replace('_', '-')}" for name in (one, other)]
            raise UsageError(f"{flags[0]} and {flags[1]} exclude each other", hint="leave one of them out")


def _numbers(words: list[str]) -> dict[str, int]:
    from envkit.plan.wishes import scaled

    try:
        return scaled(words)
    except ValueError as error:
        raise UsageError(f"--scale {error}", hint="write it as SERVICE=N") from error


def _add_creation(parser: argparse.ArgumentParser) -> None:
    from envkit.cli.apply import POLICIES

    parser.add_argument("--build", action="store_true", help="build images first, even where nothing has changed")
    parser.add_argument("--no-build", action="store_true", help="build nothing")
    parser.add_argument("--frozen", action="store_true", help="build and pull nothing that envkit.lock does not cover")
    parser.add_argument("--pull", choices=POLICIES, default="", help="when to ask registries, for every image")
    parser.add_argument("--force-recreate", action="store_true", help="replace instances that are as they should be")
    parser.add_argument("--no-recreate", action="store_true", help="replace no instance that is there")
    parser.add_argument("--remove-orphans", action="store_true", help="remove services that are in no file")
    parser.add_argument("--scale", action="append", default=[], metavar="SERVICE=N", help="another number of replicas")
    parser.add_argument("--quiet-pull", action="store_true", help="do not show how far pulls are")
    parser.add_argument("--quiet-build", action="store_true", help="do not show what builds print")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _add_envkit(parser: argparse.ArgumentParser) -> None:
    """envkit's own selection, as apply has it."""
    from envkit.cli.apply import add_selection

    add_selection(parser)
