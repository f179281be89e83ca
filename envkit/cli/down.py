"""down and rm: taking away what has been applied."""

from __future__ import annotations

from envkit.errors import ConflictError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from envkit.address import Address
    from envkit.cli.context import Context
    from envkit.observed.state import ObservedState
    from envkit.plan.model import Plan
    from envkit.spec.environment import Environment


def add_down(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these; networks and named volumes stay")
    parser.add_argument("-v", "--volumes", action="store_true", help="remove the volumes and their data as well")
    parser.add_argument("--rmi", choices=("local", "all"), default="", help="remove images: those built here, or all")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")
    parser.add_argument("-t", "--timeout", type=float, metavar="SECONDS", help="grace period before a kill")
    parser.add_argument("--remove-orphans", action="store_true", help="remove services that are in no file")


def down(context: Context) -> int:
    return take_down(
        context, context.options.services, volumes=context.options.volumes, timeout=context.options.timeout,
        images=context.options.rmi, yes=context.options.yes, orphans=context.options.remove_orphans,
    )  # fmt: skip


def take_down(
    context: Context, services: list[str], *, volumes: bool = False, timeout: float | None = None, images: str = "",
    yes: bool = False, orphans: bool = False,
) -> int:  # fmt: skip
    """Stop and remove the environment (or the services of it). The exit code."""
    from envkit.cli.apply import carry_out, tell
    from envkit.config.materials import NoMaterials
    from envkit.plan.destroy import make_destroy_plan
    from envkit.plan.manner import Manner
    from envkit.reconcile.losses import measured
    from envkit.reconcile.registry import without_images
    from envkit.views.plan import render_plan

    terminal = context.terminal
    whole = context.identify()
    environment = without_images(whole)
    observed = context.backend.observe(environment)
    only = [address for address in observed.resources if address.kind == "service" and address.name in services]
    if services and not only:
        terminal.err(f"Nothing to remove: nothing of {', '.join(services)} is there.")
        return 0
    if not services and not orphans and not context.is_set("COMPOSE_REMOVE_ORPHANS"):
        only = _without_orphans(context, environment, observed)
    made = measured(make_destroy_plan(
        observed, volumes=volumes and not services, timeout=timeout, environment=environment, only=only
    ), context.backend)  # fmt: skip
    tell(context, made)
    # A compose file's `-v` is consent enough, as in Compose; envkit.yaml's volumes are asked about.
    consents = yes or context.options.dry_run or (bool(environment.files) and not environment.hardened)
    if made.loses_data and not consents:
        terminal.err(render_plan(made, terminal.err_style, base=context.cwd) + "\n")
        if not context.confirm("This destroys the data in the volumes above.", "--yes"):
            terminal.err("Nothing was done.")
            return 1
    if made.is_empty or context.options.dry_run:
        if not context.options.dry_run:
            forget(context, made, environment)
        if context.json:
            context.emit()
        elif not made.is_empty:
            terminal.out(render_plan(made, terminal.style, base=context.cwd))
        else:
            terminal.out(f"Nothing to remove: there is nothing of {environment.name}.")
        code = 0
    else:
        code = carry_out(
            context, made, environment, NoMaterials(), Manner(timeout=timeout, drop_anonymous=volumes),
            observed=observed,
        )  # fmt: skip
    if images and not code and not context.options.dry_run:
        _remove_images(context, whole, services, everything=images == "all")
    return code


def forget(context: Context, made: Plan, environment: Environment) -> None:
    """Carry out an empty plan of destruction: what is remembered of the environment goes as well."""
    from envkit.config.materials import NoMaterials
    from envkit.reconcile.apply import apply_plan

    apply_plan(made, context.backend, environment, materials=NoMaterials(), home=context.home)


def add_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all when none is named")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument("-s", "--stop", action="store_true", help="stop them first")
    parser.add_argument("-v", "--volumes", action="store_true", help="remove their anonymous volumes as well")


def rm(context: Context) -> int:
    from envkit.cli.apply import carry_out
    from envkit.config.materials import NoMaterials
    from envkit.observed.state import InstanceState
    from envkit.plan.destroy import make_destroy_plan
    from envkit.plan.manner import Manner
    from envkit.reconcile.registry import without_images
    from envkit.views.plan import render_plan

    options, terminal = context.options, context.terminal
    environment = without_images(context.identify())
    observed = context.backend.observe(environment)
    chosen = context.addresses(environment.name, options.services)
    alive = (InstanceState.RUNNING, InstanceState.PAUSED, InstanceState.RESTARTING)
    only = [
        address for address in chosen
        if address in observed.resources and (options.stop or observed.resources[address].actual["state"] not in alive)
    ]  # fmt: skip
    if not only:
        terminal.err("No stopped instances.")
        return 0
    made = make_destroy_plan(observed, environment=environment, only=only)
    if options.dry_run:
        terminal.out(render_plan(made, terminal.style, base=context.cwd))
        return 0
    names = ", ".join(str(address).removeprefix("service.") for address in only)
    if not options.force and not context.confirm(f"This removes {names}.", "--force"):
        terminal.err("Nothing was done.")
        return 1
    return carry_out(context, made, environment, NoMaterials(), Manner(drop_anonymous=options.volumes))


def remove_orphans(context: Context) -> int:
    """Remove the services that are in no file."""
    from envkit.cli.apply import carry_out
    from envkit.config.materials import NoMaterials
    from envkit.plan.destroy import make_destroy_plan
    from envkit.reconcile.registry import without_images

    environment = without_images(context.load().environment)
    observed = context.backend.observe(environment)
    known = {*environment.services, *environment.disabled}
    only = [item for item in observed.resources if item.kind == "service" and item.name not in known]
    if not only:
        return 0
    made = make_destroy_plan(observed, environment=environment, only=only)
    return carry_out(context, made, environment, NoMaterials())


def _without_orphans(context: Context, environment: Environment, observed: ObservedState) -> list[Address]:
    """What of a compose file's environment goes when services that are in no file stay, with all that they use; [] for
    all of it."""
    from envkit.plan.requires import uses

    if environment.hardened or not environment.files:
        return []
    known = {*environment.services, *environment.disabled}
    orphans = {item for item in observed.resources if item.kind == "service" and item.name not in known}
    if not orphans:
        return []
    kept = orphans.union(*(uses(observed.resources[item].spec) for item in orphans))
    owners = {str(item) for item in orphans}
    kept |= {address for address, item in observed.resources.items()
             if str(item.attributes.get("owner", "")).partition(" ")[0] in owners}  # fmt: skip
    if not context.is_set("COMPOSE_IGNORE_ORPHANS") and not context.json:
        style = context.terminal.err_style
        names = ", ".join(sorted({item.name for item in orphans}))
        context.terminal.err(f"{style('warning', 'bold', 'yellow')}: {names} of {environment.name} is in no file; "
                             "--remove-orphans removes it")  # fmt: skip
    return [address for address in observed.resources if address not in kept]


def _remove_images(context: Context, environment: Environment, services: list[str], *, everything: bool) -> None:
    """Untag the services' images; what others use is kept, with a warning."""
    from envkit.image.store import Store

    store = Store(context.home)
    in_use = {item for name in context.backend.environments() for item in context.backend.images_in_use(name)}
    for name, resource in environment.services.items():
        if services and name not in services:
            continue
        reference = str(resource.spec["image"])
        made = environment.get("image", reference)
        if made is not None and "reference" not in made.spec:
            own = "build" not in made.spec or reference == f"{environment.name}-{name}"  # not a name of the user's
            reference = str(made.spec["name"])
        else:
            own = False
        if not everything and not own:
            continue
        try:
            store.remove(reference, in_use=in_use)
        except NotFoundError:
            continue
        except ConflictError as error:
            context.terminal.err(f"{context.terminal.err_style('warning', 'bold', 'yellow')}: {error}")
        else:
            context.terminal.err(f"  {context.terminal.err_style('✓', 'green')} image {reference} removed")
