"""`run`: a one-off container of a service, joined to the caller's stdio, gone afterwards."""

from __future__ import annotations

import os

from envkit.address import Address
from envkit.backend import containers, oneoff, ownership
from envkit.backend.base import Materials, RunRequest
from envkit.backend.docker.oneoff import OneOff
from envkit.backend.docker.session import opened
from envkit.backend.engine_api import Engine
from envkit.digest import fingerprint
from envkit.errors import NotFoundError
from envkit.events import Emit
from envkit.host.home import Home
from envkit.spec.environment import Environment
from envkit.values import replace


def run(
    engine: Engine, home: Home, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit
) -> int:
    """See backend.base.Backend.run. The environment's lock is given back once it has started: a one-off may last."""
    resource = environment.get("service", request.service)
    if resource is None:
        raise NotFoundError("There is no such service", request.service)
    spec = oneoff.spec_of(resource.spec, request, environment.directory)
    aliases = bool(spec.pop("use_aliases", False))
    name = request.name or ownership.oneoff_name(environment.name, request.service, os.urandom(6).hex())
    address = Address("service", request.service)
    identity = ""
    try:
        with opened(
            engine, home, environment, materials=materials, emit=emit, width=1, lock_timeout=None
        ) as session:
            made = session.services.make(
                address, replace(resource, spec=spec, fingerprint=fingerprint(spec)), None,
                one_off=OneOff(name, aliases, request.labels),
            )  # fmt: skip
            identity = made.identity
            session.services.settle(made)
            config = engine.get(f"/containers/{identity}/json")["Config"]
            connection = None if request.detach else containers.attached(engine, identity, config, stdin=request.stdin)
            session.services.start(identity, address)
        if connection is None:
            return 0
        with connection:
            containers.follow(
                engine, identity, connection, tty=bool(spec.get("tty")), pass_stdin=request.stdin, forward=True
            )
    except BaseException:
        if identity:
            session.services.discard_made(identity)
        raise
    code = containers.exit_code(engine, identity)
    if request.remove:
        session.services.discard_made(identity, anonymous=True)
    return code
