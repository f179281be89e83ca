"""What a command changes. Depends on everything below, on the image's variables, and on its own inputs."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from envkit.host.files import make_directory
from envkit.image.placing import LayerError, Placer
from envkit.image.sandbox import Bind
from envkit.image.settings import base_environment, lay_out
from envkit.image.step import Step
from envkit.image.users import ROOT, Identity, find


def sees(step: Step) -> Any:
    return {"environment": dict(sorted(step.environment.items()))}


def make(step: Step) -> Any:
    args = step.args
    identity = find(step.root, args["user"]) if args.get("user") else ROOT
    online = args.get("network") != "none"
    environment = base_environment()
    binds: list[Bind] = []
    if online:
        settings = lay_out(step.space, step.root, step.context.environ)
        environment.update(settings.environment)
        binds += settings.binds
    environment |= {**step.environment, **args.get("environment", {})}
    workdir = args.get("workdir", "/")
    with Placer(step.root) as placer, placer.directory(workdir):
        binds += _secrets(step, identity) + _caches(step, identity) + _mounts(step)
    outcome = step.execute(
        tuple(args["argv"]), environment=environment, binds=tuple(binds), identity=identity, workdir=workdir,
        online=online,
    )  # fmt: skip
    step.must("a command", outcome, "the lines below are its last output")


def _secrets(step: Step, identity: Identity) -> list[Bind]:
    names: list[str] = step.args.get("secrets", [])
    if not names:
        return []
    directory = step.space.tmpfs("secrets")
    for name in names:
        path = step.space.file(f"secrets/{os.path.basename(name)}", step.context.secret(name), 0o400)
        os.chown(path, identity.uid, identity.gid)
    os.chmod(directory, 0o755)
    return [Bind(os.path.join(directory, os.path.basename(name)), f"/run/secrets/{name}") for name in names]


def _caches(step: Step, identity: Identity) -> list[Bind]:
    """One directory per path in the image and owner, shared by all builds of this installation."""
    found = []
    for path in step.args.get("cache", []):
        name = hashlib.sha256(f"{path} {identity.uid}".encode()).hexdigest()[:16]
        directory = os.path.join(step.context.home.cache, "build", "caches", name)
        if not os.path.isdir(directory):
            make_directory(directory)
            os.chown(directory, identity.uid, identity.gid)
        found.append(Bind(directory, path, read_only=False))
    return found


def _mounts(step: Step) -> list[Bind]:
    found = []
    for mount in step.args.get("mounts", []):
        if not os.path.exists(mount["source"]):
            detail = os.path.relpath(mount["source"], step.context.directory)
            raise LayerError("a mount's source does not exist", detail)
        found.append(Bind(mount["source"], mount["to"]))
    return found
