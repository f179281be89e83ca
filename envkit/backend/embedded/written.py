"""What an instance has written into its own layer: the files that die with it. Writes nothing.

In an upper directory a device with number 0:0, or an empty file with the attribute overlay.whiteout, is a deletion
(overlayfs documentation, "whiteouts and opaque directories"); what lower layers have as well has been changed.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envkit.address import Address
    from envkit.backend.embedded.record import Record
    from envkit.host.home import Home

SHOWN = 50
"""So many are named by a plan."""


def written(record: Record, lowers: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """(added, changed or deleted; absolute path) of every file, sorted by path; directories count when they are new.

    lowers: the image's trees; without them everything that is there is called changed. What `develop.watch` has put in
    is not among it: the files still have it.
    """
    if not record.shared_root and not record.spec.get("read_only"):
        from envkit.backend.embedded.sync import synced

        known = synced(record)
        for what, path in _below(record.path("upper"), "", lowers):
            if path.rstrip("/") not in known:
                yield what, path


def first_written(record: Record) -> list[str]:
    """The paths of the first files, with the last one "…" where there are more."""
    found: list[str] = []
    for _, path in written(record):
        if len(found) == SHOWN:
            return [*found, "…"]
        found.append(path)
    return found


def all_written(home: Home, environment: str, address: Address) -> list[tuple[str, str]]:
    """Every file of one instance. Raises NotFoundError when there is no such instance."""
    from envkit.backend.embedded import record as records
    from envkit.errors import NotFoundError
    from envkit.image.store import Store

    record = records.find(home, environment, address)
    if record is None:
        raise NotFoundError("There is no such instance", str(address), "envkit ps lists them")
    if record.shared_root:
        return []
    return list(written(record, Store(home).image(record.image_digest).trees))


def _below(upper: str, place: str, lowers: Sequence[str]) -> Iterator[tuple[str, str]]:
    try:
        with os.scandir(upper + place) as entries:
            rows = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in rows:
        path = f"{place}/{entry.name}"
        info = entry.stat(follow_symlinks=False)
        below = not lowers or any(os.path.lexists(lower + path) for lower in lowers)
        if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
            yield "deleted", path
        elif stat.S_ISDIR(info.st_mode):
            if not below:
                yield "added", path + "/"
            yield from _below(upper, path, lowers)
        elif _is_whiteout(upper + path, info):
            yield "deleted", path
        else:
            yield ("changed" if below else "added"), path


def _is_whiteout(path: str, info: os.stat_result) -> bool:
    if info.st_size or not stat.S_ISREG(info.st_mode):
        return False
    names = os.listxattr(path, follow_symlinks=False)
    return "trusted.overlay.whiteout" in names or "user.overlay.whiteout" in names
