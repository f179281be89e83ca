"""A canonical ServiceSpec as the body of POST /containers/create. Pure.

Source: Docker Engine API v1.41–1.47, ContainerCreate. What has no key there is in check.py.
"""

from __future__ import annotations

import math

from envkit.backend.docker import encode_mounts, encode_network, encode_resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_CONDITIONAL = {
    "working_dir": "WorkingDir", "user": "User", "hostname": "Hostname", "domainname": "Domainname",
    "stop_signal": "StopSignal",
}  # fmt: skip
HOST = {
    "privileged": "Privileged", "read_only": "ReadonlyRootfs", "init": "Init", "group_add": "GroupAdd",
    "cap_add": "CapAdd", "cap_drop": "CapDrop", "dns": "Dns", "dns_search": "DnsSearch", "dns_opt": "DnsOptions",
    "sysctls": "Sysctls", "shm_size": "ShmSize", "storage_opt": "StorageOpt", "runtime": "Runtime",
    "uts": "UTSMode", "userns_mode": "UsernsMode", "cgroup": "CgroupnsMode", "cgroup_parent": "CgroupParent",
    "oom_score_adj": "OomScoreAdj", "device_cgroup_rules": "DeviceCgroupRules",
}  # fmt: skip


def container(
    spec: Mapping[str, Any], *, image: str, labels: Mapping[str, str], place: encode_network.Place,
    file_volumes: Mapping[str, Mapping[str, str]], image_config: Mapping[str, Any], version: tuple[int, int],
    resolve: Callable[[str], str],
) -> dict[str, Any]:  # fmt: skip
    """The body. image: an id or a reference; place: the names around it; file_volumes: directory -> labels of an
    anonymous volume for secrets and configs; image_config: the image's `Config`; resolve: `service:NAME` and
    `container:NAME` as the engine wants it."""
    body: dict[str, Any] = {
        "Image": image, "Labels": dict(labels), "Env": environment(spec.get("environment") or {}),
        "Tty": bool(spec.get("tty")), "OpenStdin": bool(spec.get("stdin_open")),
        "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
    }  # fmt: skip
    for key, name in _CONDITIONAL.items():
        if key in spec:
            body[name] = spec[key]
    _arguments(body, spec, image_config)
    if "stop_grace_period" in spec:
        body["StopTimeout"] = math.ceil(spec["stop_grace_period"])
    if check := spec.get("healthcheck"):
        body["Healthcheck"] = healthcheck(check, version)
    exposed = encode_network.exposed(spec)
    if exposed:
        body["ExposedPorts"] = exposed
    host: dict[str, Any] = {name: spec[key] for key, name in HOST.items() if key in spec}
    host |= encode_resources.resources(spec.get("limits") or {})
    host |= encode_resources.devices(spec)
    host |= encode_mounts.mounts(spec, place, file_volumes)
    host |= encode_network.host(spec, resolve)
    host["RestartPolicy"] = restart(spec.get("restart") or {})
    if options := security(spec):
        host["SecurityOpt"] = options
    if logging := spec.get("logging"):
        host["LogConfig"] = {"Type": logging.get("driver") or "", "Config": dict(logging.get("options") or {})}
    for key, name in (("pid", "PidMode"), ("ipc", "IpcMode")):
        if key in spec:
            host[name] = resolve(str(spec[key]))
    if "volumes_from" in spec:
        host["VolumesFrom"] = [_volumes_from(text, resolve) for text in spec["volumes_from"]]
    if "annotations" in spec and version >= (1, 43):
        host["Annotations"] = dict(spec["annotations"])
    body["HostConfig"] = host
    if spec.get("mac_address") and version < (1, 44):
        body["MacAddress"] = spec["mac_address"]
    return body


def _arguments(body: dict[str, Any], spec: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    """Entrypoint and Cmd: absent means the image's, an empty list none. The engine takes the image's Cmd when both
    Entrypoint and Cmd are empty, and its Entrypoint when that is null."""
    if "entrypoint" in spec:
        body["Entrypoint"] = list(spec["entrypoint"]) or [""]
    if "command" in spec:
        body["Cmd"] = list(spec["command"])
        if not spec["command"] and "entrypoint" not in spec:
            body["Entrypoint"] = list(image.get("Entrypoint") or [])


def environment(given: Mapping[str, str | None]) -> list[str]:
    """A name without `=` takes the image's variable away."""
    return [name if value is None else f"{name}={value}" for name, value in given.items()]


def healthcheck(check: Mapping[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    """Durations are nanoseconds; what is absent is the image's, then the engine's default."""
    result: dict[str, Any] = {}
    if "test" in check:
        result["Test"] = list(check["test"])
    for key, name in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if key in check:
            result[name] = round(check[key] * 1_000_000_000)
    if "retries" in check:
        result["Retries"] = check["retries"]
    if "start_interval" in check and version >= (1, 44):
        result["StartInterval"] = round(check["start_interval"] * 1_000_000_000)
    return result


def restart(given: Mapping[str, Any]) -> dict[str, Any]:
    policy = str(given.get("policy") or "no")
    attempts = int(given.get("max_attempts") or 0) if policy == "on-failure" else 0
    return {"Name": policy, "MaximumRetryCount": attempts}


def security(spec: Mapping[str, Any]) -> list[str]:
    """SecurityOpt, as `docker run --security-opt` writes it."""
    options = [str(item) for item in spec.get("security_opt") or ()]
    if spec.get("no_new_privileges"):
        options.append("no-new-privileges:true")
    if seccomp := spec.get("seccomp"):
        options.append(f"seccomp={seccomp}")
    return options


def _volumes_from(text: str, resolve: Callable[[str], str]) -> str:
    """`SERVICE[:ro]` or `container:NAME[:ro]`."""
    mode = ""
    for suffix in (":ro", ":rw"):
        if text.endswith(suffix):
            text, mode = text.removesuffix(suffix), suffix
    wanted = text if text.startswith("container:") else f"service:{text}"
    return resolve(wanted).removeprefix("container:") + mode
