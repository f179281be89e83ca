"""Change a living instance without restarting it: limits, labels, restart policy, health check; mend its network."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.backend.embedded import devices, instance, limits, sealed, vitals
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.wiring import Wires
from envkit.host.cgroups import Cgroups
from envkit.host.files import write_atomic
from envkit.lean import json
from envkit.plan.model import Change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIRED = (
    "published.", "networks", "interfaces.", "routes.", "ports", "extra_hosts", "links", "external_links", "dns",
)  # fmt: skip
_FOREIGN = ("interfaces.foreign[", "routes.")


def update(record: Record, change: Change, wires: Wires) -> None:
    """Make the instance what record.spec says now; change.observed is what it was. Saves the record."""
    cgroups = Cgroups.of(record.home)
    before: Mapping[str, Any] = (change.observed.spec.get("limits") if change.observed else None) or {}
    wanted: Mapping[str, Any] = record.spec.get("limits") or {}
    paths = [item.path for item in change.attributes]
    if before != wanted or any(path.startswith("limits.") for path in paths):
        _rewrite_limits(record, wanted, cgroups)
        if record.cgroup and instance.status(record).is_alive:
            cgroups.write_limits(record.cgroup, wanted, before)
    record.limits = cgroups.effective(wanted)
    if "state" in paths:
        instance.resume(record)
    if wrong := [path for path in paths if path.startswith(_FOREIGN)]:
        wires.take_away(record, wrong)
    if any(path.startswith("etc.") for path in paths):
        sealed.mend(record, paths)
    if any(path.startswith(_WIRED) for path in paths):
        wires.mend([record])
    record.desired, record.complete = "running", True
    record.save()


def _rewrite_limits(record: Record, wanted: Mapping[str, Any], cgroups: Cgroups) -> None:
    """A later start must have the same limits: they are part of the bundle."""
    path = record.path("config.json")
    with open(path, "rb") as file:
        config = json.loads(file.read())
    old = config["linux"].get("resources")
    if old is None:
        return
    kept = limits.kept(wanted, cgroups.supported)
    config["linux"]["resources"] = {**limits.resources(kept, devices.number), "devices": old.get("devices", [])}
    data = json.dumps(config).encode()
    write_atomic(path, data, 0o600, durable=False)
    vitals.write(record, config, data)
