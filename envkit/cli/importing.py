"""import: an envkit.yaml for containers that an engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envkit.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from envkit.backend.engine_api import Engine
    from envkit.cli.context import Context


def add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("containers", nargs="*", metavar="CONTAINER", help="names or ids (all that run)")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write it (envkit.yaml)")
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def import_(context: Context) -> int:
    from envkit.backend.engine_api import connect
    from envkit.cli.init import output_path, show
    from envkit.config.propose.check import hardened, options_for
    from envkit.config.propose.containers import draft

    output = output_path(context, context.cwd)
    engine = connect(_address(context))
    containers = _containers(engine, context.options.containers)
    images = {item["Image"]: engine.get(f"/images/{item['Image']}/json") for item in containers}
    joined = {name for item in containers for name in (item.get("NetworkSettings") or {}).get("Networks") or ()}
    networks = {name: engine.get(f"/networks/{name}") for name in sorted(joined)}
    options = options_for(context.load_options(), ())
    return show(context, hardened(draft(containers, images, networks), options, context.home, output), output)


def _address(context: Context) -> Any:
    from envkit.backend.docker.select import podman_address
    from envkit.backend.place import engine_address

    place = dict(context.place)
    name = place.get("backend") or context.options.backend or context.environ.get("ENVKIT_BACKEND") or "docker"
    if name not in ("docker", "podman"):
        raise UsageError(f"--backend {name}: it has no containers but those of envkit's files",
                         hint="import reads a Docker Engine or Podman: --backend docker, --backend podman\n"
                         "envkit ls says which files this machine's environments are made of")  # fmt: skip
    if context.options.context:
        place = {"context": context.options.context}
    if name == "podman" and not (place.get("host") or place.get("context")):
        return podman_address(context.environ)
    return engine_address(place, context.environ)


def _containers(engine: Engine, names: list[str]) -> list[dict[str, Any]]:
    """What the engine says of the containers, in the order of their names. Raises NotFoundError."""
    from envkit.backend.engine_api import EngineNotFoundError

    rows = engine.get("/containers/json", all=bool(names))
    if not names:
        names = sorted(row["Id"] for row in rows)
        if not names:
            raise NotFoundError("no container runs on this engine", str(engine.address),
                                hint="name one that is stopped: envkit import NAME")  # fmt: skip
    found = []
    for name in names:
        try:
            found.append(engine.get(f"/containers/{name}/json"))
        except EngineNotFoundError:
            known = ", ".join(sorted(row["Names"][0].lstrip("/") for row in rows if row.get("Names"))) or "nothing"
            raise NotFoundError("no such container", name, hint=f"there is {known}") from None
    return sorted(found, key=lambda item: str(item["Name"]))
