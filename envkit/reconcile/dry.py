"""A backend for `--dry-run`: what is there is the real one's, and nothing is done to it but said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from envkit.address import Address
from envkit.backend.base import Backend, ExecRequest, Materials, RunRequest
from envkit.errors import UsageError
from envkit.events import Emit, Event, EventKind
from envkit.spec.environment import Environment


class Dry:
    """See backend.base.Backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        """What only looks."""
        return getattr(self._backend, name)

    def session(self, environment: Environment, **_: object) -> NoReturn:
        raise UsageError("this command has no dry run", hint="`envkit plan` says what an apply would do")

    def maintain(self, environment: str) -> None:
        """Nothing is started."""

    def control(
        self, environment: str, addresses: Sequence[Address], verb: str, *, emit: Emit, signal: str = "",
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        for address in addresses:
            emit(Event(EventKind.PROGRESS, str(address), verb, f"would {verb}"))

    def exec(self, environment: str, request: ExecRequest) -> int:
        raise UsageError("exec has no dry run")

    def run(self, environment: Environment, request: RunRequest, *, materials: Materials, emit: Emit) -> int:
        raise UsageError("run has no dry run")

    def attach(self, environment: str, address: Address, **_: object) -> int:
        raise UsageError("attach has no dry run")

    def copy_to(self, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
        raise UsageError("cp has no dry run")

    def sync_to(
        self, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
    ) -> None:
        raise UsageError("watch has no dry run")

    def prepare(self) -> None:
        """Nothing is entered."""

    def volume_data(self) -> NoReturn:
        raise UsageError("the content of volumes has no dry run")

    def remove_volume(self, name: str) -> None:
        raise UsageError("volume rm has no dry run")
