"""`run`: a one-off container of a service, joined to the caller's stdio, gone afterwards.

It is made the way services are, in a session; then the environment's lock is given back, since a one-off may last.
Its record says `oneoff`: it is no part of the plan, is never restarted, and goes with the environment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from envkit.address import Address
from envkit.backend import oneoff
from envkit.backend.base import Materials, RunRequest
from envkit.backend.embedded import events, instance, resolve, volumes
from envkit.backend.embedded import record as records
from envkit.backend.embedded.discard import MARK, discard, remove_volumes, volume_prefix
from envkit.backend.embedded.job import Job
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.session import EmbeddedSession, opened
from envkit.backend.embedded.stdio import Attachment
from envkit.backend.ownership import oneoff_name
from envkit.digest import fingerprint
from envkit.errors import ConflictError, NotFoundError
from envkit.events import Emit
from envkit.host.home import Home
from envkit.plan.model import Action, Change
from envkit.spec.environment import Environment, Resource
from envkit.values import replace


def run(home: Home, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
    """See backend.base.Backend.run. What the service depends on is the caller's business."""
    resource = environment.get("service", request.service)
    if resource is None:
        raise NotFoundError("There is no such service", request.service)
    record: Record | None = None
    try:
        with opened(home, environment, materials, emit, 1, None) as session:
            record = _ready(session, resource, request)
            attachment = _started(record, attach=not request.detach)
        events.record(home.environment(environment.name), str(record.address), "run", record.name)
        if attachment is None:
            return 0
        with attachment:
            ended = attachment.join(_interrupter(record), pass_stdin=request.stdin)
    except BaseException:
        if record is not None:  # an error or an interrupt at the wrong moment leaves nothing behind
            discard(home, record.directory)
        raise
    if not ended:
        return 0  # the user has left it running
    instance.await_exits([record])
    code = instance.status(record).exit_code
    if request.remove:
        discard(home, record.directory)
    return 1 if code is None else code


def _ready(session: EmbeddedSession, resource: Resource, request: RunRequest) -> Record:
    """The record and everything around it; raises what went wrong, with nothing left behind."""
    home, environment = session.home, session.environment
    identity = records.new_id()
    name = request.name or oneoff_name(environment.name, request.service, identity)
    if request.name and records.find_named(home, request.name) is not None:
        raise ConflictError("A container name is taken", repr(request.name), "choose another --name")
    spec = oneoff.spec_of(resource.spec, request, environment.directory)
    picture = session.workshop.picture(session.services.digest_of(str(spec["image"])))
    spec["mounts"] = _with_volumes(home, environment.name, spec, picture.config, identity)
    changed = replace(resource, spec=spec, fingerprint=fingerprint(spec))
    address = Address("service", request.service)
    record = resolve.new_record(
        home, environment.name, changed, address, picture, identity=identity, host=session.services.host
    )
    record.directory = os.path.join(home.instances(environment.name), f"{request.service}.run-{identity}")
    record.name, record.replica, record.oneoff = name, 0, True
    record.created_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record.cgroup = resolve.cgroup(session.services.cgroups, environment.name, identity, record.spec)
    record.healthcheck = None
    os.makedirs(record.directory, mode=0o700)
    if request.remove:
        os.close(os.open(record.path(MARK), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    job = Job(Change(address, Action.CREATE, resource=changed), record=record, fresh=True, picture=picture)
    session.services.make_ready([job], lambda _: None)
    if job.error is not None:
        remove_volumes(home, identity, environment.name)
        raise job.error
    return record


def _started(record: Record, *, attach: bool) -> Attachment | None:
    """Create, attach, start: in this order no output is missed."""
    with records.locked(record):
        instance.create(record)
        attachment = Attachment(record) if attach else None
        instance.start(record)
        record.complete = True
        record.save(durable=False)
    return attachment


def _interrupter(record: Record) -> Callable[[int], None]:
    """Signals go to the container's first process, which the kernel lets ignore them; the second interrupt kills."""
    interrupts = 0

    def send(number: int) -> None:
        nonlocal interrupts
        interrupts += number in (signal.SIGINT, signal.SIGTERM)
        instance.kill(record, signal.SIGKILL if interrupts > 1 else number)

    return send


# -- anonymous volumes are its own, not those of the service's instances


def _with_volumes(
    home: Home, environment: str, spec: Mapping[str, Any], image: Mapping[str, Any], identity: str
) -> list[dict[str, Any]]:
    """The mounts, every anonymous volume (the image's included) with a name and a volume of its own."""
    rows = [dict(row) for row in spec.get("mounts") or ()]
    covered = {str(row["target"]).rstrip("/") for row in rows}
    rows += [{"type": "volume", "target": target} for target in image.get("Volumes") or {}
             if target.rstrip("/") not in covered]  # fmt: skip
    for number, row in enumerate(rows):
        if row["type"] == "volume" and not row.get("source"):
            name = f"{volume_prefix(environment, identity)}{number}"
            volumes.ensure(home, volumes.Volume(name, environment, owner=f"run {identity}", spec={"name": name}))
            row["volume_name"] = name
    return rows
