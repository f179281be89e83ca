"""build, image ls|load|save|pull|push|inspect|layers|rm, images."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from envkit.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from envkit.cli.context import Context
    from envkit.image.store import Store
    from envkit.spec.environment import Environment


def add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="IMAGE|SERVICE", help="all when none is named")
    parser.add_argument("--no-cache", action="store_true", help="make every layer again")
    parser.add_argument("--pull", action="store_true", help="look for newer base images")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="set an ARG")
    parser.add_argument("--ssh", action="append", default=[], metavar="ID[=SOCKET]", help="an agent that RUN may use")
    parser.add_argument("--push", action="store_true", help="push what was built")
    parser.add_argument("--with-dependencies", action="store_true", help="the services that these depend on as well")
    parser.add_argument("--check", action="store_true", help="only read the Dockerfiles, and say what is wrong")
    parser.add_argument("--frozen", action="store_true", help="fail for what envkit.lock does not cover")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the digests")
    parser.set_defaults(include_deps=False, ignore_push_failures=False)


def build(context: Context) -> int:
    from envkit.events import ignore
    from envkit.reconcile.images import build_images, parse_arguments

    options = context.options
    arguments = parse_arguments(options.build_arg, os.environ)
    loaded = context.load(write_cache=True)
    if options.frozen:
        from envkit.cli.lock import freeze

        freeze(loaded.environment, context)
    names = _wanted(loaded.environment, _with_dependencies(loaded.environment, options))
    if options.check:  # loading has read them
        context.terminal.err("Check complete, no problems found.")
        return 0
    emit = ignore if options.quiet and not context.json else context.emit()
    digests = build_images(
        context.backend, loaded.environment, names, materials=loaded.materials, emit=emit,
        parallel=context.parallel(), no_cache=options.no_cache, pull=options.pull, arguments=arguments,
        ssh=options.ssh, lock_timeout=options.lock_timeout,
    )  # fmt: skip
    if context.json:
        context.print_json(digests)
    else:
        for name, digest in digests.items():
            context.terminal.out(digest if options.quiet else f"{name} {digest}")
    if options.push:
        from envkit.cli.registry import push

        return push(context)
    return 0


def _with_dependencies(environment: Environment, options: argparse.Namespace) -> list[str]:
    """The names that were given, and with the flag the services that they depend on."""
    chosen: list[str] = list(options.services)
    for name in chosen:
        resource = environment.services.get(name) if options.with_dependencies else None
        for dependency in resource.depends_on if resource else ():
            if dependency.address.kind == "service" and dependency.address.name not in chosen:
                chosen.append(dependency.address.name)
    return chosen


def add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    parser.add_argument("-q", "--quiet", action="store_true", help="only digests")
    parser.add_argument("--format", default="table", metavar="FORM", help="table, json, or a Go template")


def images(context: Context) -> int:
    from envkit.views.table import render_table

    store = _store(context)
    rows = []
    for name, resource in context.load(context.options.services).environment.services.items():
        if not context.options.services or name in context.options.services:
            digest = store.resolve(resource.spec["image"])
            rows.append({"service": name, "image": resource.spec["image"], "digest": digest})
    if context.json:
        context.print_json(rows)
    elif context.options.quiet:
        for row in rows:
            if row["digest"]:
                context.terminal.out(row["digest"])
    elif context.options.format not in ("", "table"):
        from envkit.cli.stream import formatted_rows
        from envkit.views.compose import IMAGES, images_row

        shown = [images_row(row, store.image(row["digest"]).config) for row in rows if row["digest"]]
        if text := formatted_rows(context, context.options.format, shown, IMAGES):
            context.terminal.out(text)
    else:
        table = [[row["service"], row["image"], (row["digest"] or "not here")[:19]] for row in rows]
        context.terminal.out(render_table(["SERVICE", "IMAGE", "DIGEST"], table, context.terminal.style))
    return 0


def add_image(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", metavar="ls|load|save|pull|push|inspect|layers|rm")
    listing = parts.add_parser("ls", help="list the images of the store")
    listing.add_argument("-q", "--quiet", action="store_true", help="only digests")
    loading = parts.add_parser("load", help="read a docker or OCI archive, or an OCI layout")
    loading.add_argument("path", metavar="PATH", help="a tar file, a directory, or - for stdin")
    saving = parts.add_parser("save", help="write images to an archive")
    saving.add_argument("names", nargs="+", metavar="IMAGE")
    saving.add_argument("-o", "--output", required=True, metavar="FILE", help="where to write it; - is stdout")
    saving.add_argument("--format", choices=("docker", "oci"), default="docker", help="docker (the default) or oci")
    inspecting = parts.add_parser("inspect", help="everything about an image")
    inspecting.add_argument("name", metavar="IMAGE")
    layers = parts.add_parser("layers", help="what each layer adds, changes, deletes and wastes")
    layers.add_argument("name", metavar="IMAGE")
    layers.add_argument("--files", action="store_true", help="with the files of each layer")
    removing = parts.add_parser("rm", help="remove images")
    removing.add_argument("names", nargs="+", metavar="IMAGE")
    from envkit.cli.registry import add_image_pull, add_image_push

    pulling = parts.add_parser("pull", help="fetch images from their registries")
    add_image_pull(pulling)
    pushing = parts.add_parser("push", help="send images to their registries")
    add_image_push(pushing)


def image(context: Context) -> int:
    from envkit.cli.registry import image_pull, image_push

    handlers = {
        None: _list, "ls": _list, "load": _load, "save": _save, "inspect": _inspect, "layers": _layers, "rm": _remove,
        "pull": image_pull, "push": image_push,
    }  # fmt: skip
    return handlers[context.options.part](context)


def _list(context: Context) -> int:
    from envkit.views.images import image_row, render_images

    rows = [image_row(item) for item in _store(context).list()]
    if context.json:
        context.print_json(rows)
    elif getattr(context.options, "quiet", False):
        for row in rows:
            context.terminal.out(row["digest"])
    else:
        context.terminal.out(render_images(rows, context.terminal.style))
    return 0


def _load(context: Context) -> int:
    import shutil
    import sys
    import tempfile

    from envkit.image.archive import load

    path = context.options.path
    if path == "-":
        with tempfile.NamedTemporaryFile(suffix=".tar") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.flush()
            names = load(_store(context), spool.name, context.emit())
    else:
        names = load(_store(context), os.path.join(context.cwd, path), context.emit())
    if not context.json:
        for name in names:
            context.terminal.out(f"Loaded {name}")
    return 0


def _save(context: Context) -> int:
    from envkit.image.archive import save

    options = context.options
    references = [_reference(context, name) for name in options.names]
    save(_store(context), references, os.path.join(context.cwd, options.output), options.format)
    return 0


def _inspect(context: Context) -> int:
    from envkit.image.inspect import inspect_image
    from envkit.views.images import render_image

    found = inspect_image(_store(context), _reference(context, context.options.name))
    if context.json:
        context.print_json(found)
    else:
        context.terminal.out(render_image(found, context.terminal.style))
    return 0


def _layers(context: Context) -> int:
    from envkit.image.inspect import inspect_layers
    from envkit.views.images import render_layers

    found = inspect_layers(_store(context), _reference(context, context.options.name))
    if context.json:
        context.print_json(found)
    else:
        context.terminal.out(render_layers(found, context.terminal.style, files=context.options.files))
    return 0


def _remove(context: Context) -> int:
    store = _store(context)
    users = {name: context.backend.images_in_use(name) for name in context.backend.environments()}
    for name in context.options.names:
        reference = _reference(context, name)
        try:
            store.remove(reference, in_use=set().union(*users.values()))
        except ConflictError as error:
            digest = store.resolve(reference)
            names = [environment for environment, used in users.items() if digest in used]
            hint = f"take down what runs it: {', '.join(f'envkit down -p {item}' for item in names)}"
            raise ConflictError(error.summary, error.detail, hint if names else error.hint) from error
        context.terminal.out(f"Removed {reference}")
    return 0


def _store(context: Context) -> Store:
    from envkit.image.store import Store

    return Store(context.home)


def _reference(context: Context, name: str) -> str:
    """A name as the user means it: what the store knows by it, else a key of `images:` in the files here."""
    store = _store(context)
    if store.resolve(name):
        return name
    try:
        resource = context.load().environment.get("image", name)
    except Exception as error:
        from envkit.errors import EnvkitError

        if not isinstance(error, EnvkitError):
            raise
        resource = None
    if resource is not None and store.resolve(resource.spec["name"]):
        return str(resource.spec["name"])
    hint = f"envkit build {name} makes it" if resource is not None else "envkit image ls lists what is there"
    raise NotFoundError("no such image", name, hint=hint)


def _wanted(environment: Environment, names: list[str]) -> list[str]:
    """The keys of the images that names (of images or services) stand for; all when empty."""
    keys = {address.name: resource for address, resource in environment.resources.items() if address.kind == "image"}
    if not names:
        return list(keys)
    chosen = []
    for name in names:
        if name in keys:
            chosen.append(name)
        elif name in environment.services:
            wanted = environment.services[name].spec["image"]
            chosen += [key for key, resource in keys.items() if resource.spec["name"] == wanted]
        else:
            raise UsageError(f"{name!r} is neither an image nor a service", hint=f"there is {', '.join(keys)}")
    return list(dict.fromkeys(chosen))
