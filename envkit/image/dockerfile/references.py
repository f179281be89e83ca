"""The images that a Dockerfile starts from and copies from, without building it: what `envkit lock` pins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from envkit.events import ignore
from envkit.host.home import Home
from envkit.image.dockerfile import contexts
from envkit.image.dockerfile.build import pairs
from envkit.image.lockfile import Lockfile
from envkit.image.step import Context
from envkit.image.store import Store
from envkit.spec.dockerfile.platform import is_native, platform_arguments
from envkit.spec.dockerfile.stages import read_program


def references(
    asked: Mapping[str, Any], *, home: Home, directory: str, environ: Mapping[str, str], own: Collection[str]
) -> list[str]:
    """The references of registries in the stages that the target needs, as written, sorted.

    asked: ImageSpec.build; directory: the project's; own: names that are images of the project itself. Raises
    InputError, NotFoundError; a Git context is fetched.
    """
    context = Context("lock", Store(home), home, directory, {}, ignore, Lockfile(), environ=environ)
    _, text, path = contexts.read(context, asked)
    named = contexts.named(context, asked)
    given = {key: value for key, value in pairs(asked.get("args")).items() if value is not None}
    program = read_program(text, path, given, platform=platform_arguments(), contexts=named.keys())
    stages = program.needed(program.target(str(asked.get("target") or "")))
    found = {origin for stage in stages for origin in stage.origins}
    found |= {stage.base for stage in stages if stage.base_stage is None and is_native(stage.platform)}
    local = {"scratch", *own, *(name.lower() for name in named)}
    found |= {str(item.base["reference"]) for item in named.values() if item.base and "reference" in item.base}
    return sorted(name for name in found if name.lower() not in local and "$" not in name and "@" not in name)
