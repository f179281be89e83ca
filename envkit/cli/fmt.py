"""fmt: lay YAML out."""

from __future__ import annotations

import os
import sys

from envkit.errors import EnvkitError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from envkit.cli.context import Context


def add_fmt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="other files than the project's; - is stdin to stdout")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file would change")
    parser.add_argument("--diff", action="store_true", help="write nothing; show what would change")


def fmt(context: Context) -> int:
    from envkit.config.format import formatted
    from envkit.host.files import write_atomic

    options, terminal = context.options, context.terminal
    changed = []
    for name in options.files or _own_files(context):
        before = _read(name)
        after = formatted(before, name)
        if name == "-":
            terminal.stdout.write(after)
        if before == after:
            continue
        changed.append(name)
        if options.diff:
            terminal.out(_difference(before, after, _short(name, context.cwd)))
        elif not options.check and name != "-":
            path = os.path.realpath(name)
            write_atomic(path, after.encode(), os.stat(path).st_mode & 0o7777)
    dry = options.check or options.diff
    if context.json:
        context.print_json({"changed": [os.path.abspath(name) for name in changed], "written": not dry})
    elif "-" not in options.files and not options.diff:
        verb = "would change" if dry else "formatted"
        for name in changed:
            terminal.out(f"{_short(name, context.cwd)}: {verb}")
        if not changed:
            terminal.out("Nothing to format.")
    return 1 if options.check and changed else 0


def _own_files(context: Context) -> list[str]:
    from envkit.config.lookup import locate
    from envkit.config.sources import Sources
    from envkit.diagnostics import Diagnostics

    problems = Diagnostics()
    found = locate(context.load_options(()), Sources(), problems)
    problems.raise_if_errors()
    return [file for file in found.files if file != "-"]


def _read(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read()
        with open(name, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise NotFoundError("A file does not exist", name) from None
    except UnicodeDecodeError as error:
        raise EnvkitError("A file is no text", f"{name}: {error.reason} at byte {error.start}") from None


def _short(name: str, base: str) -> str:
    return os.path.relpath(name, base) if os.path.abspath(name).startswith(base + os.sep) else name


def _difference(before: str, after: str, name: str) -> str:
    import difflib

    rows = difflib.unified_diff(before.splitlines(), after.splitlines(), name, f"{name} (formatted)", lineterm="")
    return "\n".join(rows)
