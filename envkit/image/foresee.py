"""Which layers of several images a build would make, seen by a child that leaves nothing behind.

The layers are looked at through overlay mounts, in a mount namespace of the child's own: no engine namespace is made
for a plan, and none is entered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envkit.errors import EnvkitError
from envkit.host.home import Home

if TYPE_CHECKING:
    from envkit.spec.canonical import ImageSpec

Row = dict[str, Any]


def foresee(
    specs: Mapping[str, ImageSpec], *, home: Home, directory: str, images: Mapping[str, str]
) -> dict[str, list[Row]]:
    """Image -> its layers, each {"number", "kind", "title", "cached", "reason"}. images: digests of what is there.

    Images without layers of their own are left out; so is everything where nothing was ever built, as nothing is there
    to be kept, and where this user may not look (a rootless plan says less, and is as true).
    """
    made_here = {name: spec for name, spec in specs.items() if "reference" not in spec}
    built_before = os.path.isdir(os.path.join(home.cache, "build", "layers")) and os.path.isdir(home.images)
    if not made_here or not built_before or os.geteuid() != 0:
        return {}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(reader, writer, made_here, home, directory, images)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    found: dict[str, list[Row]] = json.loads(answer) if answer else {}
    return found


def _child(
    reader: int, writer: int, specs: Mapping[str, ImageSpec], home: Home, directory: str, images: Mapping[str, str]
) -> None:
    """Write the answer to writer; never returns."""
    from envkit.host import mounts, syscalls

    code = 1
    try:
        os.close(reader)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        mounts.set_propagation("/", "slave", recursive=True)
        found = {name: _rows(spec, home, directory, images) for name, spec in specs.items()}
        with os.fdopen(writer, "wb") as file:
            file.write(json.dumps({name: rows for name, rows in found.items() if rows}).encode())
        code = 0
    finally:
        os._exit(code)


def _rows(spec: ImageSpec, home: Home, directory: str, images: Mapping[str, str]) -> Sequence[Row]:
    from envkit.image.layerplan import layer_plan
    from envkit.image.store import Store

    try:
        steps = layer_plan(spec, store=Store(home), home=home, directory=directory, images=images)
    except (EnvkitError, OSError):
        return ()  # whatever is wrong will be said when it is built, with its place
    return [
        {"number": step.number, "kind": step.kind, "title": step.title, "cached": step.cached, "reason": step.reason}
        for step in steps
    ]
