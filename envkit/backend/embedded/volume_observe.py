"""Volumes as they are: there or gone, described and mounted as the last apply left them. Writes nothing."""

from __future__ import annotations

import os

from envkit.address import Address
from envkit.backend.embedded import volumes
from envkit.backend.embedded.record import slurp
from envkit.backend.embedded.status import monitor_pid
from envkit.observed.state import ObservedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.backend.embedded.record import Record
    from envkit.backend.embedded.volumes import Volume
    from envkit.host.home import Home
    from envkit.spec.environment import Environment


def observe(home: Home, environment: Environment, alive: Sequence[Record]) -> Iterator[ObservedResource]:
    """Every volume of the environment; an anonymous one is called by its name. alive: its running instances."""
    name = environment.name
    for volume in volumes.load_all(home, name):
        if not volume.key:
            if not volume.name.startswith(f"{name}_run-"):  # a one-off's goes with it
                yield ObservedResource(
                    Address("volume", volume.name), volume.spec, volume.fingerprint,
                    attributes={"name": volume.name, "owner": volume.owner},
                )  # fmt: skip
            continue
        address = Address("volume", volume.key)
        desired = environment.resources.get(address)
        spec = desired.spec if desired is not None and desired.fingerprint == volume.fingerprint else None
        expected, actual = _description(volume, spec)
        if volume.needs_mount:
            before, now = _mounted(home, volume, alive)
            if before and now and before != now:
                expected["driver_opts.o"], actual["driver_opts.o"] = before, now
        yield ObservedResource(
            address, volume.spec, volume.fingerprint, expected, actual,
            missing=not os.path.isdir(volume.bound_device or volumes.data(home, volume.name)),
            attributes={"name": volume.name},
        )  # fmt: skip


def _description(volume: Volume, spec: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What volume.json says otherwise than the last apply wrote: spec, where that is known, else its fingerprint."""
    expected: dict[str, Any] = {}
    actual: dict[str, Any] = {}
    if spec is not None:
        if spec != volume.spec:
            _differing(spec, volume.spec, "", expected, actual)
    elif volume.fingerprint:
        from envkit.digest import fingerprint

        if fingerprint(volume.spec) != volume.fingerprint:
            expected["options"], actual["options"] = "as written", "changed"
    return expected, actual


def _differing(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str, expected: dict[str, Any], actual: dict[str, Any]
) -> None:
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old or {}, dict) and isinstance(new or {}, dict):
            _differing(old or {}, new or {}, f"{path}{key}.", expected, actual)
            continue
        if old is not None:
            expected[f"{path}{key}"] = old
        if new is not None:
            actual[f"{path}{key}"] = new


def _mounted(home: Home, volume: Volume, alive: Sequence[Record]) -> tuple[str, str]:
    """(the options that the kernel showed when the volume was mounted, those of now), "" where they are not known."""
    kept = slurp(os.path.join(volumes.directory(home, volume.name), "mounted"))
    monitor = next((pid for record in alive if volume.name in record.volumes and (pid := monitor_pid(record))), 0)
    table = slurp(f"/proc/{monitor}/mountinfo") if monitor and kept else None
    if not kept or not table:
        return "", ""
    target = volumes.data(home, volume.name).encode()
    rows = [line for line in table.splitlines() if line.split(b" ", 5)[4] == target]
    return kept.decode(), volumes.mount_options(rows[-1].decode()) if rows else ""
