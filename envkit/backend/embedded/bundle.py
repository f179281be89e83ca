"""config.json: a service's canonical spec, its image's config and the facts of this machine -> the OCI bundle. Pure.

Everything that had to be looked up (users, paths, namespaces, devices, the seccomp program) is in Facts already.
Source: OCI runtime-spec 1.0, config.md and config-linux.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from envkit.backend.embedded import limits, mounts, process
from envkit.backend.embedded.capabilities import process_capabilities
from envkit.backend.embedded.seccomp import ANNOTATION
from envkit.backend.embedded.users import User
from envkit.values import field, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@value
class Facts:
    """What encode() needs to know of the world.

    namespaces: OCI type -> path to join ("" = a new one); a type that is absent is the host's. volumes: the resolved
    user mounts; files: envkit's own (hosts, secrets), which win over nothing that the user mounts at the same place.
    devices: `linux.devices` entries with their cgroup access in "access". seccomp: a compiled program (crun) or a
    `linux.seccomp` object. rlimits: the limits, clamped. cgroup: cgroupsPath, "" when this machine has none;
    supported_limits: the keys of LimitsSpec that hold here.
    """

    root: str
    hostname: str
    user: User = field(default_factory=lambda: User(0, 0))
    capabilities: tuple[str, ...] = ()
    namespaces: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[mounts.Mount] = ()
    files: Sequence[mounts.Mount] = ()
    devices: Sequence[Mapping[str, Any]] = ()
    device_number: limits.DeviceNumber = lambda path: (0, 0)
    seccomp: str | Mapping[str, Any] | None = None
    rlimits: Sequence[Mapping[str, Any]] = ()
    cgroup: str = ""
    supported_limits: Collection[str] = ()
    init: str = ""
    shm_source: str = ""
    apparmor: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)


def encode(spec: Mapping[str, Any], image: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The bundle's config.json. image: the `config` object of the OCI image config."""
    privileged = bool(spec.get("privileged"))
    config: dict[str, Any] = {
        "ociVersion": "1.0.0",
        "process": process.encode(
            spec, image, user=facts.user, hostname=facts.hostname,
            capabilities=process_capabilities(facts.capabilities, facts.user.uid), limits=facts.rlimits,
            init=bool(facts.init),
        ),
        "root": {"path": facts.root, "readonly": bool(spec.get("read_only"))},
        "mounts": _mounts(spec, facts),
        "annotations": {str(key): str(value) for key, value in (spec.get("annotations") or {}).items()},
        "linux": _linux(spec, facts, privileged),
    }  # fmt: skip
    if "uts" in facts.namespaces and not facts.namespaces["uts"]:
        config["hostname"] = facts.hostname
        if spec.get("domainname"):
            config["domainname"] = spec["domainname"]
    if facts.apparmor and not privileged:
        config["process"]["apparmorProfile"] = facts.apparmor
    if ":" in facts.cgroup:  # a scope of systemd's: the limits are the scope's, without crun's own group below (crun.1)
        config["annotations"]["run.oci.systemd.subgroup"] = ""
    if isinstance(facts.seccomp, str):
        config["annotations"][ANNOTATION] = facts.seccomp
    elif facts.seccomp is not None:
        config["linux"]["seccomp"] = facts.seccomp
    return config


def _mounts(spec: Mapping[str, Any], facts: Facts) -> list[mounts.Mount]:
    taken = {row["destination"].rstrip("/") for row in facts.volumes}
    fixed = mounts.standard(
        privileged=bool(spec.get("privileged")), shm_size=int(spec.get("shm_size") or 0), shm_source=facts.shm_source,
        mqueue="ipc" in facts.namespaces, cgroup=bool(facts.cgroup),
    )  # fmt: skip
    if spec.get("ipc") == "none":
        fixed = [row for row in fixed if row["destination"] != "/dev/shm"]
    if facts.init:
        fixed.append(mounts.file_bind(facts.init, process.INIT, read_only=True))
    own = [row for row in facts.files if row["destination"].rstrip("/") not in taken]
    return mounts.ordered([*fixed, *own, *facts.volumes])


def _linux(spec: Mapping[str, Any], facts: Facts, privileged: bool) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": [
            {"type": kind, "path": path} if path else {"type": kind} for kind, path in facts.namespaces.items()
        ],
        "sysctl": {**facts.sysctls, **{str(k): str(v) for k, v in (spec.get("sysctls") or {}).items()}},
    }
    if not privileged and "systempaths=unconfined" not in (spec.get("security_opt") or ()):
        linux["maskedPaths"], linux["readonlyPaths"] = list(mounts.MASKED), list(mounts.READ_ONLY)
    nodes = [{key: value for key, value in row.items() if key != "access"} for row in facts.devices]
    if nodes:
        linux["devices"] = nodes
    if facts.cgroup:
        linux["cgroupsPath"] = facts.cgroup
        kept = limits.kept(spec.get("limits") or {}, facts.supported_limits)
        linux["resources"] = limits.resources(kept, facts.device_number)
        linux["resources"]["devices"] = _device_access(spec, facts, privileged)
    return linux


def _device_access(spec: Mapping[str, Any], facts: Facts, privileged: bool) -> list[dict[str, Any]]:
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rows: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rows += [
        {"allow": True, "type": row["type"], "major": row["major"], "minor": row["minor"], "access": row["access"]}
        for row in facts.devices
    ]
    return rows + limits.device_rules(spec.get("device_cgroup_rules") or ())
