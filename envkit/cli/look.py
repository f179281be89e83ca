"""ps, logs, events, stats, top, port, ls, history."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from envkit.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from envkit.cli.context import Context
    from envkit.observed.state import Instance


def add_ps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("-a", "--all", action="store_true", help="the default: ended instances too")
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument("--services", dest="names_only", action="store_true", help="only the services' names")
    parser.add_argument("--status", action="append", default=[], metavar="STATE", help="only in this state")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def ps(context: Context) -> int:
    from envkit.views.instances import instance_json, render_instances

    options = context.options
    rows = context.backend.instances(context.environment_name())
    if options.services:
        known = {row.service for row in rows}
        for name in options.services:
            if name not in known:
                raise NotFoundError(
                    "no such service here", f"{name!r} has no instance", hint="envkit ps lists them all"
                )
        rows = [row for row in rows if row.service in options.services]
    rows = [row for row in rows if not options.status or row.state in options.status]
    if context.json or options.format == "json":
        context.print_json([instance_json(row) for row in rows])
    elif options.quiet:
        _each(context, [row.id for row in rows])
    elif options.names_only:
        _each(context, list(dict.fromkeys(row.service for row in rows)))
    else:
        context.terminal.out(render_instances(rows, context.terminal.style))
    return 0


def add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    parser.add_argument("-n", "--tail", default="all", metavar="N", help="only the last lines of each instance")
    parser.add_argument("-t", "--timestamps", action="store_true", help="with the time of each line")
    parser.add_argument("--since", metavar="TIME", help="RFC 3339, or how long ago: 10m, 2h")
    parser.add_argument("--until", metavar="TIME", help="RFC 3339, or how long ago")
    parser.add_argument("--no-log-prefix", action="store_true", help="without the service's name")
    parser.add_argument("--index", type=int, metavar="N", help="only this replica")


def logs(context: Context) -> int:
    from envkit.backend.base import LogQuery
    from envkit.views.logs import LogView
    from envkit.views.moments import parse_moment

    options = context.options
    name = context.environment_name()
    addresses = context.addresses(name, options.services)
    tail = None if options.tail == "all" else _number(options.tail, "--tail")
    try:
        since = parse_moment(options.since) if options.since else None
        until = parse_moment(options.until) if options.until else None
    except ValueError as error:
        raise UsageError(str(error), hint="write 10m, 2h, 1h30m or 2026-01-31T12:00:00Z") from error
    query = LogQuery(tuple(options.services), options.follow, tail, since, until, options.index)
    view = LogView(
        context.terminal, [str(address).removeprefix("service.") for address in addresses],
        prefix=not options.no_log_prefix, timestamps=options.timestamps, as_json=context.json,
    )  # fmt: skip
    for entry in context.backend.logs(name, query):
        view(entry)
    return 0


def add_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="RFC 3339, or how long ago: 10m, 2h")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as events come")


def events(context: Context) -> int:
    import json

    from envkit.views.moments import parse_moment

    options = context.options
    try:
        since = parse_moment(options.since) if options.since else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    for row in context.backend.events(context.environment_name(), since=since, follow=options.follow):
        if context.json:
            context.terminal.out(json.dumps(row, ensure_ascii=False))
        else:
            context.terminal.out(
                f"{row['time']}  {row['address']:<20} {row['event']}  {row.get('detail', '')}".rstrip()
            )
        context.terminal.stdout.flush()
    return 0


def add_stats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("--no-stream", action="store_true", help="the default: once")


def stats(context: Context) -> int:
    from envkit.values import as_dict
    from envkit.views.instances import render_usage

    rows = context.backend.usage(context.environment_name())
    wanted = context.options.services
    rows = [row for row in rows if not wanted or row.address.removeprefix("service.").partition("[")[0] in wanted]
    if context.json:
        context.print_json([as_dict(row) for row in rows])
    else:
        context.terminal.out(render_usage(rows, context.terminal.style))
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
    parser.add_argument("private_port", type=int, metavar="PORT")
    parser.add_argument("--protocol", default="tcp", choices=("tcp", "udp", "sctp"))
    parser.add_argument("--index", type=int, default=1, metavar="N")


def port(context: Context) -> int:
    options = context.options
    wanted = f"->{options.private_port}/{options.protocol}"
    for row in context.backend.instances(context.environment_name()):
        if (row.service, row.replica) == (options.service, options.index):
            for text in row.ports:
                if text.endswith(wanted):
                    context.terminal.out(text.removesuffix(wanted))
                    return 0
    raise NotFoundError(
        "no such published port", f"{options.service} does not publish {options.private_port}/{options.protocol}"
    )


def add_ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="only names")


def ls(context: Context) -> int:
    from envkit.views.table import render_table

    names = context.backend.environments()
    rows: list[tuple[str, list[Instance]]] = [(name, context.backend.instances(name)) for name in names]
    if context.json:
        context.print_json(
            [{"name": name, "instances": len(found), "running": _running(found)} for name, found in rows]
        )
    elif context.options.quiet:
        _each(context, names)
    else:
        table = [[name, f"{_running(found)}/{len(found)} running"] for name, found in rows]
        context.terminal.out(render_table(["NAME", "STATUS"], table, context.terminal.style))
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


def _running(rows: list[Instance]) -> int:
    return sum(1 for row in rows if row.state == "running")


def _each(context: Context, lines: list[str]) -> None:
    for line in lines:
        context.terminal.out(line)


def _number(text: Any, flag: str) -> int:
    if not str(text).isdigit():
        raise UsageError(f"{flag} {text}", hint="write a number, or all")
    return int(text)
