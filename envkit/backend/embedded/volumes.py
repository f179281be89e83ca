"""Volumes: directories that outlive everything but the user's word.

HOME/volumes/NAME/ holds `data` (the content), `volume.json` (whose it is, what was asked) and a lock. The options of
Compose's `local` driver (`type`, `o`, `device`) make it a bind of a host directory or a mount of tmpfs, nfs, cifs …
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from envkit.errors import ConflictError, EnvkitError, HostError, NotFoundError, UnsupportedError
from envkit.host.files import copy_tree, make_directory, read_json, remove_tree, write_json
from envkit.host.steps import step
from envkit.lean import contextmanager, suppress
from envkit.values import as_dict, field, field_names, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from envkit.host.home import Home

_LEFT = ", until removed"


@value
class Volume:
    """volume.json. key: below `volumes:` ("" for an anonymous one, whose `owner` is "ADDRESS TARGET")."""

    name: str
    environment: str
    key: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    owner: str = ""
    created_at: str = ""

    @property
    def options(self) -> Mapping[str, str]:
        return self.spec.get("driver_opts") or {}

    @property
    def bound_device(self) -> str:
        """The host directory that the volume is, "" when it is none."""
        words = str(self.options.get("o", "")).split(",")
        is_bind = self.options.get("type", "none") in ("none", "bind", "") and ("bind" in words or "rbind" in words)
        return str(self.options.get("device", "")) if is_bind else ""

    @property
    def needs_mount(self) -> bool:
        """Whether `data` is a mount point for what driver_opts name."""
        return bool(self.options.get("type")) and not self.bound_device


def _is_name(text: str) -> bool:
    """[A-Za-z0-9][A-Za-z0-9_.-]*, without `re`, which a plan without changes does not import."""
    bare = text.replace("_", "").replace(".", "").replace("-", "")
    return text.isascii() and text[:1].isalnum() and bare.isalnum()


def check_name(name: str, what: str = "volume") -> str:
    """Return name. Raises EnvkitError for one that cannot be a directory of ours."""
    if not _is_name(name) or len(name) > 200:
        hint = "letters, digits, `_`, `.` and `-` are allowed"
        raise EnvkitError(f"A {what} cannot have this name", repr(name), hint)
    return name


def directory(home: Home, name: str) -> str:
    return os.path.join(home.volumes, check_name(name))


def data(home: Home, name: str) -> str:
    return os.path.join(directory(home, name), "data")


def anonymous_name(home: Home, environment: str, instance: str, target: str, owner: str) -> str:
    """The name of the volume of one mount of an instance ("web-1"): always the same, so that its data is found again,
    until the volume has been left behind; from then on that of the next one."""
    import hashlib

    name = f"{environment}_{instance}-{hashlib.sha256(target.encode()).hexdigest()[:8]}"
    turn, candidate = 1, name
    while (present := load(home, candidate)) is not None and present.owner != owner:
        turn += 1
        candidate = f"{name}-{turn}"
    return candidate


def leave_behind(home: Home, names: Iterable[str]) -> None:
    """Let anonymous volumes go on as nobody's, as after Compose's `down`: no instance finds them again."""
    for name in names:
        volume = load(home, name)
        if volume is not None and volume.owner and not volume.owner.endswith(_LEFT):
            value = {**as_dict(volume), "spec": dict(volume.spec), "owner": volume.owner + _LEFT}
            write_json(os.path.join(directory(home, name), "volume.json"), value)


def load(home: Home, name: str) -> Volume | None:
    """The record of a volume, None when there is none."""
    value = read_json(os.path.join(directory(home, name), "volume.json"))
    if not isinstance(value, dict):
        return None
    known = {key: value[key] for key in field_names(Volume) if key in value}
    return Volume(**known) if "name" in known and "environment" in known else None


def load_all(home: Home, environment: str | None = None) -> list[Volume]:
    """Every volume, or those of one environment, by name."""
    try:
        names = sorted(os.listdir(home.volumes))
    except FileNotFoundError:
        return []
    found = [volume for name in names if _is_name(name) and (volume := load(home, name)) is not None]
    return [volume for volume in found if environment is None or volume.environment == environment]


def users(home: Home) -> dict[str, list[str]]:
    """Volume name -> "ENVIRONMENT/ADDRESS" of every instance that uses it, whatever its state."""
    from envkit.backend.embedded import record as records

    found: dict[str, list[str]] = {}
    with suppress(FileNotFoundError):
        for environment in sorted(os.listdir(home.environments)):
            for record in records.load_all(home, environment):
                for name in record.volumes:
                    found.setdefault(name, []).append(f"{environment}/{record.address}")
    return found


@contextmanager
def locked(home: Home, name: str) -> Iterator[None]:
    """Hold the volume: nobody makes or fills it meanwhile."""
    place = directory(home, name)
    make_directory(place, 0o700)
    descriptor = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def ensure(home: Home, wanted: Volume) -> None:
    """Have the volume: its directory and its record. Existing data is kept.

    Raises ConflictError when the name is another environment's, UnsupportedError for another driver than local.
    """
    if wanted.spec.get("driver", "local") != "local":
        raise UnsupportedError(
            "A volume driver is not available", f"volume {wanted.name!r} wants {wanted.spec['driver']!r}",
            "the embedded backend has `local`, with `driver_opts` type, o and device",
        )  # fmt: skip
    with locked(home, wanted.name):
        present = load(home, wanted.name)
        if present is not None and (present.environment, present.key, present.owner) != (
            wanted.environment, wanted.key, wanted.owner
        ):  # fmt: skip
            raise ConflictError(
                "A volume belongs to something else",
                f"{wanted.name!r} is {present.key or present.owner} of environment {present.environment!r}",
                "write `external: true` to use it, or give yours another `name:`",
            )
        if (device := wanted.bound_device) and not os.path.isdir(device):
            raise NotFoundError("A volume's directory does not exist", f"{wanted.name}: {device}", "create it first")
        place = directory(home, wanted.name)
        for name in os.listdir(place):
            if name.startswith("removed-"):  # a removal that was cut off
                remove_tree(os.path.join(place, name))
        step("volume.create")
        make_directory(data(home, wanted.name), 0o755)
        if present is None or (present.spec, present.fingerprint) != (wanted.spec, wanted.fingerprint):
            stamp = present.created_at if present else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            value = {**as_dict(wanted), "spec": dict(wanted.spec), "created_at": stamp}
            write_json(os.path.join(directory(home, wanted.name), "volume.json"), value)


def remember(home: Home, volume: Volume) -> None:
    """Write down a volume, and nothing else."""
    value = {**as_dict(volume), "spec": dict(volume.spec)}
    write_json(os.path.join(directory(home, volume.name), "volume.json"), value)


def release_key(home: Home, environment: str, key: str, keep: str) -> None:
    """Let other volumes of the environment that were `volumes.KEY` before it was given the name keep go on as nobody's:
    their data stays until `volume rm`."""
    for volume in load_all(home, environment):
        if volume.key == key and volume.name != keep:
            value = {**as_dict(volume), "key": "", "spec": dict(volume.spec), "owner": f"volume.{key}, until renamed"}
            write_json(os.path.join(directory(home, volume.name), "volume.json"), value)


def remove(home: Home, name: str) -> None:
    """Destroy a volume and its data (a host directory that it binds is left alone). Absent is fine.

    The data is moved away at first: cut off at any point, no half of it is ever taken for a volume's content again.
    """
    place = directory(home, name)
    if not os.path.isdir(place):
        return
    step("volume.remove")
    from envkit.host.mounts import unmount

    unmount(data(home, name))
    with suppress(FileNotFoundError):
        os.rename(data(home, name), os.path.join(place, f"removed-{os.urandom(4).hex()}"))
    step("volume.removed")
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(place, "volume.json"))
    remove_tree(place)


def remove_remains(home: Home, name: str) -> bool:
    """Finish the removal of a volume of which neither record nor content is left; whether there was anything."""
    place = directory(home, name)
    remains = [entry for entry in os.listdir(place) if entry.startswith("removed-")]
    for entry in remains:
        remove_tree(os.path.join(place, entry))
    with suppress(OSError):
        if os.listdir(place) in ([], ["lock"]):
            remove_tree(place)
            return True
    return bool(remains)


def content(home: Home, name: str, mounted: set[str]) -> tuple[str, bool]:
    """(the directory to bind, whether it is read-only), mounted first where driver_opts ask for it.

    Raises NotFoundError when the volume does not exist.
    """
    volume = load(home, name)
    place = data(home, name)
    if volume is None or not os.path.isdir(place):
        raise NotFoundError("A volume does not exist", repr(name), "an external volume must be created first")
    words = str(volume.options.get("o", "")).split(",")
    if device := volume.bound_device:
        if not os.path.isdir(device):
            raise NotFoundError("A volume's directory does not exist", f"{name}: {device}", "create it first")
        return device, "ro" in words
    if volume.needs_mount and place not in mounted:
        _mount(volume, place)
        mounted.add(place)
    return place, False


def _mount(volume: Volume, place: str) -> None:
    from envkit.host.process import require, run

    kind, options = str(volume.options["type"]), str(volume.options.get("o", ""))
    device = str(volume.options.get("device", kind))
    address = next((word[5:] for word in options.split(",") if word.startswith("addr=")), "")
    if kind.startswith("nfs"):
        require("mount.nfs")
        if device.startswith(":") and address:
            device = address + device
    step("volume.mount")
    command = ["mount", "-t", kind, *(["-o", options] if options else []), device, place]
    try:
        run(command, timeout=120)
    except HostError as error:
        raise HostError("A volume cannot be mounted", f"{volume.name}: {error.detail}", command=command) from error
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line for line in file if line.split(" ", 5)[4] == place]
    if rows:
        from envkit.backend.embedded.record import spill

        spill(os.path.join(os.path.dirname(place), "mounted"), mount_options(rows[-1]).encode())


def mount_options(line: str) -> str:
    """The options of a line of /proc/PID/mountinfo: the mount's, then its file system's."""
    first, _, last = line.rstrip("\n").partition(" - ")
    words = [*first.split(" ")[5].split(","), *last.split(" ")[2].split(",")]
    return ",".join(dict.fromkeys(words))


def mount_as_before(home: Home, name: str) -> None:
    """Give a mounted volume the options that it was mounted with."""
    from envkit.host.process import run

    place = data(home, name)
    with open(os.path.join(directory(home, name), "mounted"), encoding="ascii") as file:
        options = file.read()
    step("volume.remount")
    run(["mount", "-o", f"remount,{options}", place], timeout=120)


def subdirectory(place: str, subpath: str, target: str) -> str:
    """Bind the directory (or file) subpath of a volume at target and return target.

    Resolved inside the volume whatever symlinks it has, and bound by descriptor, so that nobody can swap it meanwhile.
    """
    from envkit.host.beneath import open_beneath
    from envkit.host.mounts import bind

    try:
        descriptor = open_beneath(place, subpath, os.O_PATH)
    except OSError as error:
        raise NotFoundError("A subpath does not exist in its volume", f"{subpath}: {error.strerror}") from error
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            make_directory(target)
        else:
            make_directory(os.path.dirname(target))
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        bind(f"/proc/self/fd/{descriptor}", target)
    finally:
        os.close(descriptor)
    return target


def fill(home: Home, name: str, place: str, source: str) -> None:
    """Give an empty volume the image's content at its mount point, owner and mode included. Serialised per volume.

    place: what content() returned; source: the directory in the instance's root. A copy that was cut off is finished
    by the next call, before anything else is decided.
    """
    with locked(home, name):
        ready = os.path.join(directory(home, name), "ready")
        if not os.path.isdir(ready):
            if os.listdir(place):
                return
            if not os.listdir(source):
                _adopt(source, place)
                return
            step("volume.fill")
            if os.stat(place).st_dev != os.stat(directory(home, name)).st_dev:
                copy_tree(source, place)  # a mount of its own: nothing can be renamed into it
                return
            filling = os.path.join(directory(home, name), "filling")
            remove_tree(filling)
            copy_tree(source, filling)
            os.rename(filling, ready)
        step("volume.filled")
        for entry in os.listdir(ready):
            with suppress(FileExistsError, IsADirectoryError, NotADirectoryError):
                os.rename(os.path.join(ready, entry), os.path.join(place, entry))
        _adopt(ready, place)
        remove_tree(ready)


def _adopt(source: str, place: str) -> None:
    info = os.stat(source)
    os.chown(place, info.st_uid, info.st_gid)
    os.chmod(place, stat.S_IMODE(info.st_mode))
