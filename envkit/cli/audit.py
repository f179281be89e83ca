"""audit: what the files allow beyond envkit's own defaults."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from envkit.cli.context import Context

_COLOURS = {"high": "red", "medium": "yellow", "low": "cyan"}


def add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these")
    parser.add_argument("--fail-on", choices=("high", "medium", "low"), help="exit with 1 for these and weightier")


def audit(context: Context) -> int:
    from envkit.plan.audit import Weight, finding_json
    from envkit.plan.audit import audit as findings_of

    options, style = context.options, context.terminal.style
    environment = context.load().environment
    found = findings_of(environment, tuple(options.services))
    if context.json:
        context.print_json({"environment": environment.name, "findings": [finding_json(item) for item in found]})
    else:
        for item in found:
            where = f"  {style(_short(item.source, context.cwd), 'dim')}" if item.source else ""
            weight = style(f"{item.weight:<6}", "bold", _COLOURS[item.weight])
            context.terminal.out(f"{weight} {item.address} {item.what}{where}")
            context.terminal.out(f"       {style('instead:', 'cyan')} {item.way}")
        counts = {weight: sum(item.weight == weight for item in found) for weight in Weight}
        total = ", ".join(f"{count} {weight}" for weight, count in counts.items() if count)
        context.terminal.out(f"\n{total}." if found else "Nothing to report.")
    if not options.fail_on:
        return 0
    order = list(Weight)
    limit = order.index(Weight(options.fail_on))
    return 1 if any(order.index(item.weight) <= limit for item in found) else 0


def _short(source: str, base: str) -> str:
    return source.removeprefix(base.rstrip(os.sep) + os.sep)
