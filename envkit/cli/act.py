"""stop, start, restart, kill, pause, unpause, wait: what is there, as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envkit.errors import ApplyError, EngineStoppedError, UsageError

if TYPE_CHECKING:
    import argparse

    from envkit.address import Address
    from envkit.cli.context import Context
    from envkit.spec.environment import Environment


def add_services(parser: argparse.ArgumentParser, timeout: bool = False) -> None:
    """SERVICE … and, on demand, --timeout."""
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all when none is named")
    if timeout:
        parser.add_argument("-t", "--timeout", type=float, metavar="SECONDS", help="grace period before a kill")


def add_stop(parser: argparse.ArgumentParser) -> None:
    add_services(parser, timeout=True)


def stop(context: Context) -> int:
    return _in_order(context, "stop")


def add_start(parser: argparse.ArgumentParser) -> None:
    add_services(parser)
    parser.add_argument("--wait", action="store_true", help="return when they are running and healthy")
    parser.add_argument("--wait-timeout", type=float, metavar="SECONDS", help="give up waiting after this long")


def start(context: Context) -> int:
    code = _in_order(context, "start")
    if context.options.wait and not code and not context.options.dry_run:
        from envkit.reconcile.ready import wait_ready

        environment = context.identify()
        named = [name.partition("[")[0] for name in context.options.services]
        wait_ready(
            context.backend, environment, timeout=context.options.wait_timeout, emit=context.emit(),
            conditions=dict.fromkeys(named, "started") if named else None,
        )  # fmt: skip
    return code


def add_restart(parser: argparse.ArgumentParser) -> None:
    add_services(parser, timeout=True)
    parser.add_argument("--no-deps", action="store_true", help="leave those alone that ask to be restarted with these")


def restart(context: Context) -> int:
    from envkit.reconcile.lifecycle import with_restarted

    options = context.options
    environment = context.identify()
    chosen = context.addresses(environment.name, options.services)
    if options.services and not options.no_deps:
        names = {item.name for item in chosen}
        further = set(with_restarted(environment, names)) - names
        chosen += [item for item in context.addresses(environment.name, ()) if item.name in further]
    return _in_order(context, "restart", environment, chosen)


def add_kill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-s", "--signal", default="KILL", metavar="SIGNAL", help="KILL when not given")
    parser.add_argument("--remove-orphans", action="store_true", help="remove services that are in no file as well")
    add_services(parser)


def kill(context: Context) -> int:
    code = _control(context, "kill", signal=context.options.signal)
    if context.options.remove_orphans and not code:
        from envkit.cli.down import remove_orphans

        return remove_orphans(context)
    return code


def add_pause(parser: argparse.ArgumentParser) -> None:
    add_services(parser)


def pause(context: Context) -> int:
    return _control(context, "pause")


def add_unpause(parser: argparse.ArgumentParser) -> None:
    add_services(parser)


def unpause(context: Context) -> int:
    return _control(context, "unpause")


def _in_order(
    context: Context, verb: str, environment: Environment | None = None, chosen: list[Address] | None = None
) -> int:
    from envkit.reconcile.lifecycle import in_order

    environment = environment or context.identify()
    addresses = context.addresses(environment.name, context.options.services) if chosen is None else chosen
    if not addresses:
        context.terminal.err(f"There is no instance of {environment.name}.")
        return 0
    timeout = getattr(context.options, "timeout", None)
    emit = context.emit()
    try:
        in_order(context.backend, environment, addresses, verb, emit=emit, timeout=timeout)
    except EngineStoppedError:
        from envkit.reconcile.awaken import awaken

        awaken(
            context.backend, environment, addresses, materials=context.load().materials, home=context.home, emit=emit,
            parallel=context.parallel(),
        )  # fmt: skip
    return 0


def _control(context: Context, verb: str, signal: str = "") -> int:
    name = context.environment_name()
    addresses = context.addresses(name, context.options.services)
    if verb == "kill" and not context.options.services:
        alive = {(row.service, row.replica) for row in context.backend.instances(name) if row.pid}
        addresses = [item for item in addresses if (item.name, item.index) in alive]
    if not addresses:
        context.terminal.err(f"There is no instance of {name}.")
        return 0
    context.backend.control(name, addresses, verb, emit=context.emit(), signal=signal)
    return 0


def add_wait(parser: argparse.ArgumentParser) -> None:
    add_services(parser)
    parser.add_argument("--down-project", action="store_true", help="remove the environment when the first has ended")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this long")


def wait(context: Context) -> int:
    import time

    from envkit.observed.state import InstanceState

    options = context.options
    name = context.environment_name()
    addresses = context.addresses(name, options.services)
    if not addresses:
        raise UsageError(f"there is no instance of {name}", hint="`envkit up -d` starts them")
    deadline = time.monotonic() + options.timeout if options.timeout else None
    told: dict[Address, int] = {}
    while True:
        rows = {(item.service, item.replica): item for item in context.backend.instances(name)}
        for address in addresses:
            row = rows.get((address.name, address.index))
            if address not in told and (row is None or row.state is InstanceState.EXITED):
                told[address] = row.exit_code if row and row.exit_code is not None else 1
                text = str(address).removeprefix("service.")
                if not context.json:
                    context.terminal.out(f"{text} exited with code {told[address]}")
                    context.terminal.stdout.flush()
        if len(told) == len(addresses) or (told and options.down_project):
            break
        if deadline and time.monotonic() > deadline:
            raise ApplyError("not all have ended", f"still running after {options.timeout:g} s")
        time.sleep(0.1)
    codes = list(told.values())
    if context.json:
        context.print_json({str(address): code for address, code in told.items()})
    if options.down_project:
        from envkit.cli.down import take_down

        take_down(context, [], yes=True, orphans=True)
        return codes[0]
    return next((code for code in codes if code), 0)
