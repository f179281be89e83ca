"""Mounts of a ServiceSpec as keys of HostConfig: Binds, Mounts, Tmpfs. Pure.

A bind whose source may be made goes to Binds, which makes it; all others to Mounts, which refuses a missing source.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from envkit.backend.docker.encode_network import Place

COPY_UP = frozenset({"tmpcopyup", "notmpcopyup"})
"""Options of other runtimes, for a tmpfs that begins with what the image has at its place. Docker's begin empty, and
Podman's are filled in any case."""

_SELINUX = {"z": "z", "Z": "Z", "shared": "z", "private": "Z"}


def mounts(
    spec: Mapping[str, Any], place: Place, file_volumes: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """The three keys, those that are empty left out."""
    binds: list[str] = []
    rows: list[dict[str, Any]] = []
    tmpfs: dict[str, str] = {}
    for row in spec.get("mounts") or ():
        match row["type"]:
            case "bind" if _is_plain(row):
                binds.append(_bind_text(row))
            case "bind":
                rows.append(_bind(row))
            case "tmpfs":
                tmpfs[row["target"]] = ",".join(tmpfs_options(row))
            case "image":
                rows.append(_image(row))
            case _:
                rows.append(_volume(row, place))
    for directory, labels in file_volumes.items():
        rows.append({
            "Type": "volume", "Target": directory, "VolumeOptions": {"Labels": dict(labels)},
        })  # fmt: skip
    found: dict[str, Any] = {"Binds": binds, "Mounts": rows, "Tmpfs": tmpfs}
    return {name: value for name, value in found.items() if value}


def _is_plain(row: Mapping[str, Any]) -> bool:
    """Whether Binds can say it: it alone makes missing sources and knows SELinux labels, and no colon may occur."""
    wanted = row.get("create_host_path") or row.get("selinux")
    return bool(wanted) and ":" not in row["source"] + row["target"] and row.get("recursive") in (None, "enabled")


def _bind_text(row: Mapping[str, Any]) -> str:
    words = ["ro" if row.get("read_only") else "rw"]
    if row.get("propagation"):
        words.append(row["propagation"])
    if row.get("selinux"):
        words.append(_SELINUX.get(row["selinux"], row["selinux"]))
    return f"{row['source']}:{row['target']}:{','.join(words)}"


def _bind(row: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if row.get("propagation"):
        options["Propagation"] = row["propagation"]
    match row.get("recursive"):
        case "disabled":
            options["NonRecursive"] = True
        case "writable":
            options["ReadOnlyNonRecursive"] = True
        case "readonly":
            options["ReadOnlyForceRecursive"] = True
    if row.get("create_host_path"):
        options["CreateMountpoint"] = True
    found = {"Type": "bind", "Source": row["source"], "Target": row["target"], "ReadOnly": bool(row.get("read_only"))}
    return {**found, "BindOptions": options} if options else found


def _volume(row: Mapping[str, Any], place: Place) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if row.get("nocopy"):
        options["NoCopy"] = True
    if row.get("subpath"):
        options["Subpath"] = row["subpath"]
    if row.get("labels"):
        options["Labels"] = dict(row["labels"])
    found: dict[str, Any] = {"Type": "volume", "Target": row["target"], "ReadOnly": bool(row.get("read_only"))}
    if row.get("source"):
        found["Source"] = place.volumes.get(row["source"], row["source"])
    return {**found, "VolumeOptions": options} if options else found


def _image(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"Type": "image", "Source": row["source"], "Target": row["target"], "ReadOnly": True}
    return {**found, "ImageOptions": {"Subpath": row["subpath"]}} if row.get("subpath") else found


def tmpfs_options(row: Mapping[str, Any]) -> Iterator[str]:
    """Mount options. The engine adds noexec, nosuid and nodev by itself."""
    yield "ro" if row.get("read_only") else "rw"
    if "size" in row:
        yield f"size={row['size']}"
    if "mode" in row:
        yield f"mode={row['mode']:o}"
    for key in ("uid", "gid"):
        if key in row:
            yield f"{key}={row[key]}"
    for key in ("nosuid", "nodev", "noexec"):
        if key in row:
            yield key if row[key] else key.removeprefix("no")
    yield from (option for option in row.get("options") or () if option not in COPY_UP)
