"""From a service's spec to everything its bundle needs: looks up users, paths, devices, namespaces; makes roots,
volumes and materials. What bundle.encode decides purely, this module finds out and makes so.

One Workshop serves one session: answers about images are kept, since a hundred services often share one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence

from envkit.backend.base import Materials
from envkit.backend.embedded import (
    bundle,
    devices,
    machine,
    materials,
    mounts,
    process,
    rootfs,
    sealed,
    seccomp,
    users,
    volumes,
)
from envkit.backend.embedded.capabilities import capability_set
from envkit.backend.embedded.layers import Stack, normal
from envkit.backend.embedded.namespaces import Spaces
from envkit.backend.embedded.picture import Picture
from envkit.backend.embedded.record import Record
from envkit.backend.embedded.runtime import Runtime
from envkit.errors import EnvkitError, NotFoundError
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home
from envkit.host.namespace import Engine
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@value
class Bind:
    """A user mount, resolved: what lies at source is bound as spec says; fill: the volume to fill from the image."""

    spec: Mapping[str, Any]
    source: str
    is_file: bool = False
    fill: str = ""


class Workshop:
    """Prepares instances of one environment. Threads may prepare different instances at a time."""

    def __init__(
        self, home: Home, environment: str, engine: Engine, runtime: Runtime, supply: Materials, *, hardened: bool,
        mounted: set[str],
    ) -> None:  # fmt: skip
        self.home = home
        self.environment = environment
        self.engine = engine
        self.runtime = runtime
        self.supply = supply
        self.hardened = hardened
        self.mounted = mounted
        self._lock = threading.RLock()
        self._pictures: dict[str, Picture] = {}
        self._users: dict[tuple[str, str, tuple[str, ...]], users.User] = {}
        self._stubs: dict[tuple[str, rootfs.Points], rootfs.Points] = {}
        self._filters: dict[tuple[str, tuple[str, ...]], str | dict[str, Any]] = {}
        self._filled: set[tuple[str, str, str]] = set()

    # -- images and users

    def picture(self, digest: str) -> Picture:
        """The image with this manifest digest, its trees in place. Raises NotFoundError."""
        with self._lock:
            if digest not in self._pictures:
                from envkit.image.store import Store

                store = Store(self.home)
                image = store.image(digest)
                trees = store.ensure_trees(image)
                config = image.config.get("config") or {}
                self._pictures[digest] = Picture(image.digest, config, trees, Stack(trees))
            return self._pictures[digest]

    def user(self, picture: Picture, user: str, groups: Sequence[str]) -> users.User:
        key = (picture.digest, user, tuple(groups))
        if key not in self._users:
            stack = picture.stack
            self._users[key] = users.resolve(user, stack.read("/etc/passwd"), stack.read("/etc/group"), groups)
        return self._users[key]

    # -- mounts

    def mounts_of(self, record: Record, spec: Mapping[str, Any], picture: Picture,
                  inherited: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Bind]:  # fmt: skip
        """Resolve `volumes:`, `volumes_from:` (inherited) and the image's VOLUMEs.

        names: key below `volumes:` -> the volume's name. The record learns which volumes it uses.
        """
        rows = [*inherited, *(spec.get("mounts") or ())]
        covered = {normal(str(row["target"])) for row in rows}
        rows += [
            {"type": "volume", "target": target}
            for target in picture.config.get("Volumes") or {}
            if normal(target) not in covered
        ]
        record.volumes = []
        anonymous: dict[str, str] = {}
        result: list[Bind] = []
        for row in rows:
            if row["type"] == "tmpfs":
                result.append(Bind(row, ""))
            elif row["type"] == "bind":
                result.append(self._host_bind(row))
            elif row["type"] == "image":
                result.append(self._image_bind(record, row, len(result)))
            else:
                result.append(self._volume_bind(record, row, names, anonymous, len(result)))
        record.anonymous = anonymous
        return result

    def _host_bind(self, row: Mapping[str, Any]) -> Bind:
        source = str(row["source"])
        if not self.engine.same_outside(source):
            raise EnvkitError(
                "A bind mount's source cannot be seen",
                f"{source} was mounted after the engine was started, and this host does not propagate mounts",
                "`envkit down` every environment once, then apply again",
            )
        if not os.path.lexists(source):
            if not row.get("create_host_path"):
                raise NotFoundError(
                    "A bind mount's source does not exist", f"{source} (mounted at {row['target']})",
                    "create it, or write `bind: {create_host_path: true}` for an empty directory",
                )  # fmt: skip
            os.makedirs(source, exist_ok=True)
        if not os.path.exists(source):
            raise NotFoundError("A bind mount's source is a dangling link", source, "correct where the link leads")
        return Bind(row, source, is_file=not os.path.isdir(source))

    def _volume_bind(self, record: Record, row: Mapping[str, Any], names: Mapping[str, str],
                     anonymous: dict[str, str], number: int) -> Bind:  # fmt: skip
        target = normal(str(row["target"]))
        name = str(row.get("volume_name") or "")  # already a volume's name: taken over by volumes_from
        if not name and row.get("source"):
            name = names.get(str(row["source"]), str(row["source"]))
        if not name:
            owner, which = f"{record.address} {target}", f"{record.service}-{record.replica}"
            name = volumes.anonymous_name(self.home, self.environment, which, target, owner)
            volumes.ensure(self.home, volumes.Volume(name, self.environment, owner=owner, spec={"name": name}))
            anonymous[target] = name
        if name not in record.volumes:
            record.volumes.append(name)
        with self._lock:
            place, read_only = volumes.content(self.home, name, self.mounted)
        source = place
        if row.get("subpath"):
            source = record.path(f"binds/{number}")
            if source not in self.mounted:
                volumes.subdirectory(place, str(row["subpath"]), source)
        spec = {**row, "read_only": True} if read_only else row
        fill = "" if row.get("nocopy") or row.get("subpath") or read_only else name
        return Bind(spec, source, not os.path.isdir(source), fill)

    def _image_bind(self, record: Record, row: Mapping[str, Any], number: int) -> Bind:
        from envkit.image.store import Store

        picture = self.picture(Store(self.home).image(str(row["source"])).digest)
        points = rootfs.Points((), ())
        with self._lock:
            source = rootfs.shared(self.home, self.environment, picture.digest, picture.trees, points, self.mounted)
        if row.get("subpath"):
            target = record.path(f"binds/{number}")
            if target not in self.mounted:
                volumes.subdirectory(source, str(row["subpath"]), target)
            source = target
        return Bind({**row, "read_only": True}, source, not os.path.isdir(source))

    def fill(self, picture: Picture, root: str, bind: Bind) -> None:
        """Copy the image's content into an empty volume, before the instance is created."""
        target = normal(str(bind.spec["target"]))
        key = (bind.fill, picture.digest, target)
        if not bind.fill or key in self._filled:
            return
        where, info = picture.stack.resolve(target)
        if info is not None and not bind.is_file:
            volumes.fill(self.home, bind.fill, bind.source, root + where)
        self._filled.add(key)

    # -- the whole

    def root(self, record: Record, spec: Mapping[str, Any], picture: Picture, binds: Sequence[Bind]) -> str:
        """The instance's root, mounted, with every mount point in it."""
        extra = [str(item["target"]) for _, item in materials.wanted(spec)]
        workdir = spec.get("working_dir") or picture.config.get("WorkingDir") or "/"
        points = rootfs.Points(
            (str(workdir), *(str(b.spec["target"]) for b in binds if not b.is_file)),
            (*(str(b.spec["target"]) for b in binds if b.is_file), *extra),
        )
        stubs_key = (picture.digest, points)
        with self._lock:
            if stubs_key not in self._stubs:
                self._stubs[stubs_key] = rootfs.missing(picture.stack, points)
            stubs = self._stubs[stubs_key]
            if spec.get("read_only") and not spec.get("synced"):  # `sync_to` needs a root that it can write to
                record.shared_root = True
                return rootfs.shared(
                    self.home, self.environment, picture.digest, picture.trees, stubs, self.mounted
                )
        record.shared_root = False
        return rootfs.private(record.directory, picture.trees, stubs, self.mounted)

    def filter(self, spec: Mapping[str, Any], capabilities: tuple[str, ...]) -> str | dict[str, Any] | None:
        """The seccomp program or document; None for an unconfined service."""
        wanted = spec.get("seccomp") or ""
        if wanted == "unconfined" or spec.get("privileged"):
            return None
        key = (wanted, capabilities)
        with self._lock:
            if key not in self._filters:
                text = wanted or seccomp.default_profile()
                if self.runtime.takes_programs:
                    self._filters[key] = seccomp.program(self.home, text, capabilities)
                else:
                    self._filters[key] = seccomp.document(text, capabilities)
            return self._filters[key]

    def secrets(
        self, record: Record, spec: Mapping[str, Any], user: users.User, picture: Picture
    ) -> list[mounts.Mount]:
        """Write the instance's secrets and configs; returns their mounts."""
        items = materials.wanted(spec)
        if not items:
            return []
        passwd, group = picture.stack.read("/etc/passwd"), picture.stack.read("/etc/group")
        root = users.User(0, 0)
        owners = [
            users.owner(item.get("uid"), item.get("gid"), user if self.hardened and kind == "secret" else root,
                        passwd, group)
            for kind, item in items
        ]  # fmt: skip
        with self._lock:
            materials.ensure(self.home, self.environment, self.mounted)
        directory = materials.directory_of(self.home, self.environment, record.id)
        rows = materials.write(directory, items, self.supply, owners, hardened=self.hardened)
        sealed.keep_materials(record, [(str(row["destination"]), str(row["source"])) for row in rows])
        return rows

    def facts(
        self, record: Record, spec: Mapping[str, Any], picture: Picture, binds: Sequence[Bind], spaces: Spaces,
        files: Sequence[mounts.Mount],
    ) -> tuple[bundle.Facts, list[str]]:  # fmt: skip
        """(Facts of the instance, warnings). record.root is mounted already."""
        wanted = str(spec.get("user") or picture.config.get("User") or "")
        user = self.user(picture, wanted, spec.get("group_add") or ())
        privileged = bool(spec.get("privileged"))
        capabilities = capability_set(
            spec.get("cap_add") or (), spec.get("cap_drop") or (), privileged=privileged,
            available=machine.bounding_mask(),
        )  # fmt: skip
        ulimits = {**machine.default_ulimits(), **(spec.get("ulimits") or {})}
        limits, warnings = process.rlimits(ulimits, machine.hard_limits())
        nodes = devices.requested(spec.get("devices") or ())
        if privileged:
            known = {row["path"] for row in nodes}
            nodes += [row for row in devices.everything() if row["path"] not in known]
        facts = bundle.Facts(
            root=record.root, hostname=record.hostname, user=user, capabilities=capabilities,
            namespaces=spaces.namespaces, volumes=[_mount(item) for item in binds],
            files=[*files, *self.secrets(record, spec, user, picture)], devices=nodes, device_number=devices.number,
            seccomp=self.filter(spec, capabilities), rlimits=limits, cgroup=record.cgroup,
            supported_limits=Cgroups.of(self.home).supported,
            init=machine.init_program() if spec.get("init") else "", shm_source=spaces.shm_source,
            apparmor="" if privileged else machine.apparmor_profile(tuple(spec.get("security_opt") or ())),
            sysctls=spaces.sysctls,
        )  # fmt: skip
        return facts, warnings


def _mount(bind: Bind) -> mounts.Mount:
    if bind.spec["type"] == "tmpfs":
        return mounts.tmpfs(bind.spec)
    return mounts.bind(bind.spec, bind.source, is_file=bind.is_file)
