"""Snapshots: what a volume held at one moment, kept apart from it, so that they outlive the volume itself.

HOME/volumes/.snapshots/VOLUME/NAME/ holds `data` and `snapshot.json`. Beside them, for a while, and held by flock(2):
`.new-*`, a copy that is being made or a snapshot that is being removed, worth nothing without its maker; `.kept-*`,
where former content is moved to, whose snapshot.json has the inode of it. A `.kept-*` without its maker is given its
name by whoever finds it, so that at no moment content is neither in its volume nor in a snapshot.
"""

from __future__ import annotations

import fcntl
import os
import time

from envkit.backend.embedded import volumes
from envkit.errors import ConflictError, EnvkitError, HostError, NotFoundError, way_out
from envkit.host import syscalls
from envkit.host.files import fsync_directory, make_directory, read_json, remove_tree, write_json
from envkit.host.steps import step
from envkit.lean import contextmanager, suppress
from envkit.values import as_dict, field_names, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from envkit.backend.embedded.volumes import Volume
    from envkit.host.home import Home

NEW, KEPT = ".new-", ".kept-"
PROTECTED = "auto-"
"""How the names of the snapshots begin that `protect` makes, and lets go."""


@value
class Snapshot:
    """snapshot.json. taken: seconds since the epoch; record: the volume's own (volume.json); cloned: how many of the
    files share their blocks with the volume's; vanished: how many went while it was copied; automatic: nobody asked for
    it; inode: of a content that was moved."""

    volume: str
    name: str
    taken: float
    record: Mapping[str, Any]
    bytes: int = 0
    files: int = 0
    reason: str = ""
    automatic: bool = False
    paused: bool = False
    cloned: int = 0
    vanished: int = 0
    inode: int = 0

    @property
    def of(self) -> Volume:
        """The volume as it was recorded then."""
        return volumes.Volume(**{key: self.record[key] for key in field_names(volumes.Volume) if key in self.record})


def root(home: Home) -> str:
    return os.path.join(home.volumes, ".snapshots")


def directory(home: Home, volume: str, name: str = "") -> str:
    """Where the snapshots of a volume, or one of them, lie. Raises EnvkitError for a name that is none."""
    place = os.path.join(root(home), volumes.check_name(volume))
    return os.path.join(place, volumes.check_name(name, "snapshot")) if name else place


def data(home: Home, volume: str, name: str) -> str:
    return os.path.join(directory(home, volume, name), "data")


def load(home: Home, volume: str, name: str) -> Snapshot:
    """Raises NotFoundError naming those that there are."""
    found = _read(directory(home, volume, name))
    if found is None:
        names = ", ".join(item.name for item in load_all(home, volume)) or "none"
        raise NotFoundError("A snapshot does not exist", f"{name!r} of volume {volume!r}", f"there is: {names}")
    return found


def load_all(home: Home, volume: str | None = None) -> list[Snapshot]:
    """Every snapshot, or those of one volume, the oldest first."""
    found = []
    for one in [volume] if volume is not None else _names(root(home)):
        for name in _names(os.path.join(root(home), one)):
            if (item := _read(os.path.join(root(home), one, name))) is not None:
                found.append(item)
    return sorted(found, key=lambda item: (item.volume, item.taken, item.name))


def free_name(home: Home, volume: str, prefix: str = "") -> str:
    """A name that no snapshot has: the time, in UTC."""
    base = prefix + time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    names = (base if number == 1 else f"{base}-{number}" for number in range(1, 1000))
    return next(name for name in names if not os.path.lexists(directory(home, volume, name)))


def take(home: Home, volume: Volume, source: str, name: str, *, reason: str = "", paused: bool = False) -> Snapshot:
    """Copy what is below source into a snapshot of that name. Raises ConflictError when there is one, HostError."""
    from envkit.host.copying import Copier

    final = directory(home, volume.name, name)
    if os.path.lexists(final):
        raise ConflictError("A snapshot of this name exists", f"{name!r} of volume {volume.name!r}", "choose another")
    with explained("A snapshot cannot be taken", volume.name), drafted(directory(home, volume.name), NEW) as draft:
        copier = Copier(live=not paused)
        step("snapshot.copy")
        copier.copy(source, os.path.join(draft, "data"))
        made = Snapshot(
            volume.name, name, time.time(), as_record(volume), copier.bytes, copier.files, reason=reason,
            paused=paused, cloned=copier.cloned, vanished=copier.vanished,
        )  # fmt: skip
        write_json(os.path.join(draft, "snapshot.json"), as_dict(made), 0o600)
        syscalls.syncfs(draft)
        _publish(draft, final)
    return made


@contextmanager
def keeping(home: Home, volume: Volume, prefix: str, reason: str) -> Iterator[tuple[str, Snapshot]]:
    """(a directory that waits for the volume's present content as its `data`, the snapshot that it is to become).

    At the end it is the snapshot when the content was moved there, by whatever means, and else it is gone.
    """
    from envkit.host.content import tree_content

    place, base = volumes.data(home, volume.name), directory(home, volume.name)
    size, files = tree_content(place)
    made = Snapshot(
        volume.name, free_name(home, volume.name, prefix), time.time(), as_record(volume), size, files, reason=reason,
        automatic=True, inode=os.stat(place).st_ino,
    )  # fmt: skip
    with drafted(base, KEPT, discard=False) as kept:
        try:
            write_json(os.path.join(kept, "snapshot.json"), as_dict(made), 0o600)
            yield kept, made
        finally:
            _settle_kept(home, kept)
            _drop_empty(home, volume.name)


def keep(home: Home, volume: Volume, prefix: str, reason: str) -> Snapshot:
    """Make a volume's content a snapshot by moving it there: takes neither time nor space. The volume has none then."""
    with explained("A snapshot cannot be taken", volume.name), keeping(home, volume, prefix, reason) as (kept, made):
        step("snapshot.keep")
        os.rename(volumes.data(home, volume.name), os.path.join(kept, "data"))
        step("snapshot.kept")
    return made


def remove(home: Home, volume: str, name: str) -> None:
    """Destroy a snapshot. Raises NotFoundError."""
    load(home, volume, name)
    with drafted(directory(home, volume), NEW) as doomed:
        step("snapshot.remove")
        os.rename(directory(home, volume, name), os.path.join(doomed, "snapshot"))
        step("snapshot.removed")
    _drop_empty(home, volume)


def prune(home: Home, volume: str, keep: int) -> list[str]:
    """Remove the oldest snapshots that `protect` made of a volume until so many are left; their names."""
    made = [item.name for item in load_all(home, volume) if item.automatic and item.name.startswith(PROTECTED)]
    old = made[: -keep or None]
    for name in old:
        remove(home, volume, name)
    return old


def settle(home: Home, volume: str) -> list[str]:
    """Finish what a cut-off command left of a volume's snapshots; what was done, for people."""
    base, said = directory(home, volume), []
    for path in with_prefix(base, NEW):
        if discard_abandoned(path):
            said.append(f"half a snapshot of volume {volume}")
    for path in with_prefix(base, KEPT):
        with claimed(path) as mine:
            said += _settle_kept(home, path) if mine else ()
    _drop_empty(home, volume)
    return said


def _settle_kept(home: Home, path: str) -> list[str]:
    made = _read(path)
    content = os.path.join(path, "data")
    if made is not None and os.path.isdir(content) and os.stat(content).st_ino == made.inode:
        final = directory(home, made.volume, made.name)
        if os.path.lexists(final):
            final = directory(home, made.volume, free_name(home, made.volume, f"{made.name}-"))
        _publish(path, final)
        return [f"what volume {made.volume} held before is its snapshot {os.path.basename(final)}"]
    remove_tree(path)  # nothing was moved here: what it may have is a copy of a snapshot
    return []


def volumes_with_any(home: Home) -> list[str]:
    """The names of volumes that have a snapshot, or half of one."""
    return _names(root(home))


@contextmanager
def drafted(base: str, prefix: str, *, discard: bool = True) -> Iterator[str]:
    """A new directory in base, held by this process; with discard, what is left of it at the end is removed."""
    make_directory(base, 0o700)
    while True:
        path = os.path.join(base, f"{prefix}{os.urandom(6).hex()}")
        os.mkdir(path, 0o700)
        with claimed(path) as mine:
            if not mine or not os.path.isdir(path):  # somebody took it for abandoned
                continue
            try:
                yield path
            finally:
                if discard:
                    remove_tree(path)
            return


@contextmanager
def claimed(path: str) -> Iterator[bool]:
    """Whether the directory is this process's, as long as the context lasts."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        yield _is_free(descriptor)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def discard_abandoned(path: str) -> bool:
    """Remove a draft whose maker is gone; whether it was."""
    with claimed(path) as mine:
        if mine:
            remove_tree(path)
    return mine


@contextmanager
def explained(summary: str, name: str) -> Iterator[None]:
    """A failed system call as a HostError that says that nothing has changed."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        detail = f"{name}: {error.strerror}{where}; the volume and its snapshots are as they were"
        raise HostError(summary, detail, way_out(error)) from error


def as_record(volume: Volume) -> dict[str, Any]:
    """volume.json."""
    return {**as_dict(volume), "spec": dict(volume.spec)}


def with_prefix(path: str, prefix: str) -> list[str]:
    """The entries of a directory (none when there is none) whose names begin so."""
    return [os.path.join(path, name) for name in _listed(path) if name.startswith(prefix)]


def _publish(draft: str, final: str) -> None:
    step("snapshot.publish")
    os.rename(draft, final)
    fsync_directory(os.path.dirname(final))


def _drop_empty(home: Home, volume: str) -> None:
    with suppress(OSError):  # not empty, or not there
        os.rmdir(directory(home, volume))
        os.rmdir(root(home))


def _names(path: str) -> list[str]:
    return [name for name in _listed(path) if not name.startswith(".")]


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: str) -> Snapshot | None:
    try:
        found = read_json(os.path.join(path, "snapshot.json"))
    except EnvkitError:
        return None
    if not isinstance(found, dict):
        return None
    known = {key: found[key] for key in field_names(Snapshot) if key in found}
    return Snapshot(**known) if {"volume", "name", "taken", "record"} <= known.keys() else None
