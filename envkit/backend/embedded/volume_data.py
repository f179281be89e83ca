"""Snapshots, restoring, export and import of volumes: who may be running meanwhile, and what is locked.

New content is made beside the volume's (`.filling-*`, held by flock) and changes places with it by one rename.
"""

from __future__ import annotations

import os

from envkit.backend.base import Filled, SnapshotInfo
from envkit.backend.embedded import record as records
from envkit.backend.embedded import snapshots, volumes
from envkit.errors import ConflictError, EnvkitError, NotFoundError, UnsupportedError
from envkit.events import Event, EventKind, ignore
from envkit.host import syscalls
from envkit.host.files import copy_tree, fsync_directory, make_directory, remove_tree
from envkit.host.lock import Lock, describe
from envkit.host.steps import step
from envkit.lean import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO, Any

    from envkit.backend.embedded.record import Record
    from envkit.backend.embedded.snapshots import Snapshot
    from envkit.backend.embedded.volumes import Volume
    from envkit.events import Emit
    from envkit.host.home import Home

FILLING = ".filling-"


class Keeper:
    """See backend.base.VolumeData."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def snapshots(self, name: str | None = None) -> list[SnapshotInfo]:
        return [info(item) for item in snapshots.load_all(self.home, name)]

    def take(
        self, name: str, snapshot: str = "", *, pause: bool = False, emit: Emit, lock_timeout: float | None = None
    ) -> SnapshotInfo:
        volume = self._volume(name)
        with environment_lock(self.home, volume.environment, emit, lock_timeout):
            snapshots.settle(self.home, name)
            with self._content(volume) as source, self._still(name, pause):
                return info(snapshots.take(
                    self.home, volume, source, snapshot or snapshots.free_name(self.home, name), paused=pause
                ))  # fmt: skip

    def restore(
        self, name: str, snapshot: str, *, stop: bool = False, emit: Emit, lock_timeout: float | None = None
    ) -> Filled:
        made = snapshots.load(self.home, name, snapshot)

        def fill(place: str) -> tuple[str, ...]:
            copy_tree(snapshots.data(self.home, name, snapshot), place)
            return ()

        present = volumes.load(self.home, name)
        return self._fill(present or made.of, fill, "before-restore-", f"before {snapshot} was restored",
                          stop=stop, emit=emit, lock_timeout=lock_timeout)  # fmt: skip

    def remove(self, name: str, snapshot: str) -> None:
        with snapshots.explained("A snapshot cannot be removed", f"{name}@{snapshot}"):
            snapshots.remove(self.home, name, snapshot)

    def export(self, name: str, snapshot: str = "", *, pause: bool = False) -> tuple[Iterator[bytes], list[str]]:
        from envkit.image.treetar import Packer

        if snapshot:
            snapshots.load(self.home, name, snapshot)
            packer = Packer(snapshots.data(self.home, name, snapshot))
            return packer.pack(), packer.lost
        volume, lost = self._volume(name), list[str]()

        def packed() -> Iterator[bytes]:
            with self._content(volume) as source, self._still(name, pause):
                packer = Packer(source)
                packer.lost = lost
                yield from packer.pack()

        return packed(), lost

    def load(
        self, name: str, source: IO[bytes], *, stop: bool = False, emit: Emit, lock_timeout: float | None = None
    ) -> Filled:
        def fill(place: str) -> tuple[str, ...]:
            from envkit.backend.embedded.volume_archive import unpack_into

            os.mkdir(place, 0o755)
            return unpack_into(place, source)

        return self._fill(self._volume(name), fill, "before-import-", "before an archive was imported",
                          stop=stop, emit=emit, lock_timeout=lock_timeout)  # fmt: skip

    # -- the content

    def _volume(self, name: str) -> Volume:
        volume = volumes.load(self.home, name)
        if volume is None:
            raise NotFoundError(
                "A volume does not exist", repr(name),
                "`envkit volume ls` shows what there is; `envkit create` makes those of the files",
            )  # fmt: skip
        return volume

    @contextmanager
    def _content(self, volume: Volume) -> Iterator[str]:
        """The directory with the volume's content; where it is a mount, this process is in the engine namespace."""
        if not volume.needs_mount:
            yield volumes.content(self.home, volume.name, set())[0]
            return
        from envkit.backend.embedded.salvage import release_engine
        from envkit.backend.embedded.session import engine_of
        from envkit.host.mountinfo import mount_table

        engine = engine_of(self.home)
        engine.enter()
        try:
            yield volumes.content(self.home, volume.name, {row.target for row in mount_table()})[0]
        finally:
            release_engine(self.home, engine)

    @contextmanager
    def _still(self, name: str, wanted: bool) -> Iterator[None]:
        if not wanted:
            yield
            return
        from envkit.backend.embedded.freezing import frozen

        with frozen(holders(self.home, name)):
            yield

    def _fill(
        self, volume: Volume, fill: Callable[[str], tuple[str, ...]], prefix: str, reason: str, *, stop: bool,
        emit: Emit, lock_timeout: float | None,
    ) -> Filled:  # fmt: skip
        """Make new content by fill (a path that is not there yet -> what was lost), and let it be the volume's."""
        if volume.bound_device or volume.needs_mount:
            where = volume.bound_device or str(volume.options.get("device") or volume.options.get("type"))
            raise UnsupportedError(
                "The content of this volume cannot be replaced at once", f"{volume.name} is {where}",
                "`envkit volume export VOLUME@SNAPSHOT -` gives it as an archive",
            )  # fmt: skip
        name = volume.name
        with environment_lock(self.home, volume.environment, emit, lock_timeout):
            snapshots.settle(self.home, name)
            running = [record for record in holders(self.home, name) if is_running(record)]
            _refuse(name, running, stop)
            place = volumes.directory(self.home, name)
            make_directory(place, 0o700)
            for path in snapshots.with_prefix(place, FILLING):
                snapshots.discard_abandoned(path)
            with (
                snapshots.explained("A volume cannot be filled", name),
                snapshots.drafted(place, FILLING) as draft,
            ):
                step("volume.filling")
                made = os.path.join(draft, "data")
                lost = fill(made)
                syscalls.syncfs(made)
                with _stopped(self.home, running if stop else (), emit):
                    former = self._change_places(volume, made, prefix, reason)
            bytes_now, files_now = _measured(volumes.data(self.home, name))
        restarted = tuple(str(record.address) for record in running)
        return Filled(name, bytes_now, files_now, info(former) if former else None, lost, restarted)

    def _change_places(self, volume: Volume, made: str, prefix: str, reason: str) -> Snapshot | None:
        """made becomes the volume's content; what that was becomes a snapshot, if it was anything."""
        place, content = volumes.directory(self.home, volume.name), volumes.data(self.home, volume.name)
        former = None
        with volumes.locked(self.home, volume.name):
            for half in ("ready", "filling"):  # of the image's content, which is not to be mixed in
                remove_tree(os.path.join(place, half))
            if volumes.load(self.home, volume.name) is None:  # it was removed, and is made as it was
                volumes.remember(self.home, volume)
            make_directory(content, 0o755)
            if os.listdir(content):
                with snapshots.keeping(self.home, volume, prefix, reason) as (kept, former):
                    waiting = os.path.join(kept, "data")
                    os.rename(made, waiting)
                    step("volume.exchange")
                    syscalls.exchange(waiting, content)
                    step("volume.exchanged")
            else:
                syscalls.exchange(made, content)
            fsync_directory(place)
        _bind_subpaths_again(self.home, volume.name, former)
        return former


def info(item: Snapshot) -> SnapshotInfo:
    """A snapshot as the port has it."""
    return SnapshotInfo(
        item.volume, item.name, item.of.key, item.of.environment, item.taken, item.bytes, item.files, item.reason,
        item.automatic, item.paused, item.cloned, item.vanished,
    )  # fmt: skip


def holders(home: Home, name: str) -> list[Record]:
    """Every instance that has the volume, of any environment and in any state."""
    found: list[Record] = []
    with suppress(FileNotFoundError):
        for environment in sorted(os.listdir(home.environments)):
            found += [record for record in records.load_all(home, environment) if name in record.volumes]
    return found


def is_running(record: Record) -> bool:
    """Whether it runs, or its supervisor is about to start it."""
    from envkit.backend.embedded.observe import small_file
    from envkit.backend.embedded.status import status

    attempts: Mapping[str, Any] = small_file(record, "supervisor.json")
    return status(record).is_alive or (record.desired == "running" and attempts.get("next") is not None)


def _refuse(name: str, running: Sequence[Record], stop: bool) -> None:
    texts = [f"{record.environment}/{record.address}" for record in running]
    if running and not stop:
        raise ConflictError(
            "A volume is in use", f"{name}: {', '.join(texts)}", "stop them first, or give --stop to have it done"
        )
    if guests := [record.name for record in running if record.oneoff]:
        raise ConflictError(
            "A volume is in use", f"{name}: {', '.join(guests)}, which `envkit run` started", "end it first"
        )


@contextmanager
def _stopped(home: Home, rows: Sequence[Record], emit: Emit) -> Iterator[None]:
    """The instances are stopped, and started again at the end, whatever happens."""
    from envkit.backend.embedded.control import control

    by_environment: dict[str, list[Record]] = {}
    for record in rows:
        by_environment.setdefault(record.environment, []).append(record)
    try:
        for environment, some in by_environment.items():
            control(home, environment, [record.address for record in some], "stop", emit=emit)
        yield
    finally:
        for environment, some in by_environment.items():
            control(home, environment, [record.address for record in some], "start", emit=emit)


def _bind_subpaths_again(home: Home, name: str, former: Snapshot | None) -> None:
    """Instances that have a part of the volume (`subpath`) keep a bind of it, which is one of the former content."""
    rows = [record for record in holders(home, name) if os.path.isdir(record.path("binds"))]
    if not rows or former is None:
        return
    from envkit.backend.embedded.session import engine_of
    from envkit.host.mountinfo import mount_table
    from envkit.host.mounts import unmount

    engine = engine_of(home)
    if not engine.is_live():
        return
    engine.enter()
    mark = f"/.snapshots/{name}/{former.name}/data/"
    for row in mount_table():
        _, found, subpath = row.root.partition(mark)
        if found and any(row.target.startswith(record.path("binds/")) for record in rows):
            unmount(row.target)
            with suppress(NotFoundError):  # then its instance says so when it is started
                volumes.subdirectory(volumes.data(home, name), subpath, row.target)


def remove_volume(home: Home, name: str) -> SnapshotInfo | None:
    """Destroy a volume that nobody has. A protected one's content becomes a snapshot, or is not given up: ConflictError
    then."""
    volume = volumes.load(home, name)
    with environment_lock(home, volume.environment if volume else ""):
        protect: Mapping[str, Any] = (volume.spec.get("protect") or {}) if volume else {}
        if protect and not protect["snapshot"]:
            raise ConflictError("A volume is protected", name, "take `protect` out of its description, and apply that")
        made = retire(home, name, int(protect["keep"]), "it was removed") if protect else None
        volumes.remove(home, name)
    return info(made) if made else None


def retire(home: Home, name: str, keep: int, why: str) -> Snapshot | None:
    """Make a volume's content, if it has any, an automatic snapshot, of which at most `keep` stay. The volume itself
    is to be removed next."""
    volume = volumes.load(home, name)
    snapshots.settle(home, name)
    if volume is None or volume.bound_device or volume.needs_mount:
        return None
    try:
        if not os.listdir(volumes.data(home, name)):
            return None
    except FileNotFoundError:
        return None
    made = snapshots.keep(home, volume, snapshots.PROTECTED, f"before {why}")
    snapshots.prune(home, name, keep)
    return made


def _measured(path: str) -> tuple[int, int]:
    from envkit.host.content import tree_content

    return tree_content(path)


@contextmanager
def environment_lock(home: Home, environment: str, emit: Emit = ignore, timeout: float | None = None) -> Iterator[None]:
    """Hold the environment's lock, so that no apply and no down changes its volumes meanwhile; nothing is left of it
    where the environment is no more."""
    place = home.environment(environment)
    lock = Lock(os.path.join(place, "lock"), {"environment": environment})

    def on_wait(holder: Mapping[str, Any]) -> None:
        emit(Event(EventKind.WAITING, message=f"waiting for the environment's lock, {describe(holder)}"))

    while not lock.held:
        make_directory(place, 0o755)
        lock.acquire(timeout, on_wait)
        if not lock.is_current():
            lock.release()
    try:
        yield
    finally:
        with suppress(OSError):
            if os.listdir(place) == ["lock"]:
                os.unlink(os.path.join(place, "lock"))
                os.rmdir(place)
        lock.release()


def sweep(home: Home) -> list[str]:
    """Remove what commands that were killed left of volumes and snapshots; what it was, for people."""
    said = []
    for name in snapshots.volumes_with_any(home):
        said += snapshots.settle(home, name)
    for place in snapshots.with_prefix(home.volumes, ""):
        name = os.path.basename(place)
        if name.startswith("."):
            continue
        for path in snapshots.with_prefix(place, FILLING):
            if snapshots.discard_abandoned(path):
                said.append(f"half of a content for volume {name}")
        if volumes.load(home, name) is None and not os.path.lexists(volumes.data(home, name)):
            with suppress(EnvkitError, OSError):  # somebody is making it, or removing it, just now
                if volumes.remove_remains(home, name):
                    said.append(f"the rest of volume {name}")
    return said
