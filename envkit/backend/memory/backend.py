"""The port of the memory backend."""

from __future__ import annotations

import io
import tarfile
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from envkit.address import Address
from envkit.backend.base import (
    Capabilities,
    ExecRequest,
    LogEntry,
    LogQuery,
    Materials,
    RunRequest,
    Session,
    Usage,
    VolumeData,
    VolumeInfo,
)
from envkit.backend.memory.session import MemorySession
from envkit.backend.memory.world import Thing, World
from envkit.backend.ownership import instance_name
from envkit.diagnostics import Diagnostic, Severity
from envkit.errors import ConflictError, NotFoundError, UnsupportedError
from envkit.events import Emit
from envkit.observed.state import Instance, InstanceState, ObservedState
from envkit.spec.environment import Environment

_IN_PLACE = frozenset({"limits", "labels", "restart", "stop_grace_period", "stop_signal", "published"})
_RESTART = frozenset({"networks", "configs", "config_digests"})


class Memory:
    """Everything of it is in `world`, which tests may look into and tamper with."""

    name = "memory"

    def __init__(self, *, expands_replicas: bool = True) -> None:
        self.world = World()
        self._expands = expands_replicas
        self._guard = threading.RLock()
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def capabilities(self) -> Capabilities:
        return Capabilities(self.name, self._expands, _IN_PLACE, _RESTART, self._check)

    def _check(self, environment: Environment) -> Sequence[Diagnostic]:
        """External volumes must be there; there are no external networks."""
        return [
            Diagnostic(
                Severity.ERROR, "missing-external", f"An external {address.kind} does not exist", resource.spec["name"],
                hint="make it, or leave `external` out",
            )
            for address, resource in environment.resources.items()
            if resource.spec.get("external") and address.kind in ("volume", "network")
            and resource.spec["name"] not in self.world.volumes
        ]  # fmt: skip

    def observe(
        self, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
    ) -> ObservedState:
        with self._guard:
            resources = {item.address: item for item in self.world.observe(environment.name)}
            images = {
                address.name: self.world.images[address.name]
                for address in environment.resources
                if address.kind == "image" and address.name in self.world.images
            }
        return ObservedState(environment.name, resources, images)

    @contextmanager
    def session(
        self, environment: Environment, *, materials: Materials, emit: Emit, parallel: int, lock_timeout: float | None
    ) -> Iterator[Session]:
        lock = self._locks[environment.name]
        if not lock.acquire(timeout=-1 if lock_timeout is None else lock_timeout):
            raise ConflictError("Another apply holds the lock", f"of the environment {environment.name}")
        try:
            yield MemorySession(self.world, environment.name, materials, self._guard)
        finally:
            lock.release()

    def maintain(self, environment: str) -> None:
        """There is nothing that could have died."""

    def forget(self, environment: str) -> None:
        """Nothing is remembered but what is there."""

    def sweep(self) -> list[str]:
        """Nothing outlives a command."""
        return []

    def instances(self, environment: str) -> list[Instance]:
        with self._guard:
            return [self._row(environment, address, thing) for address, thing in self._services(environment)]

    def _row(self, environment: str, address: Address, thing: Thing) -> Instance:
        published = {path: where for path, where in thing.actual.items() if path.startswith("published.")}
        ports = tuple(f"{where}->{path.removeprefix('published.')}" for path, where in published.items())
        name = instance_name(environment, address, thing.spec)
        return Instance(
            address.name, address.index, f"{thing.identity:012x}", name, thing.state,
            self.world.health_of(address, thing), thing.exit_code, 0, thing.spec.get("image", ""), ports, "",
        )  # fmt: skip

    def _services(self, environment: str) -> list[tuple[Address, Thing]]:
        things = self.world.things.get(environment, {})
        found = [(address, thing) for address, thing in things.items() if address.kind == "service"]
        return sorted(((address, thing) for address, thing in found if not thing.missing), key=lambda item: item[0])

    def logs(self, environment: str, query: LogQuery) -> Iterator[LogEntry]:
        for address, thing in self._services(environment):
            if query.services and address.name not in query.services:
                continue
            for line in thing.log[-query.tail if query.tail else 0 :]:
                yield LogEntry(address.name, address.index, "", "stdout", line)

    def exec(self, environment: str, request: ExecRequest) -> int:
        raise UnsupportedError("The memory backend runs no programs", " ".join(request.argv))

    def run(self, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
        raise UnsupportedError("The memory backend runs no programs", request.service)

    def attach(
        self, environment: str, address: Address, *, stdin: bool = True, forward_signals: bool = True,
        detach_keys: str = "",
    ) -> int:  # fmt: skip
        raise UnsupportedError("The memory backend runs no programs", str(address))

    def control(
        self, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        with self._guard:
            for address in addresses:
                thing = self.world.find(environment, address)
                match verb:
                    case "start" | "restart":
                        self.world.start(environment, address)
                    case "stop":
                        self.world.end(environment, address, 0, by_user=True)
                    case "kill":
                        self.world.end(environment, address, 137)
                    case "pause" | "unpause":
                        thing.state = InstanceState.PAUSED if verb == "pause" else InstanceState.RUNNING

    def copy_from(self, environment: str, address: Address, path: str) -> Iterator[bytes]:
        content = self.world.find(environment, address).files.get(path)
        if content is None:
            raise NotFoundError("There is no such file", f"{path} in {address}")
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            member = tarfile.TarInfo(path.rpartition("/")[2])
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        yield stream.getvalue()

    def copy_to(self, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
        thing = self.world.find(environment, address)
        with tarfile.open(fileobj=io.BytesIO(b"".join(tar))) as archive:
            for member in archive:
                if (content := archive.extractfile(member)) is not None:
                    thing.files[f"{path.rstrip('/')}/{member.name}"] = content.read()

    def sync_to(
        self, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
    ) -> None:
        files = self.world.find(environment, address).files
        for gone in (f"{target.rstrip('/')}/{path}" for path in removed):
            for path in [path for path in files if path == gone or path.startswith(gone + "/")]:
                del files[path]
        self.copy_to(environment, address, target, tar)

    def prepare(self) -> None:
        """Nothing here minds threads."""

    def written(self, environment: str, address: Address) -> list[tuple[str, str]]:
        """Instances in memory have no layer of their own."""
        return []

    def usage(self, environment: str) -> list[Usage]:
        return [Usage(str(address), 0.0, 0, 0, 0, 0, 0, 0, 0) for address, _ in self._services(environment)]

    def processes(self, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        chosen = [address for address, _ in self._services(environment) if not services or address.name in services]
        return {str(address): [] for address in chosen}

    def events(self, environment: str, *, since: float | None, follow: bool) -> Iterator[dict[str, str]]:
        return iter(())

    def environments(self) -> list[str]:
        return sorted({*self.world.things, *(volume.environment for volume in self.world.volumes.values())})

    def images_in_use(self, environment: str) -> set[str]:
        return {thing.image_digest for _, thing in self._services(environment) if thing.image_digest}

    def volumes(self, environment: str | None = None) -> list[VolumeInfo]:
        return [
            VolumeInfo(name, name, thing.environment, "", "local", tuple(self._users(name, thing)))
            for name, thing in self.world.volumes.items()
            if environment in (None, thing.environment)
        ]

    def _users(self, name: str, volume: Thing) -> Iterator[str]:
        for address, thing in self._services(volume.environment):
            if volume.identity in thing.holds.values():
                yield f"{volume.environment}/{address}"

    def volume_data(self) -> VolumeData:
        raise UnsupportedError("The memory backend keeps no data", "its volumes have no content")

    def remove_volume(self, name: str) -> None:
        volume = self.world.volumes.get(name)
        if volume is None:
            raise NotFoundError("There is no such volume", name)
        if users := list(self._users(name, volume)):
            raise ConflictError("The volume is in use", f"{name} by {', '.join(users)}", "envkit down")
        del self.world.volumes[name]
