"""validate and config."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from envkit.errors import InputError

if TYPE_CHECKING:
    from envkit.cli.context import Context
    from envkit.config.model import Model


def add_validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit code and the problems")


def validate(context: Context) -> int:
    from envkit.views.diagnostics import diagnostic_json

    try:
        environment = context.load().environment
    except InputError as error:
        if not context.json:
            raise
        context.print_json({"valid": False, "diagnostics": [diagnostic_json(item) for item in error.diagnostics]})
        return 1
    if context.json:
        context.print_json({"valid": True, "diagnostics": [diagnostic_json(item) for item in environment.warnings]})
    elif not context.options.quiet:
        count = len(environment.services)
        names = ", ".join(file.rpartition("/")[2] for file in environment.files)
        context.terminal.out(f"{names}: valid, {count} service{'s' * (count != 1)}.")
    return 0


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="only these and what they depend on")
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml", help="yaml (the default) or json")
    parser.add_argument("-q", "--quiet", action="store_true", help="only check")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file")
    parser.add_argument("--origin", action="store_true", help="where each value comes from, the shadowed ones too")
    for name in ("services", "images", "volumes", "networks", "profiles", "variables", "environment"):
        parser.add_argument(f"--{name}", dest="list", action="store_const", const=name, help=f"print the {name}")
    parser.add_argument("--models", dest="list", action="store_const", const="models", help=argparse.SUPPRESS)
    parser.add_argument("--hash", metavar="SERVICE", help="print the service's hash (* for all)")
    for name in ("interpolate", "normalize", "path-resolution", "env-resolution", "consistency"):
        parser.add_argument(f"--no-{name}", action="store_true", help=f"without {name.replace('-', ' ')}")
    parser.add_argument("--resolve-image-digests", action="store_true", help="images by what their tags mean now")
    parser.add_argument("--lock-image-digests", action="store_true", help="print an override file with these digests")


def config(context: Context) -> int:
    from envkit.config.load import load_model
    from envkit.config.queries import listing, model_json, model_yaml, origin_lines, service_hashes
    from envkit.views.diagnostics import render_diagnostic

    options, terminal = context.options, context.terminal
    flags = {
        f"no_{name}": getattr(options, f"no_{name}")
        for name in ("interpolate", "normalize", "path_resolution", "env_resolution", "consistency")
    }
    model = load_model(context.load_options(options.services, **flags))
    for item in model.warnings:
        terminal.err(render_diagnostic(item, terminal.err_style, base=context.cwd))
    if options.resolve_image_digests or options.lock_image_digests:
        model = _pinned(model, context, alone=options.lock_image_digests)
    if options.quiet:
        return 0
    if options.list:
        lines = listing(model, options.list)
    elif options.hash:
        lines = service_hashes(model, options.hash)
    elif options.origin:
        lines = origin_lines(model, base=context.cwd)
    elif context.json or options.format == "json":
        lines = [model_json(model)]
    else:
        lines = [model_yaml(model).rstrip("\n")]
    text = "\n".join(lines)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
    elif lines:
        terminal.out(text)
    return 0


def _pinned(model: Model, context: Context, *, alone: bool) -> Model:
    """The model with every image by its digest. alone: nothing but the images, to be laid over the project's files."""
    from concurrent.futures import ThreadPoolExecutor

    from envkit.config.tree import Map
    from envkit.image.pull import look
    from envkit.image.reference import parse

    services = {name: service for name, service in model.services.items() if service.get("image")}
    wanted = sorted({service["image"] for service in services.values() if not parse(service["image"]).digest})
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(wanted, pool.map(lambda name: look(name, context.environ), wanted), strict=True))
    for service in services.values():
        image = service["image"]
        reference = parse(image)
        pinned = reference if image not in found else reference._replace(digest=found[image].digest)
        service.put("image", str(pinned), service.at.get("image"))
    if alone:
        kept = {name: Map({"image": service["image"]}) for name, service in services.items()}
        model.plain.clear()
        model.plain["services"] = Map(kept)
    return model
