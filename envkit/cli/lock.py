"""lock, and --frozen: envkit.lock says what images are made of, on every machine."""

from __future__ import annotations

from envkit.errors import ConflictError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from envkit.cli.context import Context
    from envkit.host.home import Home
    from envkit.spec.environment import Environment

_HINT = "run `envkit lock` where the lock may change, and commit the file"


def add_lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--update", action="store_true", help="resolve everything anew; forget what nothing uses")
    parser.add_argument("--no-build", action="store_true", help="only references; build no image")
    parser.add_argument("--frozen", action="store_true", help="write nothing; fail where a reference is not locked")


def lock(context: Context) -> int:
    """Lock every reference by its digest and, by building the images, every package; write envkit.lock."""
    from envkit.image.lockfile import Lockfile, of_project
    from envkit.image.pull import look
    from envkit.reconcile.registry import references

    options = context.options
    loaded = context.load(write_cache=True)
    environment = loaded.environment
    used = [name for name in references(environment) if "@" not in name]
    used += [name for name in of_dockerfiles(environment, context.home, context.environ) if name not in used]
    if options.frozen:
        freeze(environment, context)
        context.terminal.out(f"{len(used)} references are locked.")
        return 0
    whole = options.update and not options.no_build
    locked = of_project(environment.directory, refresh=whole)
    before = Lockfile.read(locked.path).section("references")
    changed = {}
    for name in used:
        if not options.update and name in before:
            continue
        digest = look(name, context.environ).digest
        locked.record("references", name, digest)
        if before.get(name) != digest:
            changed[name] = digest
    made = [address.name for address, item in environment.resources.items()
            if address.kind == "image" and "reference" not in item.spec]  # fmt: skip
    if made and not options.no_build:
        from envkit.reconcile.images import build_images

        build_images(
            context.backend, environment, made, materials=loaded.materials, emit=context.emit(),
            parallel=context.parallel(), pull=options.update, lock_timeout=options.lock_timeout,
        )  # fmt: skip
    if whole:
        locked.prune()
    locked.write()
    if context.json:
        context.print_json(changed)
    else:
        for name, digest in changed.items():
            context.terminal.out(f"{name} {digest}")
        if not changed:
            context.terminal.out(f"{len(used)} references are locked, none has changed.")
    return 0


def of_dockerfiles(environment: Environment, home: Home, environ: Mapping[str, str]) -> list[str]:
    """The references that the environment's Dockerfiles start from and copy from."""
    builds = {
        address.name: asked
        for address, item in environment.resources.items()
        if address.kind == "image"
        and (asked := item.spec.get("build") or (item.spec.get("base") or {}).get("build"))
    }
    if not builds:
        return []
    from envkit.image.dockerfile.references import references

    own = {name.lower() for name in builds}
    found = {name for asked in builds.values() for name in references(
        asked, home=home, directory=environment.directory, environ=environ, own=own)}  # fmt: skip
    return sorted(found)


def freeze(environment: Environment, context: Context) -> None:
    """From here on nothing that envkit.lock does not cover is built in this process. Raises ConflictError for a
    reference that is not in it."""
    from envkit.image.lockfile import NAME, of_project
    from envkit.reconcile.registry import references

    known = of_project(environment.directory, frozen=True).section("references")
    wanted = [*references(environment), *of_dockerfiles(environment, context.home, context.environ)]
    missing = [name for name in dict.fromkeys(wanted) if "@" not in name and name not in known]
    if missing:
        raise ConflictError(f"{NAME} does not cover every image", ", ".join(missing), _HINT)
