"""status: services, what they use and what has drifted, on one screen; --watch goes on."""

from __future__ import annotations

import sys

from envkit.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from envkit.cli.context import Context
    from envkit.config.environment import Loaded
    from envkit.spec.environment import Environment
    from envkit.views.live.feed import Feed
    from envkit.views.live.picture import Picture

THEMES = ("auto", "light", "dark", "ansi")


def add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these")
    parser.add_argument("-w", "--watch", action="store_true", help="go on: the live view, or lines without a terminal")
    add_theme(parser)


def add_theme(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--theme", choices=THEMES, help="the live view's colours (ENVKIT_THEME; auto)")


def status(context: Context) -> int:
    from envkit.views.live.feed import Feed

    options = context.options
    environment, load = _files(context)
    names = [name.removeprefix("service.") for name in options.services]
    _known(context, environment, names)
    only = [name.partition("[")[0] for name in names]
    feed = Feed(
        context.backend, environment, (lambda: load().environment) if load else None, only=only,
        planned=[name for name in only if name in environment.services],
    )  # fmt: skip
    if not options.watch:
        _show(context, feed.look())
        return 0
    if can_draw(context):
        from envkit.cli.live import Keys, draw

        return 130 if draw(context, feed, Keys(context, load), "status") == "interrupt" else 0
    return _lines(context, feed)


def _files(context: Context) -> tuple[Environment, Callable[[], Loaded] | None]:
    """What the files say, as far as they can be read, and how to read them again; None where -p stands for them."""
    environment = context.identify()
    if not environment.files:
        return environment, None

    return environment, lambda: reload(context)


def reload(context: Context) -> Loaded:
    """The files as they are now, without a word. Raises InputError."""
    from envkit.config.environment import load_environment

    return load_environment(context.load_options(), context.home)


def _known(context: Context, environment: Environment, names: list[str]) -> None:
    """Raises NotFoundError for a name that is neither in the files nor here."""
    missing = [name for name in names if name.partition("[")[0] not in environment.services]
    if missing:
        here = {item.service for item in context.backend.instances(environment.name)}
        for name in missing:
            if name.partition("[")[0] not in here:
                known = ", ".join(sorted({*environment.services, *here})) or "nothing"
                raise NotFoundError("no such service", f"{name!r} is not of {environment.name}", f"there is {known}")


def can_draw(context: Context) -> bool:
    """Whether there is a terminal to draw on, and nobody has said that lines are wanted."""
    progress = context.options.progress or context.environ.get("COMPOSE_PROGRESS")
    return (
        context.terminal.interactive and not context.json and progress in (None, "", "auto", "tty")
        and context.environ.get("TERM", "") not in ("", "dumb")
        and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    )  # fmt: skip


def theme(context: Context) -> str:
    """What --theme or ENVKIT_THEME asks for. Raises UsageError."""
    asked: str = context.options.theme or context.environ.get("ENVKIT_THEME") or "auto"
    if asked not in THEMES:
        raise UsageError(f"ENVKIT_THEME is {asked!r}", hint=f"it must be one of {', '.join(THEMES)}")
    return asked


def _show(context: Context, picture: Picture) -> None:
    if context.json:
        from envkit.views.live.picture import picture_json

        context.print_json(picture_json(picture))
        return
    from envkit.views.live.lines import render_status

    terminal = context.terminal
    terminal.out(render_status(picture, terminal.style, terminal.width, base=context.cwd))


def _lines(context: Context, feed: Feed) -> int:
    """A line for every service, then one per change of its state, and of drift; until Ctrl-C."""
    import threading

    from envkit.views.live.lines import Changes

    new = threading.Event()
    changes = Changes(context.terminal.style, as_json=context.json)
    feed.drawn = new.set
    feed.start(logs=False)
    try:
        while True:
            new.wait()
            new.clear()
            for line in changes.lines(feed.picture):
                context.terminal.out(line)
            context.terminal.stdout.flush()
    finally:
        feed.end()
