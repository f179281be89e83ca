"""The defaults of an envkit.yaml. Each gives way to what the YAML says; a compose.yaml has none of them.

| default | written in the YAML as |
|---|---|
| read-only root, with /tmp and /run in memory | `read_only: false`; a mount of one's own at /tmp or /run; `tmpfs: []` |
| all capabilities dropped but CAPABILITIES | `cap_add`, `cap_drop` (ALL: just what is added), `privileged` |
| no new privileges | `security_opt: ["no-new-privileges:false"]` |
| no set-user-ID programs and devices on mounts | `allow: [suid-mounts]` |
| at most 512 processes | `pids_limit`, `deploy.resources.limits.pids`; -1 for no limit |
| publish on 127.0.0.1 | an address: `"0.0.0.0:80:80"` |
| restart on failure, 5 times with growing pauses | `restart`, `deploy.restart_policy` |
| logs of 3 x 10 MiB | `logging` |
| an init as PID 1 | `init: false` |
| no runtime socket | `allow: [runtime-socket]` |
| no sensitive host directory | `allow: [host-path]` |
| a missing bind source is an error | `bind: {create_host_path: true}` |

Sources: OWASP Docker Security Cheat Sheet; CIS Docker Benchmark section 5; Kubernetes Pod Security Standards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from envkit.config.draft import Draft
from envkit.config.quantities import is_true
from envkit.config.tree import origin_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What an ordinary server image needs that starts as root, prepares its files and becomes another user (nginx,
PostgreSQL, Redis): own and open its directories, bind a port below 1024, change user, signal its workers."""

PIDS = 512
RESTART = {"policy": "on-failure", "max_attempts": 5}
LOG_OPTIONS = {"max-file": "3", "max-size": "10m"}

_MEMORY_OPTIONS = {"nosuid": True, "nodev": True, "noexec": True, "options": ["tmpcopyup"]}
"""tmpcopyup: what the image has there (/run/postgresql) is seen in the fresh tmpfs; an option of crun and runc."""
_IN_MEMORY = {"/run": {"/run", "/var/run"}, "/tmp": {"/tmp"}}
_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock", "crio.sock", "cri-dockerd.sock", "buildkitd.sock")
_SENSITIVE = ("/", "/bin", "/dev", "/home", "/lib", "/lib64", "/root", "/run", "/sbin", "/usr", "/var", "/var/lib",
              "/var/run")  # fmt: skip
_SENSITIVE_TREES = ("/boot", "/etc", "/proc", "/sys", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers",
                    "/var/lib/kubelet")  # fmt: skip
HARMLESS = ("/etc/localtime", "/etc/timezone", "/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki/ca-trust")


def harden(draft: Draft, service: Mapping[str, Any]) -> None:
    """Fill in what the service leaves open, and refuse what it must ask for by name."""
    spec = draft.spec

    def is_open(key: str) -> bool:
        return not draft.is_written(key)

    if is_open("read_only"):
        draft.fill("read_only", True)
    _mounts(draft, service, is_open("tmpfs"))
    if not spec.get("privileged"):
        _capabilities(draft, service, is_open("cap_drop"))
        if not any(str(item).startswith("no-new-privileges") for item in service.get("security_opt") or ()):
            draft.fill("no_new_privileges", True)
    limits = spec.setdefault("limits", {})
    if "pids" not in limits and is_open("pids_limit") and is_open("deploy.resources.limits.pids"):
        limits["pids"] = PIDS
        draft.fill("limits", limits, "limits.pids")
    if not limits:
        del spec["limits"]
    if is_open("restart") and is_open("deploy.restart_policy"):
        draft.fill("restart", dict(RESTART))
    if is_open("logging"):
        draft.fill("logging", {"driver": "json-file", "options": dict(LOG_OPTIONS)})
    if is_open("init"):
        draft.fill("init", True)


def _capabilities(draft: Draft, service: Mapping[str, Any], drop_is_open: bool) -> None:
    added, dropped = set(draft.spec.get("cap_add") or ()), set(draft.spec.get("cap_drop") or ())
    if "ALL" in dropped or "ALL" in added or not (dropped or drop_is_open):
        return
    draft.fill("cap_drop", ["ALL"])
    draft.fill("cap_add", sorted(added | (set(CAPABILITIES) - dropped)), "cap_add" if not added else "cap_drop")


def _mounts(draft: Draft, service: Mapping[str, Any], tmpfs_is_open: bool) -> None:
    allowed = set(service.get("allow") or ())
    for index, entry in enumerate(service.get("volumes") or ()):
        if entry["type"] == "bind" and entry.get("source"):
            _check_bind(draft, entry, f"volumes[{index}]", allowed)
    for source, item in draft.mounts:
        if "suid-mounts" not in allowed:
            item["nosuid"] = item["nodev"] = True
        if item["type"] == "bind" and not _asks_to_create(service["volumes"][int(source[8:-1])]):
            item.pop("create_host_path", None)
    if draft.spec.get("read_only") and tmpfs_is_open:
        taken = {item["target"] for _, item in draft.mounts}
        for target, names in _IN_MEMORY.items():
            if not taken & names:
                draft.mounts.append(("", {"type": "tmpfs", "target": target, **_MEMORY_OPTIONS}))


def _check_bind(draft: Draft, entry: Mapping[str, Any], below: str, allowed: set[str]) -> None:
    scope = draft.scope
    source = os.path.normpath(entry["source"])
    path = draft.path(below)
    if os.path.basename(source) in _SOCKETS and "runtime-socket" not in allowed:
        scope.error("refused", "A mount is refused", f"{path} gives the container {source}: who holds a container "
                    "runtime's socket is root on this machine", path,
                    f"if that is meant, write `allow: [runtime-socket]` in {draft.base}")  # fmt: skip
        return
    if is_sensitive(source, scope.model.directory) and "host-path" not in allowed and not (
        is_true(entry.get("read_only")) and source in HARMLESS
    ):
        scope.error("refused", "A mount is refused", f"{path} gives the container {source}, a sensitive directory of "
                    "this machine", path,
                    f"mount a directory of the project, or write `allow: [host-path]` in {draft.base}")  # fmt: skip
        return
    if scope.tolerant or _asks_to_create(entry) or scope.inputs.exists(source):
        return
    scope.error("missing-file", "A file does not exist", f"{path} mounts {source}", path,
                "create it, or write the long form with `bind: {create_host_path: true}`")  # fmt: skip


def _asks_to_create(entry: Mapping[str, Any]) -> bool:
    """Whether `create_host_path: true` is written. The short syntax implies it; all its values have one origin."""
    options = entry.get("bind")
    written, whole = origin_of(options, "create_host_path"), origin_of(entry, "type")
    if not isinstance(options, Mapping) or options.get("create_host_path") is False:
        return False
    return written is not None and (whole is None or (written.line, written.column) != (whole.line, whole.column))


def is_sensitive(source: str, project: str) -> bool:
    if source in _SENSITIVE:
        return True
    inside = source == project or source.startswith(project.rstrip("/") + "/")
    return not inside and any(source == tree or source.startswith(tree + "/") for tree in _SENSITIVE_TREES)
