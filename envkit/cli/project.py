"""doctor, gc, schema, completion, version."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from envkit.errors import UsageError

if TYPE_CHECKING:
    from envkit.cli.context import Context

SCHEMA_FILE = ".envkit/environment.schema.json"


def add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="only what is missing")


def doctor(context: Context) -> int:
    from envkit.host.doctor import probe
    from envkit.values import as_dict
    from envkit.views.doctor import render_findings

    findings = probe(context.home)
    if context.json:
        context.print_json([as_dict(item) for item in findings])
    else:
        text = render_findings(findings, context.terminal.style, only_problems=context.options.quiet)
        if text:
            context.terminal.out(text)
    return 1 if any(not item.ok and item.required for item in findings) else 0


def add_gc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be freed")
    parser.add_argument("--all", action="store_true", help="images that nothing runs, too")


def gc(context: Context) -> int:
    from envkit.image.gc import collect
    from envkit.image.store import Store
    from envkit.reconcile.generations import images_to_go_back
    from envkit.views.table import bytes_text

    names = context.backend.environments()
    in_use = {item for name in names for item in context.backend.images_in_use(name)}
    if not context.options.all:
        in_use |= images_to_go_back(context.home, names)
    report = collect(
        Store(context.home), in_use=in_use, dry_run=context.options.dry_run, unused_images=context.options.all
    )
    swept = [] if context.options.dry_run else context.backend.sweep()
    if context.json:
        removed = [*report.removed, *swept]
        context.print_json({"removed": removed, "bytes": report.bytes, "dry_run": context.options.dry_run})
        return 0
    for item in (*report.removed, *swept):
        context.terminal.out(item)
    verb = "would free" if context.options.dry_run else "freed"
    context.terminal.err(f"{verb} {bytes_text(report.bytes)}")
    return 0


def add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=("environment", "compose"), default="environment")
    parser.add_argument("--write", action="store_true", help=f"write it to {SCHEMA_FILE} for editors")


def schema(context: Context) -> int:
    from envkit.host.files import make_directory, write_atomic
    from envkit.resources import schema_text

    text = schema_text(context.options.kind)
    if context.options.write:
        path = os.path.join(context.cwd, SCHEMA_FILE)
        make_directory(os.path.dirname(path), 0o755)
        write_atomic(path, text.encode())
        context.terminal.out(path)
    else:
        context.terminal.out(text.rstrip("\n"))
    return 0


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", nargs="?", choices=("bash", "zsh", "fish"), help="$SHELL when not given")
    parser.add_argument("--words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def completion(context: Context) -> int:
    from envkit.cli.complete import candidates, script

    if context.options.words is not None:
        for word in candidates(context, context.options.words):
            context.terminal.out(word)
        return 0
    shell = context.options.shell or os.path.basename(context.environ.get("SHELL", ""))
    if shell not in ("bash", "zsh", "fish"):
        raise UsageError(f"no completion for {shell or 'an unknown shell'}", hint="envkit completion bash|zsh|fish")
    context.terminal.out(script(shell))
    return 0


def add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--short", action="store_true", help="only the number")
    parser.add_argument("-f", "--format", choices=("pretty", "json"), default="pretty", help="pretty or json")


def version(context: Context) -> int:
    from envkit import __version__

    if context.json:
        context.print_json({"envkit": __version__})
    elif context.options.format == "json":
        context.print_json({"version": __version__})
    else:
        context.terminal.out(__version__ if context.options.short else f"envkit {__version__}")
    return 0
