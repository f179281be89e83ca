"""logs, events, stats: what comes as time goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envkit.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from envkit.backend.base import Usage
    from envkit.cli.context import Context


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

    options = context.options
    name = context.environment_name()
    names = [item.removeprefix("service.") for item in options.services]
    index = options.index
    if len(names) == 1 and names[0].endswith("]"):  # web[2]
        names[0], _, number = names[0][:-1].partition("[")
        index = _number(number, "a replica")
    addresses = context.addresses(name, names)
    tail = None if options.tail in ("all", "-1") else _number(options.tail, "--tail")
    query = LogQuery(tuple(names), options.follow, tail, moment(options.since), moment(options.until), index)
    view = LogView(
        context.terminal, [str(address).removeprefix("service.") for address in addresses],
        prefix=not options.no_log_prefix, timestamps=options.timestamps, as_json=context.json,
    )  # fmt: skip
    for entry in context.backend.logs(name, query):
        view(entry)
    return 0


def add_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("--since", metavar="TIME", help="begin then: RFC 3339, or how long ago: 10m, 2h")
    parser.add_argument("--until", metavar="TIME", help="end then: RFC 3339, or how long ago")
    parser.add_argument("-f", "--follow", action="store_true", help="the default: go on as events come")
    parser.add_argument("--no-follow", action="store_true", help="what has happened so far")


def events(context: Context) -> int:
    import json
    import signal
    import time

    options = context.options
    since, until = moment(options.since), moment(options.until)
    if options.follow and options.no_follow:
        raise UsageError("--follow and --no-follow exclude each other", hint="leave one of them out")
    past = until is not None and until <= time.time()
    follow = not (options.no_follow or past)
    if follow and since is None:
        since = time.time()
    if follow and until is not None:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, max(0.001, until - time.time()))
    try:
        for row in context.backend.events(context.environment_name(), since=since, follow=follow):
            if _is_later(row["time"], until):
                break
            service, _, replica = row["address"].removeprefix("service.").partition("[")
            if options.services and service not in options.services:
                continue
            if context.json:
                action = {"type": "container", "service": service, "replica": int(replica[:-1] or 1) if replica else 1,
                          "action": row["event"]}  # fmt: skip
                context.terminal.out(json.dumps({**row, **action}, ensure_ascii=False))
            else:
                context.terminal.out(
                    f"{row['time']}  {row['address']:<20} {row['event']}  {row.get('detail', '')}".rstrip()
                )
            context.terminal.stdout.flush()
    except KeyboardInterrupt:
        if until is None or time.time() < until:
            raise
    return 0


def add_stats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("-a", "--all", action="store_true", help="those that do not run as well")
    parser.add_argument("--no-stream", action="store_true", help="once (the default where stdout is no terminal)")
    parser.add_argument("--no-trunc", action="store_true", help="accepted: nothing is cut")
    parser.add_argument("--format", default="table", metavar="FORM", help="table, json, or a Go template")


def stats(context: Context) -> int:
    import time

    from envkit.values import as_dict

    options, terminal = context.options, context.terminal
    name = context.environment_name()
    if context.json:
        context.print_json([as_dict(row) for row in _usage(context, name)])
        return 0
    streams = not options.no_stream and terminal.stdout.isatty()
    while True:
        text = _stats_text(context, _usage(context, name))
        if streams:
            terminal.stdout.write("\x1b[H\x1b[2J")
        if text:
            terminal.out(text)
        terminal.stdout.flush()
        if not streams:
            return 0
        time.sleep(0.8)


def _stats_text(context: Context, rows: list[Usage]) -> str:
    form = context.options.format
    if form in ("", "table"):
        from envkit.views.instances import render_usage

        return render_usage(rows, context.terminal.style)
    from envkit.views.compose import STATS, stats_row

    return formatted_rows(context, form, [stats_row(row) for row in rows], STATS)


def _usage(context: Context, name: str) -> list[Usage]:
    from envkit.backend.base import Usage

    options = context.options
    rows = context.backend.usage(name)
    if options.all:
        known = {row.address for row in rows}
        resting = [str(address) for address in context.addresses(name, ()) if str(address) not in known]
        rows += [Usage(address, 0.0, 0, 0, 0, 0, 0, 0, 0) for address in resting]
    wanted = options.services
    return [row for row in rows if not wanted or row.address.removeprefix("service.").partition("[")[0] in wanted]


def formatted_rows(context: Context, form: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """The rows in the form of --format. Raises UsageError for a template that cannot be read."""
    from envkit.views.template import formatted

    try:
        return formatted(form, rows, context.terminal.style, columns)
    except ValueError as error:
        raise UsageError(f"--format: {error}", hint="table, json, or a Go template: '{{.Name}} {{.State}}'") from error


def moment(text: str | None) -> float | None:
    """A point in time as seconds since the epoch. Raises UsageError."""
    from envkit.views.moments import parse_moment

    try:
        return parse_moment(text) if text else None
    except ValueError as error:
        raise UsageError(str(error), hint="write 10m, 2h, 1h30m or 2026-01-31T12:00:00Z") from error


def _is_later(text: str, until: float | None) -> bool:
    found = moment(text) if until is not None else None
    return found is not None and until is not None and found > until


def _number(text: Any, flag: str) -> int:
    if not str(text).isdigit():
        raise UsageError(f"{flag} {text}", hint="write a number, or all")
    return int(text)
