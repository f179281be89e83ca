"""Write the bundle of one instance: its root, volumes and materials made, everything looked up, config.json encoded."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.address import Address
from envkit.backend.embedded import bundle, executable, instance, namespaces, teardown, vitals
from envkit.backend.embedded import record as records
from envkit.backend.embedded.mounts import SHM_SIZE
from envkit.backend.embedded.picture import Picture
from envkit.backend.embedded.prepare import Workshop
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.wiring import Wires
from envkit.errors import NotFoundError
from envkit.host import mounts
from envkit.host.cgroups import Cgroups
from envkit.host.files import make_directory, write_atomic
from envkit.lean import json
from envkit.spec.environment import Environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Bundler:
    """Writes bundles for the instances of one environment in one session."""

    def __init__(self, environment: Environment, workshop: Workshop, wires: Wires) -> None:
        self.home = workshop.home
        self.environment = environment
        self.workshop = workshop
        self.wires = wires
        self.cgroups = Cgroups.of(self.home)
        self._volume_names = {
            address.name: str(item.spec.get("name") or address.name)
            for address, item in environment.resources.items()
            if address.kind == "volume"
        }
        self._shared_ipc = {
            str(item.spec["ipc"]).removeprefix("service:")
            for item in environment.services.values()
            if str(item.spec.get("ipc") or "").startswith("service:")
        }

    def write(self, record: Record, picture: Picture) -> list[str]:
        """Have everything that the instance starts from; its network is there already. Returns warnings.

        The record learns its root, volumes, limits and host name; it is not saved here.
        """
        spec = record.spec
        binds = self.workshop.mounts_of(record, spec, picture, self._inherited(spec), self._volume_names)
        record.root = self.workshop.root(record, spec, picture, binds)
        for item in binds:
            self.workshop.fill(picture, record.root, item)
        spaces = namespaces.decide(
            spec, netns=record.netns, cgroup_v2=self.cgroups.version == "v2", shm_source=self._shm(record),
            find=self._peer,
        )  # fmt: skip
        if spaces.network_peer is not None and not spec.get("hostname"):
            record.hostname = spaces.network_peer.hostname
        files = self.wires.files(record, spaces.network_peer)
        facts, warnings = self.workshop.facts(record, spec, picture, binds, spaces, files)
        record.limits = self.cgroups.effective(spec.get("limits") or {})
        config = bundle.encode(spec, picture.config, facts)
        if facts.init:
            executable.check(record.root, config)
        data = json.dumps(config).encode()
        if record.complete:  # the supervisor may start it again at any moment
            write_atomic(record.path("config.json"), data, 0o600, durable=False)
        else:
            records.spill(record.path("config.json"), data)
        vitals.write(record, config, data)
        return warnings

    def _peer(self, kind: str, name: str) -> namespaces.Peer | None:
        """The instance that `service:NAME` or `container:NAME` means; None when there is none."""
        if kind == "service":
            record = records.find(self.home, self.environment.name, Address("service", name))
        else:
            record = records.find_named(self.home, name)
        if record is None:
            return None
        shm = teardown.shm_directory(record)
        return namespaces.Peer(
            instance.status(record).pid, record.hostname, record.directory, record.netns,
            record.network_mode == "host", shm if shm in self.workshop.mounted else "",
        )  # fmt: skip

    def _inherited(self, spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The mounts that `volumes_from` takes over, anonymous volumes included."""
        rows: list[Mapping[str, Any]] = []
        for text in spec.get("volumes_from") or ():
            name, _, mode = text.removeprefix("container:").partition(":")
            if text.startswith("container:"):
                owner = records.find_named(self.home, name)
            else:
                owner = records.find(self.home, self.environment.name, Address("service", name))
            if owner is None:
                raise NotFoundError("`volumes_from` names a service that is not there", name)
            rows += [_taken_over(row, owner, mode == "ro") for row in owner.spec.get("mounts") or ()]
            known = {str(row["target"]).rstrip("/") for row in rows}
            rows += [
                {"type": "volume", "target": target, "volume_name": volume, "read_only": mode == "ro"}
                for target, volume in owner.anonymous.items()
                if target.rstrip("/") not in known
            ]
        return rows

    def _shm(self, record: Record) -> str:
        """The directory that is /dev/shm of an ipc namespace which others join, mounted; "" when nobody may."""
        if record.spec.get("ipc") != "shareable" and record.service not in self._shared_ipc:
            return ""
        target = teardown.shm_directory(record)
        if target not in self.workshop.mounted:
            make_directory(target, 0o700)
            size = int(record.spec.get("shm_size") or SHM_SIZE)
            mounts.tmpfs(target, ("mode=1777", f"size={size}"), flags=mounts.MS_NOSUID | mounts.MS_NODEV)
            self.workshop.mounted.add(target)
        return target


def _taken_over(row: Mapping[str, Any], owner: Record, read_only: bool) -> Mapping[str, Any]:
    result = dict(row)
    if row["type"] == "volume" and not row.get("source"):
        result["volume_name"] = owner.anonymous.get(str(row["target"]), "")
    if read_only:
        result["read_only"] = True
    return result
