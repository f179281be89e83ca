"""What a service may do and use: capabilities, namespaces, limits."""

from __future__ import annotations

from collections.abc import Mapping

from envkit.config.checks import check_capability, check_ulimits
from envkit.config.draft import Draft
from envkit.config.inputs import project_path
from envkit.config.quantities import is_true, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLKIO = ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops")


def put_isolation(draft: Draft, service: Mapping[str, Any]) -> None:
    """Privileges, namespaces, limits."""
    for key in ("cap_add", "cap_drop"):
        names = [capability(item) for item in service.get(key) or ()]
        for index, name in enumerate(names):
            check_capability(draft.scope, name, draft.path(f"{key}[{index}]"))
        draft.put(key, sorted(set(names)) or None)
    draft.put("privileged", True if is_true(service.get("privileged")) else None)
    _put_security(draft, service.get("security_opt") or ())
    sysctls = {key: str(value) for key, value in (service.get("sysctls") or {}).items()}
    draft.put("sysctls", sysctls or None)
    limits = ulimits(service.get("ulimits") or {})
    check_ulimits(draft.scope, limits, draft.path("ulimits"))
    draft.put("ulimits", limits or None)
    for key, default in (("pid", ""), ("ipc", "private"), ("uts", ""), ("cgroup", ""), ("userns_mode", ""),
                         ("cgroup_parent", "")):  # fmt: skip
        value = service.get(key)
        draft.put(key, value if value and value != default else None)
    _put_limits(draft, service)
    score = service.get("oom_score_adj")
    draft.put("oom_score_adj", int(score) if score else None)
    draft.put("gpus", service.get("gpus") or None)


def capability(text: str) -> str:
    """`cap_net_admin` -> NET_ADMIN."""
    return str(text).upper().removeprefix("CAP_")


def ulimits(written: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """`ulimits:` with soft and hard limit each."""
    return {
        name: {"soft": int(value.get("soft", 0)), "hard": int(value.get("hard", 0))} if isinstance(value, Mapping)
        else {"soft": int(value), "hard": int(value)}
        for name, value in written.items()
    }  # fmt: skip


def _put_security(draft: Draft, options: Any) -> None:
    rest: list[str] = []
    for index, text in enumerate(options):
        below = f"security_opt[{index}]"
        cut = min((at for at in (text.find("="), text.find(":")) if at >= 0), default=len(text))
        name, value = text[:cut], text[cut + 1 :]
        if name == "no-new-privileges":
            if value in ("", "true"):
                draft.put("no_new_privileges", True, below)
        elif name == "seccomp":
            profile = _seccomp(draft, value, below)
            if profile is not None:
                draft.put("seccomp", profile, below)
        else:
            rest.append(f"{name}={value}" if value else name)
    draft.put("security_opt", sorted(rest) or None)


def _seccomp(draft: Draft, value: str, below: str) -> str | None:
    """unconfined, or the profile's text; None stands for the default profile."""
    if value == "unconfined" or value.lstrip().startswith("{"):
        return value
    if value in ("builtin", "default", "runtime/default"):
        return None
    path = project_path(draft.scope.model.directory, value)
    content = draft.scope.inputs.text(path)
    if content is None and not draft.scope.tolerant:
        draft.scope.error("missing-file", "A file does not exist", f"{draft.path(below)} names the seccomp profile "
                          f"{path}", draft.path(below), "correct the path, or write seccomp=unconfined")  # fmt: skip
    return content


def _put_limits(draft: Draft, service: Mapping[str, Any]) -> None:
    resources: Mapping[str, Any] = (service.get("deploy") or {}).get("resources") or {}
    limits: Mapping[str, Any] = resources.get("limits") or {}
    reserved: Mapping[str, Any] = resources.get("reservations") or {}
    made: dict[str, Any] = {}

    def put(name: str, convert: Any, value: Any, source: str) -> None:
        """0 means no limit, as in Compose."""
        number = draft.read(convert, value, source)
        if number:
            made[name] = number
            draft.came_from(f"limits.{name}", source)

    def either(name: str, convert: Any, key: str, outer: Mapping[str, Any], inner: str, below: str) -> None:
        if outer.get(inner):
            put(name, convert, outer[inner], f"deploy.resources.{below}.{inner}")
        else:
            put(name, convert, service.get(key), key)

    either("memory", size, "mem_limit", limits, "memory", "limits")
    either("memory_reservation", size, "mem_reservation", reserved, "memory", "reservations")
    either("cpus", float, "cpus", limits, "cpus", "limits")
    either("pids", int, "pids_limit", limits, "pids", "limits")
    put("memory_swap", size, service.get("memswap_limit"), "memswap_limit")
    put("memory_swappiness", int, service.get("mem_swappiness"), "mem_swappiness")
    for key in ("cpu_shares", "cpu_quota", "cpu_period", "cpu_rt_runtime", "cpu_rt_period"):
        put(key, int, service.get(key), key)
    put("cpuset", str, service.get("cpuset"), "cpuset")
    put("blkio", _blkio, service.get("blkio_config"), "blkio_config")
    put("oom_kill_disable", is_true, service.get("oom_kill_disable"), "oom_kill_disable")
    if made:
        draft.spec["limits"] = made
    rest = {key: reserved[key] for key in ("cpus", "devices", "generic_resources") if reserved.get(key)}
    draft.put("reservations", rest or None, "deploy.resources.reservations")


def _blkio(config: Mapping[str, Any]) -> dict[str, Any]:
    """Compose prints the keys of the entries with a capital letter (`Path`)."""
    made: dict[str, Any] = {}
    if config.get("weight"):
        made["weight"] = int(config["weight"])
    for key in ("weight_device", *_BLKIO):
        rows = [{str(name).lower(): value for name, value in row.items()} for row in config.get(key) or ()]
        number = "weight" if key == "weight_device" else "rate"
        if rows:
            made[key] = [{"path": row["path"], number: size(row[number])} for row in rows]
    return made
