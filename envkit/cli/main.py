"""`envkit`: read the command line, run the command, turn errors into text and exit codes.

Exit codes: 0 done, 1 failed, 2 changes (only `plan --detailed-exitcode`), 125 a usage error, 130 interrupted; exec and
run pass the process's own.
"""

from __future__ import annotations

import errno
import gc
import os
import sys

from envkit.cli.context import Context
from envkit.cli.flags import overview, parse, summary
from envkit.errors import EnvkitError, UsageError
from envkit.views.terminal import adjusted, open_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.views.terminal import Terminal

_NOT_DRY = frozenset({"build", "pull", "push", "lock", "image", "watch"})
"""What works on files and the store, beside the backend that a dry run replaces."""
FAILED, USAGE, INTERRUPTED = 1, 125, 130
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
"""What the machine lacks, whatever was done."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    gc.set_threshold(100_000, 50, 100)  # a command makes much that lives until its end, and few circles
    words = list(sys.argv[1:] if argv is None else argv)
    terminal = open_terminal(os.environ, no_color="--no-color" in words, plain="--plain" in words)
    debug = "--debug" in words
    as_json = "--json" in words
    try:
        return _run(words, terminal)
    except UsageError as error:
        _show(error, terminal, as_json)
        return USAGE
    except EnvkitError as error:
        if debug:
            raise
        _show(error, terminal, as_json)
        return FAILED
    except KeyboardInterrupt:
        terminal.err("Interrupted.")
        if "envkit.image.skopeo" in sys.modules:  # threads that wait for a registry would keep this process
            from envkit.image.skopeo import give_up

            give_up()
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone (`envkit logs | head`): nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if debug:
            raise
        return _unforeseen(error, terminal)


def _run(words: Sequence[str], terminal: Terminal) -> int:
    command, options = parse(words)
    if command is None:
        if options.version:
            from envkit import __version__

            terminal.out(f"envkit {__version__}")
        else:
            terminal.out(overview() if getattr(options, "help", False) else summary())
        return 0
    handler = getattr(__import__(f"envkit.cli.{command.module}", fromlist=["*"]), command.function)
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        raise EnvkitError(
            "the current directory no longer exists", hint="change to another one and try again"
        ) from None
    context = Context(options, adjusted(terminal, options, os.environ), dict(os.environ), cwd)
    if options.dry_run and command.name in _NOT_DRY:
        raise UsageError(f"{command.name} has no dry run", hint="`envkit plan` says what an apply would do")
    if options.compatibility:
        terminal.err("warning: --compatibility has no effect: names have the form of Compose v2")
    code: int = handler(context)
    terminal.stdout.flush()
    return code


def _show(error: EnvkitError, terminal: Terminal, as_json: bool) -> None:
    if as_json:
        import json

        from envkit.views.diagnostics import error_json

        terminal.out(json.dumps(error_json(error), ensure_ascii=False))
    from envkit.views.diagnostics import render_error

    terminal.err(render_error(error, terminal.err_style, base=os.environ.get("PWD", "")))


def _unforeseen(error: Exception, terminal: Terminal) -> int:
    style = terminal.err_style
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _MACHINE):
        from envkit.errors import way_out

        where = f": {error.filename}" if error.filename is not None else ""
        terminal.err(f"{style('error', 'bold', 'red')}: {error.strerror}{where}")
        terminal.err(f"  {style('help:', 'cyan')} {_of_home(error.filename) or way_out(error)}")
        return FAILED
    terminal.err(f"{style('error', 'bold', 'red')}: {type(error).__name__}: {error}")
    terminal.err("  This is a bug in envkit. Run the command again with --debug and report what it prints.")
    return FAILED


def _of_home(path: object) -> str:
    """What to do where envkit's own directory cannot be made or written to; "" for any other path."""
    from envkit.host.home import Home

    root = Home.from_environ(os.environ).root
    if not isinstance(path, str) or not (f"{path}/".startswith(f"{root}/") or f"{root}/".startswith(f"{path}/")):
        return ""
    who = "" if os.geteuid() == 0 else ", or run envkit with sudo"
    return f"envkit keeps its state in {root}: let ENVKIT_HOME name a directory that can be written to{who}"


def run() -> None:
    """The installed command: main(), and out. What the process holds is the kernel's to clear away, not the
    interpreter's, which would take longer for it than for a command that finds nothing to do."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            continue
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
