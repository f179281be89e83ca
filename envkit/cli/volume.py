"""volume ls, volume rm."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from envkit.errors import UsageError
from envkit.values import as_dict

if TYPE_CHECKING:
    from envkit.cli.context import Context


def add_volume(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", metavar="ls|rm", required=False)
    listing = parts.add_parser("ls", help="list volumes")
    listing.add_argument("--all", action="store_true", help="those of every environment")
    listing.add_argument("--size", action="store_true", help="measure them")
    listing.add_argument("-q", "--quiet", action="store_true", help="only names")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    removing = parts.add_parser("rm", help="remove volumes and their data")
    removing.add_argument("names", nargs="+", metavar="NAME", help="the volume's name, or its key in the file")
    removing.add_argument("--yes", "-y", action="store_true", help="do not ask")


def volume(context: Context) -> int:
    if context.options.part == "rm":
        return _remove(context)
    return _list(context)


def _list(context: Context) -> int:
    from envkit.views.table import bytes_text, render_table

    options = context.options
    everything = getattr(options, "all", False)
    rows = context.backend.volumes(None if everything else context.environment_name())
    if getattr(options, "size", False):
        from envkit.host.tree import tree_size
        from envkit.values import replace

        rows = [replace(row, size=tree_size(row.path)) for row in rows]
    if context.json:
        context.print_json([as_dict(row) for row in rows])
    elif getattr(options, "quiet", False):
        for row in rows:
            context.terminal.out(row.name)
    else:
        table = [
            [row.name, row.environment or "-", row.driver, ", ".join(row.used_by) or "-",
             bytes_text(row.size) if row.size is not None else "-"]
            for row in rows
        ]  # fmt: skip
        context.terminal.out(
            render_table(["NAME", "ENVIRONMENT", "DRIVER", "USED BY", "SIZE"], table, context.terminal.style)
        )
    return 0


def _remove(context: Context) -> int:
    options = context.options
    known = {row.name: row for row in context.backend.volumes(None)}
    names = list(options.names)
    missing = [name for name in names if name not in known]
    if missing:
        environment = context.environment_name()
        by_key = {row.key: row.name for row in known.values() if row.environment == environment}
        names = [by_key.get(name, name) for name in names]
    if not options.yes and not context.confirm(f"This destroys the data in {', '.join(names)}.", "--yes"):
        context.terminal.err("Nothing was done.")
        return 1
    if not names:
        raise UsageError("no volume is named")
    for name in names:
        context.backend.remove_volume(name)
        context.terminal.out(name)
    return 0
