"""exec, run, attach: processes in containers, with the caller's own stdio."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from envkit.cli.words import SUPPRESS
from envkit.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import argparse

    from envkit.address import Address
    from envkit.backend.base import Materials
    from envkit.cli.context import Context
    from envkit.events import Emit
    from envkit.spec.environment import Environment


def add_exec(parser: argparse.ArgumentParser) -> None:
    _add_process(parser)
    parser.add_argument("-T", "--no-tty", "--no-TTY", action="store_true", help="no terminal (the default without one)")
    parser.add_argument("-i", "--interactive", action="store_true", default=True, help=SUPPRESS)
    parser.add_argument("-t", "--tty", action="store_true", help=SUPPRESS)
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for it")
    parser.add_argument("--privileged", action="store_true", help="with all capabilities")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which replica")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("command", nargs="...", metavar="COMMAND")


def exec_(context: Context) -> int:
    from envkit.backend.base import ExecRequest

    options = context.options
    argv = _command(options.command)
    if not argv:
        raise UsageError("no command", hint="envkit exec SERVICE COMMAND [ARG …]")
    request = ExecRequest(
        instance(context, options.service, options.index), tuple(argv), tty=_tty(context), stdin=options.interactive,
        detach=options.detach, user=options.user, working_dir=options.workdir,
        environment=_variables(options.env, context), privileged=options.privileged,
    )  # fmt: skip
    sys.stdout.flush()
    return context.backend.exec(context.environment_name(), request)


def add_run(parser: argparse.ArgumentParser) -> None:
    _add_process(parser)
    parser.add_argument("--env-from-file", action="append", default=[], metavar="FILE", help="variables of a file")
    parser.add_argument("-T", "--no-tty", "--no-TTY", action="store_true", help="no terminal")
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for it; print its name")
    parser.add_argument("-i", "--interactive", action="store_true", default=True, help=SUPPRESS)
    parser.add_argument("-t", "--tty", action="store_true", help=SUPPRESS)
    parser.add_argument("--rm", action="store_true", help="remove it afterwards (envkit.yaml: the default)")
    parser.add_argument("--keep", action="store_true", help="keep the stopped container (compose files: the default)")
    parser.add_argument("--name", default="", metavar="NAME", help="its name")
    parser.add_argument("--entrypoint", metavar="COMMAND", help="another entrypoint")
    parser.add_argument("-v", "--volume", action="append", default=[], metavar="MOUNT", help="one more volume")
    parser.add_argument("-p", "--publish", action="append", default=[], metavar="PORT", help="publish a port")
    parser.add_argument("-P", "--service-ports", action="store_true", help="publish the service's own ports")
    parser.add_argument("--use-aliases", action="store_true", help="answer to the service's names")
    parser.add_argument("--no-deps", action="store_true", help="do not start what the service depends on")
    parser.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="one more label")
    parser.add_argument("--cap-add", action="append", default=[], metavar="CAPABILITY", help="one more capability")
    parser.add_argument("--cap-drop", action="append", default=[], metavar="CAPABILITY", help="one capability less")
    parser.add_argument("--build", action="store_true", help="build its image first")
    parser.add_argument("--pull", choices=("always", "missing", "never"), default="", help="when to ask registries")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show what is done before it runs")
    parser.add_argument("--quiet-build", action="store_true", help="do not show what builds print")
    parser.add_argument("--quiet-pull", action="store_true", help="do not show how far pulls are")
    parser.add_argument("--remove-orphans", action="store_true", help="remove services that are in no file")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("command", nargs="...", metavar="COMMAND")


def run(context: Context) -> int:
    from envkit.backend.base import RunRequest
    from envkit.cli.apply import shown
    from envkit.events import ignore
    from envkit.reconcile.registry import with_policy

    options = context.options
    if options.service_ports and options.publish:
        raise UsageError("--service-ports and --publish exclude each other", hint="leave one of them out")
    if options.rm and options.keep:
        raise UsageError("--rm and --keep exclude each other", hint="leave one of them out")
    loaded = context.load((options.service,), write_cache=True)
    environment = with_policy(loaded.environment, options.pull)
    if options.service not in environment.services:
        raise NotFoundError(
            "no such service", f"{options.service!r} is not a service of {environment.name}",
            hint=f"there is {', '.join(environment.services) or 'none'}",
        )  # fmt: skip
    emit = ignore if options.quiet and not context.json else shown(context, context.emit())
    if options.dry_run:
        context.terminal.out(f"Would run a one-off of {options.service}.")
        return 0
    _prepare(context, environment, loaded.materials, emit)
    keeps = options.keep or options.detach or not (environment.hardened or options.rm)
    request = RunRequest(
        options.service, tuple(_command(options.command)), tty=_tty(context), stdin=options.interactive,
        detach=options.detach, remove=options.rm or not keeps, user=options.user, working_dir=options.workdir,
        entrypoint=options.entrypoint, environment=_files(context) | _variables(options.env, context),
        name=options.name, service_ports=options.service_ports, publish=tuple(options.publish),
        volumes=tuple(options.volume), use_aliases=options.use_aliases, labels=_pairs(options.label, "--label"),
        cap_add=tuple(options.cap_add), cap_drop=tuple(options.cap_drop),
    )  # fmt: skip
    sys.stdout.flush()
    before = {row.id for row in context.backend.instances(environment.name)} if options.detach else set()
    code = context.backend.run(environment, request, materials=loaded.materials, emit=emit)
    if options.detach:
        for row in context.backend.instances(environment.name):
            if row.replica == 0 and row.id not in before:
                context.terminal.out(row.name)
    return code


def _prepare(context: Context, environment: Environment, materials: Materials, emit: Emit) -> None:
    """What must be there before the one-off: an image that is made anew, dependencies; and orphans gone."""
    options = context.options
    if options.build:
        from envkit.address import Address
        from envkit.reconcile.images import build_images

        image = str(environment.services[options.service].spec["image"])
        made = environment.resources.get(Address("image", image))
        if made is not None and "reference" not in made.spec:
            build_images(
                context.backend, environment, [image], materials=materials, emit=emit,
                parallel=context.parallel(), lock_timeout=options.lock_timeout,
            )  # fmt: skip
    from envkit.reconcile.oneoff import apply_dependencies

    apply_dependencies(
        context.backend, _without_services(environment, options.service) if options.no_deps else environment,
        options.service, materials=materials, emit=emit, parallel=context.parallel(),
        lock_timeout=options.lock_timeout, home=context.home,
    )  # fmt: skip
    if options.remove_orphans:
        from envkit.cli.down import remove_orphans

        remove_orphans(context)


def _without_services(environment: Environment, name: str) -> Environment:
    """The environment in which the service depends on no other one: its networks, volumes and image remain."""
    from envkit.address import Address
    from envkit.values import replace

    address = Address("service", name)
    resource = environment.resources[address]
    needs = tuple(item for item in resource.depends_on if item.address.kind != "service")
    return replace(environment, resources={**environment.resources, address: replace(resource, depends_on=needs)})


def add_attach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which replica")
    parser.add_argument("--no-stdin", action="store_true", help="do not pass stdin on")
    parser.add_argument("--sig-proxy", action="store_true", default=True, help="pass signals on (the default)")
    parser.add_argument("--detach-keys", default="", metavar="KEYS", help="how to leave it running (ctrl-p,ctrl-q)")
    parser.add_argument("service", metavar="SERVICE")


def attach(context: Context) -> int:
    options = context.options
    address = instance(context, options.service, options.index)
    sys.stdout.flush()
    return context.backend.attach(
        context.environment_name(), address, stdin=not options.no_stdin, forward_signals=options.sig_proxy,
        detach_keys=options.detach_keys,
    )  # fmt: skip


def instance(context: Context, name: str, index: int) -> Address:
    """The address of a replica (0: the first) of a service, or of a name like web[2]. Raises NotFoundError."""
    found = context.addresses(context.environment_name(), [name])
    if not index or (len(found) == 1 and "[" in name):
        return found[0]
    for address in found:
        if address.index == index:
            return address
    raise NotFoundError("no such replica", f"{name} has no replica {index}", hint=f"it has {len(found)}")


def _tty(context: Context) -> bool:
    """Compose's rule: a terminal unless -T, where there is one on both sides."""
    options = context.options
    if options.no_tty and options.tty:
        raise UsageError("-t and -T exclude each other", hint="leave one of them out")
    return not options.no_tty and not options.detach and sys.stdin.isatty() and sys.stdout.isatty()


def _add_process(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-u", "--user", default="", metavar="USER", help="as this user")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="in this directory")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="KEY[=VALUE]", help="one more variable")


def _command(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _files(context: Context) -> dict[str, str]:
    """The variables of --env-from-file, later files over earlier ones. Raises NotFoundError."""
    found: dict[str, str] = {}
    for name in context.options.env_from_file:
        path = os.path.join(context.cwd, name)
        if not os.path.isfile(path):
            raise NotFoundError("no such file", f"--env-from-file {name}")
        found |= _read_env(path, {**context.environ, **found})
    return found


def _read_env(path: str, known: dict[str, str]) -> dict[str, str]:
    from envkit.config.dotenv import DotenvError, parse

    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return {name: found[0] for name, found in parse(file.read(), known.get).items()}
    except DotenvError as error:
        raise UsageError(f"--env-from-file {path}:{error.line}: {error}", hint="write lines of KEY=VALUE") from error


def _variables(words: list[str], context: Context) -> dict[str, str]:
    """KEY=VALUE, or KEY alone for the value in this environment."""
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key:
            raise UsageError(f"-e {word}", hint="write it as KEY=VALUE")
        if equals:
            found[key] = text
        elif key in context.environ:
            found[key] = context.environ[key]
    return found


def _pairs(words: list[str], flag: str) -> dict[str, str]:
    for word in words:
        if word.startswith("="):
            raise UsageError(f"{flag} {word}", hint="write it as KEY=VALUE")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}
