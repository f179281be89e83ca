"""The embedded backend: crun, conmon and overlayfs behind the port of backend.base. Delegates; decides nothing."""

from __future__ import annotations

from envkit.backend.base import Capabilities, VolumeInfo
from envkit.errors import ConflictError, NotFoundError

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
    )
    from envkit.events import Emit
    from envkit.host.home import Home
    from envkit.observed.state import Instance, ObservedState
    from envkit.spec.environment import Environment

IN_PLACE = frozenset({
    "limits", "labels", "deploy_labels", "restart", "healthcheck", "stop_signal", "stop_grace_period",
    "logging.options", "placement", "endpoint_mode", "expose", "depends_on", "published", "interfaces", "routes", "etc",
    "instances", "ports", "networks", "extra_hosts", "links", "external_links", "dns", "dns_search", "dns_opt",
    "pre_stop", "reservations",
})  # fmt: skip
RESTART = frozenset({"state", "monitor", "bundle", "process", "mounted"})


class Embedded:
    """See backend.base.Backend."""

    name = "embedded"

    def __init__(self, home: Home) -> None:
        self.home = home

    def capabilities(self) -> Capabilities:
        from envkit.backend.alone import alone
        from envkit.backend.embedded.check import check

        return Capabilities(
            self.name, True, IN_PLACE, RESTART, lambda environment: check(self.home, environment), alone=alone
        )

    def observe(
        self, environment: Environment, *, thorough: bool = True, only: Collection[Address] | None = None
    ) -> ObservedState:
        from envkit.backend.embedded.observe import observe

        return observe(self.home, environment, thorough=thorough, only=only)

    def session(
        self, environment: Environment, *, materials: Materials, emit: Emit, parallel: int, lock_timeout: float | None
    ) -> AbstractContextManager[Session]:
        from envkit.backend.embedded.session import opened

        return opened(self.home, environment, materials, emit, parallel, lock_timeout)

    def instances(self, environment: str) -> list[Instance]:
        from envkit.backend.embedded.observe import instances

        return instances(self.home, environment)

    def logs(self, environment: str, query: LogQuery) -> Iterator[LogEntry]:
        from envkit.backend.embedded.logs import logs

        return logs(self.home, environment, query)

    def exec(self, environment: str, request: ExecRequest) -> int:
        from envkit.backend.embedded.exec import exec_in

        return exec_in(self.home, environment, request)

    def run(self, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
        from envkit.backend.embedded.run import run

        return run(self.home, environment, request, materials=materials, emit=emit)

    def attach(
        self, environment: str, address: Address, *, stdin: bool = True, forward_signals: bool = True,
        detach_keys: str = "",
    ) -> int:  # fmt: skip
        from envkit.backend.embedded.join import join

        return join(
            self.home, environment, address, stdin=stdin, forward_signals=forward_signals, detach_keys=detach_keys
        )

    def control(
        self, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        from envkit.backend.embedded.control import control

        control(self.home, environment, addresses, verb, emit=emit, signal=signal, timeout=timeout)

    def copy_from(self, environment: str, address: Address, path: str) -> Iterator[bytes]:
        from envkit.backend.embedded.copy import copy_from

        return copy_from(self.home, environment, address, path)

    def copy_to(self, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
        from envkit.backend.embedded.copy import copy_to

        copy_to(self.home, environment, address, path, tar)

    def sync_to(
        self, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
    ) -> None:
        from envkit.backend.embedded.sync import sync_to

        sync_to(self.home, environment, address, target, removed, tar)

    def prepare(self) -> None:
        """Enter the engine namespace: with a second thread it is too late (setns(2))."""
        from envkit.backend.embedded.session import engine_of

        engine_of(self.home).enter()

    def written(self, environment: str, address: Address) -> list[tuple[str, str]]:
        from envkit.backend.embedded.written import all_written

        return all_written(self.home, environment, address)

    def usage(self, environment: str) -> list[Usage]:
        from envkit.backend.embedded.stats import usage

        return usage(self.home, environment)

    def processes(self, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
        from envkit.backend.embedded.stats import processes

        return processes(self.home, environment, services)

    def events(self, environment: str, *, since: float | None, follow: bool) -> Iterator[dict[str, str]]:
        from envkit.backend.embedded.events import events

        return events(self.home.environment(environment), since, follow)

    def environments(self) -> list[str]:
        from envkit.backend.embedded.observe import environments

        return environments(self.home)

    def maintain(self, environment: str) -> None:
        from envkit.backend.embedded.maintain import maintain

        maintain(self.home, environment)

    def forget(self, environment: str) -> None:
        from envkit.backend.embedded.salvage import forget

        forget(self.home, environment)

    def sweep(self) -> list[str]:
        from envkit.backend.embedded.salvage import sweep

        return sweep(self.home)

    def images_in_use(self, environment: str) -> set[str]:
        from envkit.backend.embedded.observe import images_in_use

        return images_in_use(self.home, [environment])

    def volumes(self, environment: str | None = None) -> list[VolumeInfo]:
        from envkit.backend.embedded import volumes

        users = volumes.users(self.home)
        return [
            VolumeInfo(
                item.name, item.key, item.environment, item.bound_device or volumes.data(self.home, item.name), "local",
                tuple(users.get(item.name, ())),
            )
            for item in volumes.load_all(self.home, environment)
        ]  # fmt: skip

    def volume_data(self) -> VolumeData:
        from envkit.backend.embedded.volume_data import Keeper

        return Keeper(self.home)

    def remove_volume(self, name: str) -> SnapshotInfo | None:
        from envkit.backend.embedded import volume_data, volumes

        if volumes.load(self.home, name) is None:
            raise NotFoundError("A volume does not exist", repr(name), "`envkit volume ls` shows what there is")
        if holders := volumes.users(self.home).get(name):
            raise ConflictError(
                "A volume is in use", f"{name}: {', '.join(holders)}", "take those services down first"
            )
        return volume_data.remove_volume(self.home, name)
