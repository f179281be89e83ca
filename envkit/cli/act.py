"""stop, start, restart, kill, pause, unpause, exec, run, cp, wait."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from envkit.errors import ApplyError, NotFoundError, UsageError

if TYPE_CHECKING:
    from envkit.address import Address
    from envkit.cli.context import Context


def _add_services(parser: argparse.ArgumentParser, timeout: bool = False) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all when none is named")
    if timeout:
        parser.add_argument("-t", "--timeout", type=float, metavar="SECONDS", help="grace period before a kill")


def add_stop(parser: argparse.ArgumentParser) -> None:
    _add_services(parser, timeout=True)


def stop(context: Context) -> int:
    return _control(context, "stop")


def add_start(parser: argparse.ArgumentParser) -> None:
    _add_services(parser)


def start(context: Context) -> int:
    return _control(context, "start")


def add_restart(parser: argparse.ArgumentParser) -> None:
    _add_services(parser, timeout=True)


def restart(context: Context) -> int:
    return _control(context, "restart")


def add_kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--signal", default="KILL", metavar="SIGNAL", help="KILL when not given")
    _add_services(parser)


def kill(context: Context) -> int:
    return _control(context, "kill", signal=context.options.signal)


def add_pause(parser: argparse.ArgumentParser) -> None:
    _add_services(parser)


def pause(context: Context) -> int:
    return _control(context, "pause")


def add_unpause(parser: argparse.ArgumentParser) -> None:
    _add_services(parser)


def unpause(context: Context) -> int:
    return _control(context, "unpause")


def _control(context: Context, verb: str, signal: str = "") -> int:
    name = context.environment_name()
    addresses = context.addresses(name, context.options.services)
    if not addresses:
        context.terminal.err(f"There is no instance of {name}.")
        return 0
    timeout = getattr(context.options, "timeout", None)
    context.backend.control(name, addresses, verb, emit=context.emit(), signal=signal, timeout=timeout)
    return 0


def add_exec(parser: argparse.ArgumentParser) -> None:
    _add_process(parser)
    parser.add_argument("-T", "--no-tty", action="store_true", help="no terminal (the default without one here)")
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for it")
    parser.add_argument("--privileged", action="store_true", help="with all capabilities")
    parser.add_argument("--index", type=int, default=1, metavar="N", help="which replica")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")


def exec_(context: Context) -> int:
    from envkit.backend.base import ExecRequest

    options = context.options
    argv = _command(options.command)
    if not argv:
        raise UsageError("no command", hint="envkit exec SERVICE COMMAND [ARG …]")
    address = _instance(context, options.service, options.index)
    tty = not options.no_tty and not options.detach and sys.stdin.isatty() and sys.stdout.isatty()
    request = ExecRequest(
        address, tuple(argv), tty=tty, detach=options.detach, user=options.user, working_dir=options.workdir,
        environment=_variables(options.env, context), privileged=options.privileged,
    )  # fmt: skip
    sys.stdout.flush()
    return context.backend.exec(context.environment_name(), request)


def add_run(parser: argparse.ArgumentParser) -> None:
    _add_process(parser)
    parser.add_argument("-T", "--no-TTY", dest="no_tty", action="store_true", help="no terminal")
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for it")
    parser.add_argument("-i", "--interactive", action="store_true", default=True, help=argparse.SUPPRESS)
    parser.add_argument("--rm", action="store_true", help="remove it afterwards (the default unless detached)")
    parser.add_argument("--keep", action="store_true", help="keep the stopped container")
    parser.add_argument("--name", default="", metavar="NAME", help="its name")
    parser.add_argument("--entrypoint", metavar="COMMAND", help="another entrypoint")
    parser.add_argument("-v", "--volume", action="append", default=[], metavar="MOUNT", help="one more volume")
    parser.add_argument("-p", "--publish", action="append", default=[], metavar="PORT", help="publish a port")
    parser.add_argument("-P", "--service-ports", action="store_true", help="publish the service's own ports")
    parser.add_argument("--use-aliases", action="store_true", help="answer to the service's names")
    parser.add_argument("--no-deps", action="store_true", help="do not start what the service depends on")
    parser.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="one more label")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")


def run(context: Context) -> int:
    from envkit.backend.base import RunRequest

    options = context.options
    loaded = context.load((options.service,), write_cache=True)
    environment = loaded.environment
    if options.service not in environment.services:
        raise NotFoundError(
            "no such service", f"{options.service!r} is not a service of {environment.name}",
            hint=f"there is {', '.join(environment.services) or 'none'}",
        )  # fmt: skip
    emit = context.emit()
    if not options.no_deps:
        from envkit.reconcile.oneoff import apply_dependencies

        apply_dependencies(
            context.backend, environment, options.service, materials=loaded.materials, emit=emit,
            parallel=context.parallel(), lock_timeout=options.lock_timeout, home=context.home,
        )  # fmt: skip
    tty = not options.no_tty and not options.detach and sys.stdin.isatty() and sys.stdout.isatty()
    request = RunRequest(
        options.service, tuple(_command(options.command)), tty=tty, detach=options.detach,
        remove=options.rm or not (options.keep or options.detach), user=options.user, working_dir=options.workdir,
        entrypoint=options.entrypoint, environment=_variables(options.env, context), name=options.name,
        service_ports=options.service_ports, publish=tuple(options.publish), volumes=tuple(options.volume),
        use_aliases=options.use_aliases, labels=_pairs(options.label, "--label"),
    )  # fmt: skip
    sys.stdout.flush()
    return context.backend.run(environment, request, materials=loaded.materials, emit=emit)


def add_cp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", type=int, default=1, metavar="N", help="which replica")
    parser.add_argument("source", metavar="SERVICE:PATH|PATH|-")
    parser.add_argument("destination", metavar="SERVICE:PATH|PATH|-")


def cp(context: Context) -> int:
    from envkit.cli.transfer import pack, place, unpack

    options = context.options
    source, destination = _place(options.source), _place(options.destination)
    if (source[0] == "") == (destination[0] == ""):
        raise UsageError(
            "one side must be SERVICE:PATH and the other a path of this machine", hint="envkit cp web:/etc/hosts ."
        )
    name = context.environment_name()
    if source[0]:
        address = _instance(context, source[0], options.index)
        stream: Iterator[bytes] = context.backend.copy_from(name, address, source[1])
        if destination[1] == "-":
            for part in stream:
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        else:
            unpack(stream, os.path.join(context.cwd, destination[1]))
        return 0
    address = _instance(context, destination[0], options.index)
    if source[1] == "-":
        context.backend.copy_to(name, address, destination[1], iter(lambda: sys.stdin.buffer.read(1 << 16), b""))
        return 0
    directory, top = place(context.backend, name, address, destination[1], os.path.join(context.cwd, source[1]))
    context.backend.copy_to(name, address, directory, pack(os.path.join(context.cwd, source[1]), top))
    return 0


def add_wait(parser: argparse.ArgumentParser) -> None:
    _add_services(parser)
    parser.add_argument("--down-project", action="store_true", help="remove the environment when the first has ended")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this long")


def wait(context: Context) -> int:
    import time

    from envkit.observed.state import InstanceState

    name = context.environment_name()
    addresses = context.addresses(name, context.options.services)
    deadline = time.monotonic() + context.options.timeout if context.options.timeout else None
    while True:
        rows = {(item.service, item.replica): item for item in context.backend.instances(name)}
        ended = [rows.get((item.name, item.index)) for item in addresses]
        done = [item for item in ended if item is None or item.state is InstanceState.EXITED]
        if len(done) == len(addresses) or (done and context.options.down_project):
            codes = [item.exit_code if item and item.exit_code is not None else 1 for item in done]
            break
        if deadline and time.monotonic() > deadline:
            raise ApplyError("not all have ended", f"still running after {context.options.timeout:g} s")
        time.sleep(0.1)
    if context.options.down_project:
        from envkit.cli.down import take_down

        take_down(context, [], yes=True, orphans=True)
    return next((code for code in codes if code), 0)


def _add_process(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-u", "--user", default="", metavar="USER", help="as this user")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="in this directory")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="KEY[=VALUE]", help="one more variable")


def _command(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _variables(words: list[str], context: Context) -> dict[str, str]:
    """KEY=VALUE, or KEY alone for the value in this environment."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise UsageError(f"-e {word}", hint="write it as KEY=VALUE")
        if equals:
            found[key] = value
        elif key in context.environ:
            found[key] = context.environ[key]
    return found


def _pairs(words: list[str], flag: str) -> dict[str, str]:
    for word in words:
        if word.startswith("="):
            raise UsageError(f"{flag} {word}", hint="write it as KEY=VALUE")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def _instance(context: Context, name: str, index: int) -> Address:
    found = context.addresses(context.environment_name(), [name])
    if len(found) == 1 and "[" in name:
        return found[0]
    for address in found:
        if address.index == index:
            return address
    raise NotFoundError("no such replica", f"{name} has no replica {index}", hint=f"it has {len(found)}")


def _place(text: str) -> tuple[str, str]:
    """SERVICE:PATH -> (service, path); a path of this machine -> ("", path)."""
    service, colon, path = text.partition(":")
    if colon and "/" not in service and service not in ("", ".", ".."):
        return service, path or "/"
    return "", text
