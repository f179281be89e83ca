"""Files of the project, or of another image. Independent of the layers below but for owners and directories.

Project files become root's (or `owner`'s), 0755 where their owner may execute them and 0644 otherwise: what git
keeps, so that two clones give one layer. Files of another image keep owner, mode and attributes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

from envkit.errors import NotFoundError
from envkit.host.beneath import open_beneath
from envkit.host.ignore import Ignore, rules_for
from envkit.host.tree import walk
from envkit.image.placing import LayerError, Placer, parent_of, survey
from envkit.image.step import Step
from envkit.image.users import Identity, find


class _Item(NamedTuple):
    """One file to place: where it is on this machine, where it goes in the image."""

    source: str
    target: str
    info: os.stat_result


def sees(step: Step) -> Any:
    owner = find(step.root, step.args["owner"])[:2] if step.args.get("owner") else None
    with ExitStack() as stack:
        items = list(_items(step, stack))
    directories = [item.target for item in items if stat.S_ISDIR(item.info.st_mode)]
    files = [item.target for item in items if not stat.S_ISDIR(item.info.st_mode)]
    below = survey(step.root, [*directories, *{parent_of(path) for path in files}])
    return {"owner": owner, "origin": _other_image(step), "files": files, "below": below}


def make(step: Step) -> Any:
    owner = find(step.root, step.args["owner"]) if step.args.get("owner") else None
    with Placer(step.root) as placer, ExitStack() as stack:
        for item in _items(step, stack):
            _place(step, placer, item, owner)


def _place(step: Step, placer: Placer, item: _Item, owner: Identity | None) -> None:
    foreign = "from" in step.args
    uid, gid = owner[:2] if owner else (item.info.st_uid, item.info.st_gid) if foreign else (0, 0)
    mode = item.info.st_mode
    if stat.S_ISDIR(mode):
        placer.make_directory(item.target, stat.S_IMODE(mode) if foreign else 0o755, uid, gid)
    elif stat.S_ISLNK(mode):
        placer.link(item.target, os.readlink(item.source), uid, gid)
    elif stat.S_ISREG(mode):
        wanted = step.args.get("mode", stat.S_IMODE(mode) if foreign else 0o755 if mode & 0o100 else 0o644)
        descriptor = os.open(item.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            attributes = {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)} if foreign else {}
            placer.put(item.target, descriptor, wanted, uid, gid, attributes)
        finally:
            os.close(descriptor)
    else:
        step.warn(f"{os.path.basename(item.source)} is no file, directory or link: left out")


def _items(step: Step, stack: ExitStack) -> Iterator[_Item]:
    sources, to = step.args["sources"], step.args["to"]
    into = to.endswith("/") or len(sources) > 1
    for source in sources:
        path, rules = _source(step, source, stack)
        if not os.path.isdir(path):
            name = os.path.basename(source.rstrip("/"))
            yield _Item(path, f"{to.rstrip('/')}/{name}" if into else to, os.stat(path))
            continue
        for entry in walk(path, rules):
            place = f"{to.rstrip('/')}/{entry.path}".rstrip("/") or "/"
            yield _Item(os.path.join(path, entry.path) if entry.path else path, place, entry.info)


def _source(step: Step, source: str, stack: ExitStack) -> tuple[str, Ignore]:
    """The path of a source on this machine, and what is left out below it."""
    exclude = step.args.get("exclude", ())
    if "from" in step.args:
        return _foreign(step, source, stack), Ignore(exclude)
    directory = step.context.directory
    if not os.path.exists(source):
        hint = "paths are relative to the project's directory"
        raise LayerError("what is to be copied does not exist", os.path.relpath(source, directory), hint)
    return source, rules_for(directory, source, exclude)


def _other_image(step: Step) -> str:
    """The digest of the image that `from` means, "" without it."""
    origin = step.args.get("from")
    if not origin:
        return ""
    if "image" in origin:
        return step.context.images[origin["image"]]
    digest = step.context.store.resolve(origin["reference"])
    if digest is None:
        raise NotFoundError("there is no such image in the store", origin["reference"], "see `envkit image ls`")
    return digest


def _foreign(step: Step, source: str, stack: ExitStack) -> str:
    image = step.context.store.image(_other_image(step))
    root = step.space.see(step.context.store.ensure_trees(image), "from")
    try:
        descriptor = open_beneath(root, source.strip("/"), os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise LayerError("the other image has no such file", source) from error
    stack.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}"
