"""The port of Docker and Podman. Every call imports what it needs and no more."""

from __future__ import annotations

from envkit.backend.base import Capabilities
from envkit.backend.engine_api import Engine, EngineAddress, EngineConflictError, EngineNotFoundError, connect
from envkit.errors import ConflictError, NotFoundError, UnsupportedError
from envkit.lean import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from envkit.address import Address
    from envkit.backend.base import (
        ExecRequest,
        LogEntry,
        LogQuery,
        Materials,
        RunRequest,
        Session,
        SnapshotInfo,
        Usage,
        VolumeData,
        VolumeInfo,
    )
    from envkit.backend.docker.look import Seen
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.observed.state import Instance, ObservedState
    from envkit.spec.environment import Environment


class Docker:
    """See backend.base.Backend. name: docker, or podman for Podman's service."""

    def __init__(self, home: Home, address: EngineAddress | None = None, *, name: str = "docker") -> None:
        self.home = home
        self.name = name
        self._address = address
        self._seen: Seen | None = None
        self.builder = ""
        """engine: Dockerfiles are left to the engine's own builder."""

    @cached_property
    def engine(self) -> Engine:
        """The engine, found when it is first needed."""
        return connect(self._address)

    def capabilities(self) -> Capabilities:
        from envkit.backend.alone import alone
        from envkit.backend.docker.check import check
        from envkit.backend.docker.update import IN_PLACE, PODMAN_IN_PLACE

        in_place = PODMAN_IN_PLACE if self.name == "podman" else IN_PLACE
        return Capabilities(
            self.name, in_place=in_place,
            check=lambda environment: check(self.engine, self.name, environment, builder=self.builder),
            alone=alone,
        )  # fmt: skip

    def observe(
        self, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
    ) -> ObservedState:
        from envkit.backend.docker.observe import observe

        state, containers = observe(self.engine, self.home, environment, thorough=thorough, only=only)
        if only is None:
            from envkit.backend.docker.look import Seen

            self._seen = Seen(environment.name, state.at, containers)
        return state

    def session(
        self, environment: Environment, *, materials: Materials, emit: Emit, parallel: int, lock_timeout: float | None
    ) -> AbstractContextManager[Session]:
        from envkit.backend.docker.session import opened

        return opened(
            self.engine, self.home, environment, materials=materials, emit=emit, width=parallel,
            lock_timeout=lock_timeout, seen=self._seen, builder=self.builder,
        )  # fmt: skip

    def maintain(self, environment: str) -> None:
        """The engine looks after its containers by itself; when registries were asked is remembered."""
        from envkit.backend.docker.policy import remember

        remember(self.engine, self.home, environment)

    def pull_image(
        self, reference: str, *, policy: str, platform: str, pinned: str, emit: Emit, address: str
    ) -> str:
        """Let the engine pull an image (policy `missing`: where it has none); the engine's id of it."""
        from envkit.backend.docker.images import pull
        from envkit.backend.docker.look import quoted

        path = f"/images/{quoted(reference)}/json"
        found = self.engine.get_all(path)[0] if policy == "missing" else None
        if found is None:
            pull(self.engine, reference, pinned=pinned, platform=platform, address=address, emit=emit)
            found = self.engine.get(path)
        return str(found["Id"])

    def forget(self, environment: str) -> None:
        from envkit.backend.ledger import Ledger

        Ledger(self.home, self.engine.address, environment).remove()

    def sweep(self) -> list[str]:
        """What a cut-off session leaves is removed by the next one of its environment."""
        return []

    def instances(self, environment: str) -> list[Instance]:
        from envkit.backend.docker.observe import instances

        return instances(self.engine, environment)

    def logs(self, environment: str, query: LogQuery) -> Iterator[LogEntry]:
        from envkit.backend.docker.logs import logs

        return logs(self.engine, environment, query)

    def exec(self, environment: str, request: ExecRequest) -> int:
        from envkit.backend.docker.inside import exec_in

        return exec_in(self.engine, environment, request)

    def run(self, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
        from envkit.backend.docker.run import run

        return run(self.engine, self.home, environment, request, materials=materials, emit=emit)

    def attach(
        self, environment: str, address: Address, *, stdin: bool = True, forward_signals: bool = True,
        detach_keys: str = "",
    ) -> int:  # fmt: skip
        from envkit.backend.docker.inside import attach

        return attach(
            self.engine, environment, address, stdin=stdin, forward_signals=forward_signals, detach_keys=detach_keys
        )

    def control(
        self, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        from envkit.backend.docker.control import control

        control(self.engine, self.home, environment, addresses, verb, emit=emit, signal=signal, timeout=timeout)

    def copy_from(self, environment: str, address: Address, path: str) -> Iterator[bytes]:
        from envkit.backend.docker.inside import copy_from

        return copy_from(self.engine, environment, address, path)

    def copy_to(self, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
        from envkit.backend.docker.inside import copy_to

        copy_to(self.engine, environment, address, path, tar)

    def written(self, environment: str, address: Address) -> list[tuple[str, str]]:
        from envkit.backend.docker.inside import instance
        from envkit.backend.docker.written import written

        return written(self.engine, [instance(self.engine, environment, address)])[0]

    def usage(self, environment: str) -> list[Usage]:
        from envkit.backend.docker.look_inside import usage

        return usage(self.engine, environment)

    def processes(self, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        from envkit.backend.docker.look_inside import processes

        return processes(self.engine, environment, services)

    def events(self, environment: str, *, since: float | None, follow: bool) -> Iterator[dict[str, str]]:
        from envkit.backend.docker.look_inside import events

        return events(self.engine, environment, since=since, follow=follow)

    def environments(self) -> list[str]:
        from envkit.backend.docker.observe import environments

        return environments(self.engine)

    def images_in_use(self, environment: str) -> set[str]:
        from envkit.backend.docker.look import containers

        return {str(item["Image"]) for item in containers(self.engine, environment)}

    def volumes(self, environment: str | None = None) -> list[VolumeInfo]:
        from envkit.backend.docker.look_inside import volumes

        return volumes(self.engine, environment)

    def prepare(self) -> None:
        """Connections are each thread's own."""

    def sync_to(
        self, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
    ) -> None:
        from envkit.backend.docker.inside import sync_to

        sync_to(self.engine, environment, address, target, removed, tar)

    def volume_data(self) -> VolumeData:
        raise UnsupportedError(
            "An engine's volumes have no snapshots", f"the {self.name} backend keeps none",
            "`envkit run` a service that has the volume, and copy its content",
        )  # fmt: skip

    def remove_volume(self, name: str) -> SnapshotInfo | None:
        try:
            self.engine.delete(f"/volumes/{name}")
        except EngineNotFoundError as error:
            raise NotFoundError(
                "A volume does not exist", repr(name), "`envkit volume ls` shows what there is"
            ) from error
        except EngineConflictError as error:
            raise ConflictError(
                "A volume is in use", f"{name}: {error.message}", "take those services down first"
            ) from error
        return None
