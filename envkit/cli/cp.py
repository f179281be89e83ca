"""cp: files between this machine and containers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from envkit.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from envkit.address import Address
    from envkit.cli.context import Context


def add_cp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which replica (from: the first; to: all)")
    parser.add_argument("--all", action="store_true", help="accepted: a copy goes to all replicas without --index")
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners and groups")
    parser.add_argument("-L", "--follow-link", action="store_true", help="copy what a link as the source points to")
    parser.add_argument("source", metavar="SERVICE:PATH|PATH|-")
    parser.add_argument("destination", metavar="SERVICE:PATH|PATH|-")


def cp(context: Context) -> int:
    options = context.options
    source, destination = _place(options.source), _place(options.destination)
    if (source[0] == "") == (destination[0] == ""):
        raise UsageError(
            "one side must be SERVICE:PATH and the other a path of this machine", hint="envkit cp web:/etc/hosts ."
        )
    if source[0]:
        return _out(context, source, destination[1])
    return _into(context, source[1], destination)


def _out(context: Context, source: tuple[str, str], destination: str) -> int:
    from envkit.cli.inside import instance
    from envkit.cli.transfer import followed, unpack

    options, name = context.options, context.environment_name()
    address = instance(context, source[0], options.index)
    path = followed(context.backend, name, address, source[1]) if options.follow_link else source[1]
    if context.options.dry_run:
        context.terminal.out(f"Would copy {address}:{path} to {destination}.")
        return 0
    stream: Iterator[bytes] = context.backend.copy_from(name, address, path)
    if destination == "-":
        for part in stream:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
    else:
        unpack(stream, os.path.join(context.cwd, destination), owners=options.archive)
    return 0


def _into(context: Context, source: str, destination: tuple[str, str]) -> int:
    from envkit.cli.inside import instance
    from envkit.cli.transfer import pack, place

    options, name = context.options, context.environment_name()
    if options.index or "[" in destination[0]:
        addresses = [instance(context, destination[0], options.index)]
    else:
        addresses = context.addresses(name, [destination[0]])
    if options.dry_run:
        context.terminal.out(f"Would copy {source} to {', '.join(map(str, addresses))}:{destination[1]}.")
        return 0
    if source == "-":
        return _from_stdin(context, name, addresses, destination[1])
    path = os.path.join(context.cwd, source)
    if options.follow_link:
        path = os.path.realpath(path)
    for address in addresses:
        directory, top = place(context.backend, name, address, destination[1], os.path.join(context.cwd, source))
        context.backend.copy_to(name, address, directory, pack(path, top, owners=options.archive))
    return 0


def _from_stdin(context: Context, name: str, addresses: list[Address], directory: str) -> int:
    import tempfile

    with tempfile.TemporaryFile() as spool:
        while part := sys.stdin.buffer.read(1 << 16):
            spool.write(part)
        for address in addresses:
            spool.seek(0)
            context.backend.copy_to(name, address, directory, iter(lambda: spool.read(1 << 16), b""))
    return 0


def _place(text: str) -> tuple[str, str]:
    """SERVICE:PATH -> (service, path); a path of this machine -> ("", path)."""
    service, colon, path = text.partition(":")
    if colon and "/" not in service and service not in ("", ".", ".."):
        return service, path or "/"
    return "", text
