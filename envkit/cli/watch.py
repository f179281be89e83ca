"""watch, and what `up --watch` shares with it."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager

from envkit.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

    from envkit.cli.context import Context
    from envkit.config.environment import Loaded
    from envkit.config.inputs import Asked
    from envkit.diagnostics import Diagnostic
    from envkit.events import Emit, Event
    from envkit.plan.wishes import Wishes
    from envkit.reconcile.watch.round import Round
    from envkit.reconcile.watch.watcher import Watcher


def add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these and what they depend on")
    parser.add_argument("--no-up", action="store_true", help="apply nothing first: watch what is running")
    parser.add_argument("--down", action="store_true", help="remove the environment when watching ends")
    parser.add_argument("--prune", action="store_true", default=True, help="remove images that a rebuild has replaced")
    parser.add_argument("--quiet", action="store_true", help="do not show what builds print")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before the first apply")


def watch(context: Context) -> int:
    from envkit.cli.apply import converge
    from envkit.cli.down import take_down

    options = context.options
    options.only, options.replace, options.refresh_only = [], [], False
    options.pull, options.wait, options.frozen, options.quiet_build = "", False, False, options.quiet
    if context.json:
        _keep_stdout(context)
    loaded = load(context)
    context.show_warnings(loaded.environment.warnings)
    watcher = watcher_of(context, load, loaded.environment.warnings)
    with interruptible():
        try:
            notes = watcher.begin(loaded)
            if options.no_up or not converge(context, loaded)[0]:
                watcher.applied()
            try:
                tell_beginning(context, watcher, notes)
                watcher.run()
            except KeyboardInterrupt:
                _tell(context, f"Stopped watching; {loaded.environment.name} runs on.")
        finally:
            watcher.close()
    return take_down(context, [], yes=True) if options.down else 0


def _keep_stdout(context: Context) -> None:
    """The stream of JSON is ours alone: what commands of `sync+exec` print goes to stderr."""
    context.terminal.stdout.flush()
    context.terminal.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape")
    os.dup2(2, 1)


class Beside:
    """A Watcher in a thread of its own, for `up --watch`."""

    def __init__(self, context: Context, watcher: Watcher, notes: list[str]) -> None:
        self._context, self._watcher, self._notes = context, watcher, notes
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Everything has been applied."""
        self._watcher.applied()
        tell_beginning(self._context, self._watcher, self._notes)
        self._thread = threading.Thread(target=self._watcher.run, name="watch")
        self._thread.start()

    def end(self) -> None:
        """The round that is under way is finished; harmless to repeat."""
        self._watcher.stop()
        if self._thread is not None:
            self._thread.join()
        self._watcher.close()


@contextmanager
def beside(context: Context, loaded: Loaded, wishes: Wishes) -> Iterator[Beside]:
    """Remember how everything is now, and be ready to watch. wishes: what the command line changes about the files."""
    from envkit.plan.wishes import wished
    from envkit.reconcile.registry import with_policy

    def again(context: Context, held: Mapping[Asked, str] | None = None) -> Loaded:
        fresh = load(context, held)
        fresh.environment = wished(fresh.environment, wishes)
        if context.options.pull:
            fresh.environment = with_policy(fresh.environment, context.options.pull)
        return fresh

    watcher = watcher_of(context, again, loaded.environment.warnings)
    made = Beside(context, watcher, watcher.begin(loaded))
    try:
        yield made
    finally:
        made.end()


def load(context: Context, held: Mapping[Asked, str] | None = None) -> Loaded:
    """Compile the files, without the cache: watching needs to know what was asked on the way. Raises InputError."""
    from envkit.config.environment import load_environment

    if "-" in (context.options.file or ()):
        raise UsageError("stdin cannot be watched", hint="write it to a file")
    options = context.load_options(context.options.services)
    return load_environment(options, context.home, write_cache=True, held=held or {})


def watcher_of(context: Context, compiled: Callable[..., Loaded], warnings: Iterable[Diagnostic]) -> Watcher:
    """A Watcher of this command line. warnings: those that have been shown."""
    from envkit.config.inputs import tree_digest
    from envkit.reconcile.watch.converge import Converger
    from envkit.reconcile.watch.watcher import Watcher

    options = context.options
    progress = context.emit()
    emit = _emit(context, progress)
    told = list(warnings)

    def again(held: Mapping[Asked, str]) -> Loaded:
        loaded = compiled(context, held)
        new = [item for item in loaded.environment.warnings if item not in told]
        told.extend(new)
        context.show_warnings(new)
        return loaded

    def digest(asked: Asked) -> str | None:
        try:
            return tree_digest(context.home, *asked, write=True)
        except FileNotFoundError:
            return None

    converger = Converger(
        context.backend, context.home, emit, only=tuple(f"service.{name}" for name in options.services),
        parallel=context.parallel(), lock_timeout=options.lock_timeout,
        built=(lambda: _prune(context)) if getattr(options, "prune", True) else (lambda: None),
    )  # fmt: skip
    return Watcher(
        context.backend, again, digest, converger, lambda made: _show(context, made, progress),
        emit=emit, services=tuple(options.services),
    )  # fmt: skip


def tell_beginning(context: Context, watcher: Watcher, notes: list[str]) -> None:
    """Say what is watched, and which rules are not."""
    style = context.terminal.err_style
    if not context.json:
        for note in notes:
            context.terminal.err(f"{style('warning', 'bold', 'yellow')}: {note}")
    rules = len(watcher.rules)
    what = f" and {rules} rule{'s' * (rules != 1)}" if rules else ""
    if context.json:
        line = {"type": "watching", "environment": watcher.environment.name, "rules": list(map(str, watcher.rules)),
                "warnings": notes}  # fmt: skip
        context.emit().write(line)  # type: ignore[attr-defined]
    _tell(context, f"Watching {watcher.environment.name}: its files{what}. Ctrl-C ends it.")


def _tell(context: Context, text: str) -> None:
    if not context.json:
        context.terminal.err(text)


def _emit(context: Context, progress: Emit) -> Emit:
    """What happens within a round: the round's own line says what was done."""
    from envkit.cli.apply import shown
    from envkit.events import EventKind

    loud = shown(context, progress)
    if context.json:
        return loud

    def emit(event: Event) -> None:
        if event.kind not in (EventKind.STARTED, EventKind.DONE, EventKind.SKIPPED, EventKind.FAILED):
            loud(event)

    return emit


def _show(context: Context, made: Round, progress: Emit) -> None:
    from envkit.views.progress import LineProgress
    from envkit.views.watch import render_round, round_json

    if isinstance(progress, LineProgress):
        progress.clear()

    if context.json:
        context.emit().write(round_json(made))  # type: ignore[attr-defined]
        return
    context.terminal.err(render_round(made, context.terminal.err_style, base=context.cwd))


def _prune(context: Context) -> None:
    """What `gc` removes of images."""
    from envkit.errors import ConflictError
    from envkit.image.gc import collect
    from envkit.image.store import Store
    from envkit.lean import suppress
    from envkit.reconcile.generations import images_to_go_back

    names = context.backend.environments()
    in_use = {item for name in names for item in context.backend.images_in_use(name)}
    with suppress(ConflictError):  # somebody works with the store: after the next build, then
        collect(Store(context.home), in_use=in_use | images_to_go_back(context.home, names))


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends watching as Ctrl-C does."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
