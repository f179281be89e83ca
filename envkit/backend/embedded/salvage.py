"""What a cut-off envkit left behind, and the last traces of an environment that is no more."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from envkit.backend.embedded import record as records
from envkit.backend.embedded.instance import forget_shadow
from envkit.backend.embedded.rootfs import run_directory
from envkit.backend.embedded.runtime import runtime_of
from envkit.errors import ConflictError
from envkit.host import leftovers, proc
from envkit.host.cgroups import Cgroups
from envkit.host.files import remove_tree
from envkit.host.home import Home
from envkit.host.namespace import Engine
from envkit.host.steps import step
from envkit.lean import json

_END = 5.0
_OWN = (
    "resources", "environment.json", "supervisor.log", "events.jsonl", "events.jsonl.1", "network.json",
    "instances",  # the last: without it nothing is left to be removed
)  # fmt: skip


def salvage(home: Home, environment: str, mounted: set[str]) -> None:
    """Remove record directories without a record, and containers of this environment that no record knows; finish the
    start-first replacements that were cut off.

    Called with the environment's lock held, so nobody is creating an instance now (a one-off's directory has its
    record from the first moment on).
    """
    base = home.instances(environment)
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        names = []
    known = set()
    for name in names:
        record = records.load(home, os.path.join(base, name))
        if record is not None:
            known.add(record.id)
            continue
        from envkit.backend.embedded import teardown

        step("salvage.directory")
        teardown.unmount_below([os.path.join(base, name)], mounted)
        remove_tree(os.path.join(base, name))
    _end_strangers(home, environment, known)
    if any(records.place_of(name) != name for name in names):
        from envkit.backend.embedded import succession

        succession.finish(home, environment, mounted)


def _end_strangers(home: Home, environment: str, known: set[str]) -> None:
    runtime = runtime_of(home)
    prefix = home.instances(environment) + "/"
    try:
        identities = set(os.listdir(runtime.root)) - known
    except FileNotFoundError:
        return
    for identity in identities:
        try:
            with open(f"{runtime.root}/{identity}/status", "rb") as file:
                bundle = str(json.loads(file.read()).get("bundle", ""))
        except (OSError, ValueError):
            continue
        if not bundle.startswith(prefix):
            continue
        step("salvage.container")
        init = runtime.init(identity)
        if init is not None:
            proc.kill_and_wait([(init.pid, init.start)], _END)
        runtime.forget(identity)
        Cgroups.of(home).remove(Cgroups.of(home).path_for(environment, identity))
        forget_shadow(Cgroups.of(home).path_for(environment, identity))


def is_empty(home: Home, environment: str) -> bool:
    """Whether neither an instance nor a network of the environment is left."""
    from envkit.backend.embedded import wiring

    return not records.load_all(home, environment) and not wiring.has_networks(home, environment)


def remove_environment(home: Home, environment: str, mounted: set[str]) -> None:
    """Remove every trace of an empty environment but its volumes and its journal."""
    from envkit.backend.embedded import supervision, teardown, wiring

    supervision.end(home, environment)
    wiring.forget_networks(home, environment)
    step("environment.remove")
    teardown.unmount_below([run_directory(home, environment)], mounted)
    remove_tree(run_directory(home, environment))
    Cgroups.of(home).remove_environment(environment)
    group = os.path.dirname(Cgroups.of(home).path_for(environment, "x"))
    if group.strip("/"):
        forget_shadow(group)
    leftovers.sweep((home.environment(environment),))
    for name in _OWN:
        remove_tree(os.path.join(home.environment(environment), name))
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(home.environment(environment), "lock"))
    with suppress(OSError):  # not empty: the journal is its writer's to remove
        os.rmdir(home.environment(environment))


def has_only_oneoffs(home: Home, environment: str) -> bool:
    """Whether nothing but one-off containers is left: no service, no network."""
    from envkit.backend.embedded import wiring

    return all(record.oneoff for record in records.load_all(home, environment)) and not wiring.has_networks(
        home, environment
    )


def is_half_removed(home: Home, environment: str) -> bool:
    """Whether a `down` was cut off after its last instance: the directory of instances is there, and empty."""
    return os.path.isdir(home.instances(environment)) and is_empty(home, environment)


def release_engine(home: Home, engine: Engine) -> None:
    """Let the engine namespace go when no environment has an instance and nobody builds images in it.

    A process with other threads (`watch`) stays inside, since it could not enter the next one.
    """
    if threading.active_count() > 1:
        return
    try:
        names = os.listdir(home.environments)
    except FileNotFoundError:
        names = []
    if any(not is_empty(home, name) for name in names):
        return
    from envkit.image.store import Store

    try:
        with Store(home).session(exclusive=True):
            engine.release()
    except ConflictError:
        return


def forget(home: Home, environment: str) -> None:
    """Remove every trace of an environment that is empty; nothing happens where it is not, or somebody works there."""
    from envkit.backend.embedded.session import engine_of
    from envkit.host.lock import Lock
    from envkit.host.mountinfo import mount_table

    if not os.path.isdir(home.environment(environment)):
        return
    lock = Lock(os.path.join(home.environment(environment), "lock"), {"environment": environment})
    with suppress(ConflictError):
        lock.acquire(0)
        try:
            if is_empty(home, environment):
                engine = engine_of(home)
                engine.enter()
                remove_environment(home, environment, {row.target for row in mount_table()})
                release_engine(home, engine)
        finally:
            lock.release()


def sweep(home: Home) -> list[str]:
    """Finish the removals that were cut off, and remove what no environment knows of; what it was, for people."""
    from envkit.backend.embedded import network, volume_data
    from envkit.backend.embedded.session import engine_of

    found = volume_data.sweep(home)
    if not os.path.isdir(home.run):
        return found
    engine = engine_of(home)
    engine.enter()
    for name in _listed(home.environments):
        if is_half_removed(home, name):
            forget(home, name)
            found.append(f"environment {name}")
            engine.enter()
    found += network.sweep(home)
    release_engine(home, engine)
    return found


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
