"""Host devices in a container: `devices:` and `privileged`. Source: OCI runtime-spec config-linux.md#devices."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from envkit.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PRIVATE = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd")  # made anew in every container
_OWN = ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")  # the runtime makes them itself


def _entry(source: str, target: str, access: str) -> dict[str, Any] | None:
    info = os.stat(source)
    if not (stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)):
        return None
    return {
        "path": target, "type": "c" if stat.S_ISCHR(info.st_mode) else "b", "major": os.major(info.st_rdev),
        "minor": os.minor(info.st_rdev), "fileMode": stat.S_IMODE(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
        "access": access,
    }  # fmt: skip


def _nodes(directory: str) -> Iterator[str]:
    for entry in os.scandir(directory):
        if entry.is_symlink():
            continue
        if entry.is_dir():
            if entry.path not in _PRIVATE:
                yield from _nodes(entry.path)
        else:
            yield entry.path


def requested(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The nodes of `devices:`; a directory stands for all devices below it. Raises NotFoundError for what is absent."""
    found = []
    for row in rows:
        source, target, access = row["source"], row.get("target") or row["source"], row.get("permissions") or "rwm"
        if not os.path.exists(source):
            raise NotFoundError("A device does not exist", source, "check `devices:`; `ls /dev` shows what there is")
        paths = list(_nodes(source)) if os.path.isdir(source) else [source]
        entries = [_entry(path, target + path.removeprefix(source), access) for path in paths]
        found += [entry for entry in entries if entry is not None]
        if not any(entries):
            raise NotFoundError("A device does not exist", f"{source} is no device", "bind other files with `volumes:`")
    return found


def everything() -> list[dict[str, Any]]:
    """All of the host's device nodes, for a privileged container."""
    entries = (_entry(path, path, "rwm") for path in _nodes("/dev") if path.removeprefix("/dev/") not in _OWN)
    return [entry for entry in entries if entry is not None]


def number(path: str) -> tuple[int, int]:
    """(major, minor) of a device. Raises NotFoundError."""
    try:
        info = os.stat(path)
    except OSError as error:
        raise NotFoundError("A device does not exist", f"{path}: {error.strerror}", "check `blkio_config:`") from error
    return os.major(info.st_rdev), os.minor(info.st_rdev)
