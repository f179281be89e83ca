"""A canonical ServiceSpec as a ContainerSpec of Swarm. Pure. Source: Docker Engine API v1.41–1.47, ServiceCreate."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.swarm.encode import Place

_PLAIN = {
    "working_dir": "Dir", "user": "User", "hostname": "Hostname", "group_add": "Groups", "tty": "TTY",
    "stdin_open": "OpenStdin", "read_only": "ReadOnly", "init": "Init", "stop_signal": "StopSignal",
}  # fmt: skip
_NANO = 1_000_000_000
_STACK = "com.docker.stack.namespace"
SECRET_MODE, HARDENED_SECRET_MODE, CONFIG_MODE = 0o444, 0o400, 0o444


def container(spec: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The ContainerSpec."""
    made: dict[str, Any] = {
        "Image": place.image, "Labels": {**(spec.get("labels") or {}), _STACK: place.environment},
        "Env": environment(spec.get("environment") or {}),
    }  # fmt: skip
    for key, own in _PLAIN.items():
        if key in spec:
            made[own] = spec[key]
    _arguments(made, spec)
    if "stop_grace_period" in spec:
        made["StopGracePeriod"] = round(float(spec["stop_grace_period"]) * _NANO)
    if check := spec.get("healthcheck"):
        made["Healthcheck"] = healthcheck(check, place.version)
    _connect(made, spec)
    _bound(made, spec)
    mounts = [mount(row, place) for row in spec.get("mounts") or ()]
    if spec.get("shm_size"):
        mounts.append({"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": {"SizeBytes": spec["shm_size"]}})
    if mounts:
        made["Mounts"] = mounts
    for kind, known in (("secret", place.secrets), ("config", place.configs)):
        rows = [_file(kind, row, known, spec, place) for row in spec.get(f"{kind}s") or ()]
        if rows:
            made[f"{kind.capitalize()}s"] = rows
    if place.version >= (1, 46):
        _newer(made, spec)
    return made


def _connect(made: dict[str, Any], spec: Mapping[str, Any]) -> None:
    """Names and name servers."""
    if hosts := spec.get("extra_hosts"):
        made["Hosts"] = [f"{address} {name}" for name, addresses in hosts.items() for address in addresses]
    if resolver := {own: list(spec[key]) for key, own in (
        ("dns", "Nameservers"), ("dns_search", "Search"), ("dns_opt", "Options")) if spec.get(key)}:
        made["DNSConfig"] = resolver  # fmt: skip


def _bound(made: dict[str, Any], spec: Mapping[str, Any]) -> None:
    """Privileges and limits of the process."""
    for key, own in (("cap_add", "CapabilityAdd"), ("cap_drop", "CapabilityDrop")):
        if spec.get(key):
            made[own] = [name if name == "ALL" else f"CAP_{name.removeprefix('CAP_')}" for name in spec[key]]
    if spec.get("sysctls"):
        made["Sysctls"] = dict(spec["sysctls"])
    if spec.get("ulimits"):
        made["Ulimits"] = [
            {"Name": name, "Soft": each["soft"], "Hard": each["hard"]} for name, each in sorted(spec["ulimits"].items())
        ]


def _newer(made: dict[str, Any], spec: Mapping[str, Any]) -> None:
    """What the API has from 1.46 on."""
    if spec.get("oom_score_adj"):
        made["OomScoreAdj"] = spec["oom_score_adj"]
    privileges: dict[str, Any] = {}
    if spec.get("no_new_privileges"):
        privileges["NoNewPrivileges"] = True
    if seccomp := spec.get("seccomp"):
        if seccomp == "unconfined":
            privileges["Seccomp"] = {"Mode": "unconfined"}
        else:
            from base64 import b64encode

            privileges["Seccomp"] = {"Mode": "custom", "Profile": b64encode(seccomp.encode()).decode()}
    if "apparmor=unconfined" in (spec.get("security_opt") or ()):
        privileges["AppArmor"] = {"Mode": "disabled"}
    if privileges:
        made["Privileges"] = privileges


def environment(given: Mapping[str, str | None]) -> list[str]:
    """A name without `=` takes the image's variable away."""
    return [name if value is None else f"{name}={value}" for name, value in given.items()]


def _arguments(made: dict[str, Any], spec: Mapping[str, Any]) -> None:
    """Command is the entrypoint and Args the command; no entrypoint at all: the command's own words begin."""
    entrypoint, command = spec.get("entrypoint"), spec.get("command")
    if entrypoint == [] and command:
        made["Command"] = list(command)
        return
    if entrypoint:
        made["Command"] = list(entrypoint)
    if command:
        made["Args"] = list(command)


def healthcheck(check: Mapping[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """What is absent is the image's, then the engine's default."""
    made: dict[str, Any] = {}
    if "test" in check:
        made["Test"] = list(check["test"])
    for key, own in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if key in check:
            made[own] = round(float(check[key]) * _NANO)
    if "retries" in check:
        made["Retries"] = check["retries"]
    if "start_interval" in check and version >= (1, 44):
        made["StartInterval"] = round(float(check["start_interval"]) * _NANO)
    return made


def mount(row: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """One of Mounts."""
    made: dict[str, Any] = {"Type": row["type"], "Target": row["target"]}
    if row.get("read_only"):
        made["ReadOnly"] = True
    match row["type"]:
        case "bind":
            made["Source"] = row["source"]
            if row.get("propagation"):
                made["BindOptions"] = {"Propagation": row["propagation"]}
        case "volume":
            if row.get("source"):
                made["Source"] = place.volumes.get(row["source"], row["source"])
            options = dict(place.volume_options.get(row.get("source", ""), {}))
            if row.get("nocopy"):
                options["NoCopy"] = True
            if row.get("subpath") and place.version >= (1, 45):
                options["Subpath"] = row["subpath"]
            if options:
                made["VolumeOptions"] = options
        case "tmpfs":
            options = {own: row[key] for key, own in (("size", "SizeBytes"), ("mode", "Mode")) if key in row}
            if options:
                made["TmpfsOptions"] = options
    return made


def _file(
    kind: str, row: Mapping[str, Any], known: Mapping[str, tuple[str, str]], spec: Mapping[str, Any], place: Place
) -> dict[str, Any]:
    identity, name = known.get(row["source"], ("", row["source"]))
    uid, gid, mode = row.get("uid"), row.get("gid"), row.get("mode")
    if kind == "secret" and place.hardened and uid is None:
        user, _, group = str(spec.get("user") or "0").partition(":")
        if user.isdigit():
            uid, gid = user, gid or (group if group.isdigit() else user)
            mode = HARDENED_SECRET_MODE if mode is None else mode
    if mode is None:  # where the owner is a name that only the image knows, everybody in the container may read it
        mode = SECRET_MODE if kind == "secret" else CONFIG_MODE
    title = kind.capitalize()
    file = {"Name": row["target"], "UID": str(uid or 0), "GID": str(gid or 0), "Mode": mode}
    return {f"{title}ID": identity, f"{title}Name": name, "File": file}
