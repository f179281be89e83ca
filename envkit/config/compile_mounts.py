"""What a service sees of files: volumes, binds, tmpfs, image mounts, secrets, configs and devices."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping

from envkit.address import Address
from envkit.config.draft import Draft
from envkit.config.quantities import is_true, mode, size
from envkit.spec.environment import Dependency, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHM_SIZE = 64 * 1024 * 1024
_FLAGS = {
    "ro": ("read_only", True), "rw": ("read_only", False), "suid": ("nosuid", False), "nosuid": ("nosuid", True),
    "dev": ("nodev", False), "nodev": ("nodev", True), "exec": ("noexec", False), "noexec": ("noexec", True),
}  # fmt: skip


def put_files(draft: Draft, service: Mapping[str, Any], images: Mapping[str, Resource]) -> None:
    """Everything about files. The mounts are left in draft.mounts, for the defaults to be added."""
    for index, item in enumerate(service.get("volumes") or ()):
        if made := _mount(draft, item, f"volumes[{index}]"):
            draft.mounts.append((f"volumes[{index}]", made))
    for index, text in enumerate(service.get("tmpfs") or ()):
        draft.mounts.append((f"tmpfs[{index}]", tmpfs(draft, str(text), f"tmpfs[{index}]")))
    for _, made in draft.mounts:
        if made["type"] == "volume" and "source" in made:
            draft.needs(Dependency(Address("volume", made["source"])))
        elif made["type"] == "image":
            image = images[made["source"]]
            made["source"] = image.spec["name"]
            draft.needs(Dependency(image.address))
    draft.put("volumes_from", service.get("volumes_from") or None)
    draft.put("read_only", True if is_true(service.get("read_only")) else None)
    for kind in ("secrets", "configs"):
        _put_file_mounts(draft, service.get(kind) or (), kind)
    _put_devices(draft, service)
    shm = draft.read(size, service.get("shm_size"), "shm_size")
    draft.put("shm_size", None if shm == SHM_SIZE else shm)
    draft.put("storage_opt", {key: str(value) for key, value in (service.get("storage_opt") or {}).items()} or None)


def _mount(draft: Draft, item: Mapping[str, Any], below: str) -> dict[str, Any] | None:
    """MountSpec of one entry of `volumes:` in its long form."""
    kind = item["type"]
    if kind in ("npipe", "cluster"):
        where = "on Windows" if kind == "npipe" else "in Swarm"
        draft.scope.error("unsupported", "A value cannot be honoured", f"{draft.path(below)} has the type {kind}, "
                          f"which exists {where} only", draft.path(below), "mount a volume or a directory")  # fmt: skip
        return None
    target = str(item.get("target") or "")
    if not target.startswith("/"):
        draft.scope.error("invalid-value", "A value is not valid", f"{draft.path(below)}.target is {target!r}, not an "
                          "absolute path", draft.path(below), "begin it with /")  # fmt: skip
        return None
    if kind == "image" and not item.get("source"):
        draft.scope.error("missing-key", "A key is missing", f"{draft.path(below)} is an image mount and needs the key "
                          "'source'", draft.path(below), "add `source:` with the image's reference")  # fmt: skip
        return None
    made: dict[str, Any] = {"type": kind, "target": _clean(target)}
    if item.get("source"):
        made["source"] = item["source"]
    if is_true(item.get("read_only")):
        made["read_only"] = True
    options: Mapping[str, Any] = item.get(kind) or {}
    made |= _MOUNT_OPTIONS[kind](draft, options, below)
    return made


def _bind_options(_: Draft, options: Mapping[str, Any], __: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if options.get("create_host_path") is not False:
        made["create_host_path"] = True
    for key, default in (("propagation", "rprivate"), ("recursive", "enabled"), ("selinux", "")):
        if options.get(key) not in (None, "", default):
            made[key] = options[key]
    return made


def _tmpfs_options(draft: Draft, options: Mapping[str, Any], below: str) -> dict[str, Any]:
    made: dict[str, Any] = {"nosuid": True, "nodev": True, "noexec": True}
    for key, convert in (("size", size), ("mode", mode)):
        if options.get(key):
            made[key] = draft.read(convert, options[key], f"{below}.tmpfs.{key}")
    return made


def _volume_options(draft: Draft, options: Mapping[str, Any], below: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if is_true(options.get("nocopy")):
        made["nocopy"] = True
    if options.get("subpath"):
        made["subpath"] = options["subpath"]
    if options.get("labels"):
        place = draft.path(f"{below}.volume.labels")
        draft.scope.warning("not-honoured", "A key has no effect", f"{place} is not honoured: an anonymous volume has "
                            "no labels", place, "label a volume below `volumes:`")  # fmt: skip
    return made


_MOUNT_OPTIONS = {"bind": _bind_options, "tmpfs": _tmpfs_options, "volume": _volume_options, "image": _volume_options}


def tmpfs(draft: Draft, text: str, below: str) -> dict[str, Any]:
    """MountSpec of one entry of `tmpfs:`, PATH[:OPTIONS]. Docker mounts it noexec, nosuid and nodev."""
    target, _, options = text.partition(":")
    made: dict[str, Any] = {"type": "tmpfs", "target": _clean(target), "nosuid": True, "nodev": True, "noexec": True}
    rest: list[str] = []
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name in _FLAGS:
            key, on = _FLAGS[name]
            made[key] = on
            if not on and name != "rw":
                rest.append(name)  # a runtime's own default would bring noexec back
        elif name in ("size", "mode", "uid", "gid"):
            made[name] = draft.read(_TMPFS_NUMBERS[name], value, below)
        else:
            rest.append(option)
    if rest:
        made["options"] = rest
    return {key: value for key, value in made.items() if value is not False and value is not None}


_TMPFS_NUMBERS: dict[str, Callable[[Any], Any]] = {"size": size, "mode": mode, "uid": int, "gid": int}


def _clean(path: str) -> str:
    """An absolute path without `.`, `..`, doubled or trailing slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _put_file_mounts(draft: Draft, items: Any, kind: str) -> None:
    root = "/run/secrets" if kind == "secrets" else "/"
    made = []
    for index, item in enumerate(items):
        entry = {"source": item["source"], "target": posixpath.join(root, str(item.get("target") or item["source"]))}
        for key in ("uid", "gid"):
            if item.get(key):
                entry[key] = str(item[key])
        if item.get("mode") is not None:
            entry["mode"] = draft.read(mode, item["mode"], f"{kind}[{index}].mode")
        made.append((entry["target"], index, entry))
    made.sort(key=lambda row: row[:2])
    for position, (_, index, _entry) in enumerate(made):
        draft.came_from(f"{kind}[{position}]", f"{kind}[{index}]")
    if made:
        draft.spec[kind] = [entry for _, _, entry in made]


def _put_devices(draft: Draft, service: Mapping[str, Any]) -> None:
    devices = [
        {"source": item["source"], "target": item.get("target") or item["source"],
         "permissions": item.get("permissions") or "rwm"}
        for item in service.get("devices") or ()
    ]  # fmt: skip
    draft.put("devices", sorted(devices, key=lambda item: item["target"]) or None)
    draft.put("device_cgroup_rules", sorted(service.get("device_cgroup_rules") or ()) or None)
