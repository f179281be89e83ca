"""The Swarm backend: a cluster behind the port of backend.base. Delegates; decides nothing."""

from __future__ import annotations

from envkit.backend.base import Capabilities
from envkit.backend.swarm.cluster import Cluster
from envkit.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

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
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.observed.state import Instance, ObservedState
    from envkit.spec.environment import Environment

IN_PLACE = frozenset({
    "replicas", "deploy_labels", "update", "rollback", "rollout", "expose", "depends_on", "pull_policy", "attach",
})  # fmt: skip
RESTART = frozenset({"state"})


class Swarm:
    """See backend.base.Backend. place: the settings of the target."""

    name = "swarm"

    def __init__(self, home: Home, place: Mapping[str, Any] | None = None) -> None:
        self.home = home
        self.cluster = Cluster(place or {})

    def capabilities(self) -> Capabilities:
        from envkit.backend.swarm.check import check

        return Capabilities(
            self.name, False, IN_PLACE, RESTART, lambda environment: check(self.cluster, self.home, environment)
        )

    def observe(
        self, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
    ) -> ObservedState:
        from envkit.backend.swarm.observe import observe

        self.cluster.check()
        return observe(self.cluster, self.home, environment)

    def session(
        self, environment: Environment, *, materials: Materials, emit: Emit, parallel: int, lock_timeout: float | None
    ) -> AbstractContextManager[Session]:
        from envkit.backend.swarm.session import opened

        return opened(self.cluster, self.home, environment, materials, emit, parallel, lock_timeout)

    def maintain(self, environment: str) -> None:
        """The managers do that."""

    def forget(self, environment: str) -> None:
        from envkit.backend.swarm.images import ledger_of

        if not self.cluster.services(environment) and not self.cluster.networks(environment):
            ledger_of(self.cluster, self.home, environment).remove()

    def sweep(self) -> list[str]:
        """Nothing outlives a command but in the cluster."""
        return []

    def prepare(self) -> None:
        """Nothing here minds threads."""

    def instances(self, environment: str) -> list[Instance]:
        from envkit.backend.swarm.observe import instances

        return instances(self.cluster, environment)

    def logs(self, environment: str, query: LogQuery) -> Iterator[LogEntry]:
        from envkit.backend.swarm.logs import logs

        return logs(self.cluster, environment, query)

    def exec(self, environment: str, request: ExecRequest) -> int:
        from envkit.backend.swarm.attached import exec_in

        return exec_in(self.cluster, environment, request)

    def run(self, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
        from envkit.backend.swarm.run import run

        return run(self.cluster, self.home, environment, request, materials, emit)

    def attach(
        self, environment: str, address: Address, *, stdin: bool = True, forward_signals: bool = True,
        detach_keys: str = "",
    ) -> int:  # fmt: skip
        from envkit.backend.swarm.attached import attach

        return attach(
            self.cluster, environment, address, stdin=stdin, forward_signals=forward_signals, detach_keys=detach_keys
        )

    def control(
        self, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        from envkit.backend.swarm.control import control

        control(self.cluster, environment, addresses, verb, emit=emit, signal=signal)

    def copy_from(self, environment: str, address: Address, path: str) -> Iterator[bytes]:
        from envkit.backend.swarm.inside import copy_from

        return copy_from(self.cluster, environment, address, path)

    def copy_to(self, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
        from envkit.backend.swarm.inside import copy_to

        copy_to(self.cluster, environment, address, path, tar)

    def sync_to(
        self, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
    ) -> None:
        from envkit.backend.swarm.inside import sync_to

        sync_to(self.cluster, environment, address, target, removed, tar)

    def written(self, environment: str, address: Address) -> list[tuple[str, str]]:
        from envkit.backend.swarm.inside import written

        return written(self.cluster, environment, address)

    def usage(self, environment: str) -> list[Usage]:
        from envkit.backend.swarm.inside import usage

        return usage(self.cluster, environment)

    def processes(self, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        from envkit.backend.swarm.inside import processes

        return processes(self.cluster, environment, services)

    def events(self, environment: str, *, since: float | None, follow: bool) -> Iterator[dict[str, str]]:
        from envkit.backend.swarm.events import events

        return events(self.cluster, environment, since, follow)

    def environments(self) -> list[str]:
        from envkit.backend.swarm.observe import environments

        self.cluster.check()
        return environments(self.cluster)

    def images_in_use(self, environment: str) -> set[str]:
        from envkit.backend.swarm.images import used

        return used(self.cluster, environment)

    def volumes(self, environment: str | None = None) -> list[VolumeInfo]:
        from envkit.backend.swarm.volumes import infos

        return infos(self.cluster, environment)

    def volume_data(self) -> VolumeData:
        raise UnsupportedError(
            "A Swarm keeps no snapshots of volumes", "their data is on the nodes", "save it with a program of its own"
        )

    def remove_volume(self, name: str) -> SnapshotInfo | None:
        from envkit.backend.swarm.volumes import remove_named

        remove_named(self.cluster, name)
        return None
