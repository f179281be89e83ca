"""ps, top, port, ls, volumes, history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envkit.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import argparse

    from envkit.cli.context import Context
    from envkit.observed.state import Instance

_STATES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")


def add_ps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("-a", "--all", action="store_true", help="the default: ended instances too")
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument("--services", dest="names_only", action="store_true", help="only the services' names")
    parser.add_argument("--status", action="append", default=[], choices=_STATES, help="only in this state")
    parser.add_argument("--filter", action="append", default=[], metavar="status=STATE", help="the same")
    parser.add_argument("--orphans", action="store_true", default=True, help="services in no file too (the default)")
    parser.add_argument("--no-orphans", dest="orphans", action="store_false", help="without them")
    parser.add_argument("--no-trunc", action="store_true", help="accepted: nothing is cut")
    parser.add_argument("--format", default="table", metavar="FORM", help="table, json, or a Go template")


def ps(context: Context) -> int:
    from envkit.views.instances import instance_json, render_instances

    options = context.options
    environment = context.identify()
    rows = context.backend.instances(environment.name)
    for name in options.services:
        if name not in {row.service for row in rows} and environment.get("service", name) is None:
            raise NotFoundError("no such service", f"{name!r}", hint="envkit ps lists them all")
    wanted = [*options.status, *(_status(text) for text in options.filter)]
    known = {*environment.services, *environment.disabled}
    rows = [
        row for row in rows
        if (not options.services or row.service in options.services) and (not wanted or row.state in wanted)
        and (options.orphans or row.service in known)
    ]  # fmt: skip
    if context.json:
        context.print_json([instance_json(row) for row in rows])
    elif options.quiet:
        _each(context, [row.id for row in rows])
    elif options.names_only:
        _each(context, list(dict.fromkeys(row.service for row in rows)))
    elif options.format in ("", "table"):
        context.terminal.out(render_instances(rows, context.terminal.style))
    else:
        from envkit.views.compose import PS, ps_row

        _print(context, options.format, [ps_row(row, environment.name) for row in rows], PS)
    return 0


def add_top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")


def top(context: Context) -> int:
    from envkit.views.table import render_table

    found = context.backend.processes(context.environment_name(), context.options.services)
    if context.json:
        context.print_json(found)
        return 0
    for address, rows in found.items():
        context.terminal.out(context.terminal.style(address, "bold"))
        if rows:
            head = list(rows[0])
            table = render_table(head, [[row.get(key, "") for key in head] for row in rows], context.terminal.style)
            context.terminal.out(table + "\n")
    return 0


def add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("private_port", metavar="PORT[/PROTOCOL]")
    parser.add_argument("--protocol", default="", choices=("tcp", "udp", "sctp"), help="tcp when not given")
    parser.add_argument("--index", type=int, default=1, metavar="N", help="which replica")


def port(context: Context) -> int:
    options = context.options
    number, _, protocol = options.private_port.partition("/")
    if not number.isdigit():
        raise UsageError(f"{options.private_port} is no port", hint="envkit port web 80")
    protocol = options.protocol or protocol or "tcp"
    wanted = f"->{number}/{protocol}"
    for row in context.backend.instances(context.environment_name()):
        if (row.service, row.replica) == (options.service, options.index or 1):
            for text in row.ports:
                if text.endswith(wanted):
                    place = text.removesuffix(wanted)
                    address, _, published = (place if ":" in place else f"0.0.0.0:{place}").rpartition(":")
                    if context.json:
                        context.print_json({"address": address.strip("[]"), "port": int(published)})
                    else:
                        context.terminal.out(f"{address}:{published}")
                    return 0
    detail = f"{options.service} does not publish {number}/{protocol}"
    raise NotFoundError("no such published port", detail, "`envkit ps` shows the published ports")


def add_ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="the default: those that do not run too")
    parser.add_argument("-q", "--quiet", action="store_true", help="only names")
    parser.add_argument("--filter", action="append", default=[], metavar="name=REGEX", help="only these names")
    parser.add_argument("--format", default="table", metavar="FORM", help="table, json, or a Go template")


def ls(context: Context) -> int:
    from envkit.views.compose import LS, ls_row
    from envkit.views.table import render_table

    options = context.options
    names = [name for name in context.backend.environments() if all(_is_named(name, text) for text in options.filter)]
    rows: list[tuple[str, list[Instance]]] = [(name, context.backend.instances(name)) for name in names]
    rows = [(name, found) for name, found in rows if found or context.backend.volumes(name)]  # more than images
    if options.quiet:
        _each(context, [name for name, _ in rows])
        return 0
    if context.json:
        context.print_json(
            [{"name": name, "instances": len(found), "running": _running(found)} for name, found in rows]
        )
    elif options.format == "json":
        context.print_json([ls_row(name, found) for name, found in rows])
    elif options.format not in ("", "table"):
        _print(context, options.format, [ls_row(name, found) for name, found in rows], LS)
    else:
        table = [[name, f"{_running(found)}/{len(found)} running"] for name, found in rows]
        context.terminal.out(render_table(["NAME", "STATUS"], table, context.terminal.style))
    return 0


def add_volumes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only those that these use")
    parser.add_argument("-q", "--quiet", action="store_true", help="only names")
    parser.add_argument("--format", default="table", metavar="FORM", help="table, json, or a Go template")


def volumes(context: Context) -> int:
    from envkit.values import as_dict
    from envkit.views.compose import VOLUMES, volume_row

    options = context.options
    name = context.environment_name()
    rows = context.backend.volumes(name)
    if options.services:
        wanted = {f"{name}/{address}" for address in context.addresses(name, options.services)}
        rows = [row for row in rows if wanted & set(row.used_by)]
    if context.json:
        context.print_json([as_dict(row) for row in rows])
    elif options.quiet:
        _each(context, [row.name for row in rows])
    else:
        _print(context, options.format, [volume_row(row) for row in rows], VOLUMES)
    return 0


def add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--last", type=int, default=20, metavar="N", help="how many (20)")


def history(context: Context) -> int:
    from envkit.reconcile.journal import read_journal
    from envkit.views.history import render_history

    entries = read_journal(context.home, context.environment_name())[-context.options.last :]
    if context.json:
        context.print_json(entries)
    else:
        context.terminal.out(render_history(entries, context.terminal.style))
    return 0


def _status(text: str) -> str:
    key, _, state = text.partition("=")
    if key != "status" or state not in _STATES:
        raise UsageError(f"--filter {text}", hint=f"write status= and one of {', '.join(_STATES)}")
    return state


def _is_named(name: str, text: str) -> bool:
    import re

    key, _, pattern = text.partition("=")
    if key != "name":
        raise UsageError(f"--filter {text}", hint="write name= and a regular expression")
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise UsageError(f"--filter {text}: {error}", hint="write name= and a regular expression") from error


def _running(rows: list[Instance]) -> int:
    return sum(1 for row in rows if row.state == "running")


def _print(context: Context, form: str, rows: list[dict[str, object]], columns: tuple[str, ...]) -> None:
    from envkit.cli.stream import formatted_rows

    if text := formatted_rows(context, form, rows, columns):
        context.terminal.out(text)


def _each(context: Context, lines: list[str]) -> None:
    for line in lines:
        context.terminal.out(line)
