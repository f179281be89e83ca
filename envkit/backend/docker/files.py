"""Secrets and configs: files that are put into a container before it starts, never variables, labels or host files.

They lie in the container's own layer where that is what is seen at their place. Where it is not (a read-only root, a
mount above it) their directory becomes an anonymous volume, which goes with the container. Pure, but for reading
materials and the container's own users.
"""

from __future__ import annotations

import posixpath

from envkit.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import Any

    from envkit.backend.base import Materials


def mounted(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("secret" or "config", FileMountSpec) of everything that a service gets."""
    for kind in ("secret", "config"):
        for item in spec.get(f"{kind}s") or ():
            yield kind, item


def directories(spec: Mapping[str, Any]) -> list[str]:
    """The directories that have to be volumes so that files can be put into them. `/` for one that cannot be."""
    found = []
    mounts = [str(row["target"]).rstrip("/") for row in spec.get("mounts") or ()]
    for _, item in mounted(spec):
        directory = posixpath.dirname(posixpath.normpath(item["target"]))
        hidden = any(directory == target or directory.startswith(f"{target}/") for target in mounts)
        if (spec.get("read_only") or hidden) and directory not in found:
            found.append(directory)
    return found


def contents(
    spec: Mapping[str, Any], materials: Materials, *, hardened: bool
) -> list[tuple[Mapping[str, Any], bytes]]:
    """Every file, its mode filled in, with its content. hardened: envkit.yaml's secrets are for their owner alone.
    Raises NotFoundError when a source is gone."""
    return [
        ({"mode": 0o400 if hardened and kind == "secret" else 0o444, **item},
         materials.secret(item["source"]) if kind == "secret" else materials.config(item["source"]))
        for kind, item in mounted(spec)
    ]  # fmt: skip


def archives(
    files: list[tuple[Mapping[str, Any], bytes]], volumes: Collection[str], owner: tuple[int, int],
    identify: Callable[[str, str], int],
) -> Iterator[tuple[str, bytes]]:  # fmt: skip
    """(directory, tar) for PUT /containers/ID/archive: one per volume, the rest below /. owner: of files that say
    nothing; identify(table, name): the number of a `uid` or `gid` that is a name."""
    import io
    import tarfile

    places: dict[str, list[tuple[str, Mapping[str, Any], bytes]]] = {}
    for item, content in files:
        directory, _, name = posixpath.normpath(item["target"]).rpartition("/")
        if directory in volumes:
            places.setdefault(directory, []).append((name, item, content))
        else:
            places.setdefault("/", []).append((f"{directory}/{name}".lstrip("/"), item, content))
    for directory, rows in places.items():
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, item, content in rows:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mode = int(item["mode"])
                member.uid = identify("passwd", str(item["uid"])) if "uid" in item else owner[0]
                member.gid = identify("group", str(item["gid"])) if "gid" in item else owner[1]
                tar.addfile(member, io.BytesIO(content))
        yield directory, stream.getvalue()


def number(name: str, table: str, where: str) -> int:
    """A user's or group's number by a container's /etc/passwd or /etc/group. Raises NotFoundError."""
    if name.isdigit():
        return int(name)
    for line in table.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
            return int(fields[2])
    raise NotFoundError("A user or group does not exist in the image", f"{name!r}, of {where}", "write its number")
