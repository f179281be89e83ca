"""What a one-off is made of: a service's spec changed by a RunRequest. Pure, but for looking up relative paths."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from envkit.backend.base import RunRequest
from envkit.errors import UsageError

_NOT_ITS_OWN = ("container_name", "replicas", "restart", "healthcheck", "expose", "update", "rollback", "mode",
                "pre_start", "post_start", "pre_stop")  # fmt: skip
_FIXED = ("ipv4_address", "ipv6_address", "mac_address", "link_local_ips")  # somebody else's: the service's instance


def spec_of(service: Mapping[str, Any], request: RunRequest, directory: str) -> dict[str, Any]:
    """The canonical spec of the one-off. directory: the project's, for relative bind sources.

    Raises UsageError for a port or volume that cannot be read.
    """
    spec = {key: value for key, value in service.items() if key not in _NOT_ITS_OWN}
    spec["tty"] = request.tty
    spec["stdin_open"] = request.stdin and not request.detach
    if request.entrypoint is not None:
        spec["entrypoint"] = shlex.split(request.entrypoint)
        spec.pop("command", None)
    if request.argv:
        spec["command"] = list(request.argv)
    for key, value in (("user", request.user), ("working_dir", request.working_dir)):
        if value:
            spec[key] = value
    spec["environment"] = {**(service.get("environment") or {}), **request.environment}
    spec["labels"] = {**(service.get("labels") or {}), **request.labels}
    for key, words in (("cap_add", request.cap_add), ("cap_drop", request.cap_drop)):
        if words:
            names = [word.upper().removeprefix("CAP_") for word in words]
            spec[key] = list(dict.fromkeys([*(service.get(key) or ()), *names]))
    spec["networks"] = {
        key: {name: value for name, value in (attachment or {}).items() if name not in _left_out(request)}
        for key, attachment in (service.get("networks") or {}).items()
    }
    if request.use_aliases:
        spec["use_aliases"] = True  # for `wiring`: a one-off answers to its own name alone otherwise
    spec["ports"] = list(service.get("ports") or ()) if request.service_ports else []
    spec["ports"] += [port for text in request.publish for port in _ports(text)]
    added = [_mount(text, directory) for text in request.volumes]
    targets = {row["target"] for row in added}
    spec["mounts"] = [row for row in service.get("mounts") or () if row["target"] not in targets] + added
    for key in ("networks", "ports", "mounts", "labels", "environment"):
        if not spec[key]:
            del spec[key]
    return spec


def _left_out(request: RunRequest) -> tuple[str, ...]:
    return _FIXED if request.use_aliases else (*_FIXED, "aliases")


def _ports(text: str) -> list[dict[str, Any]]:
    from envkit.config.ports import parse_port

    try:
        rows = parse_port(text)
    except ValueError as error:
        raise UsageError("A port cannot be published", str(error), "write [ADDRESS:][PORT:]PORT[/udp]") from error
    return [
        {"target": int(row["target"]), "published": str(row.get("published") or ""), "protocol": row["protocol"],
         "host_ip": row.get("host_ip") or ""}
        for row in rows
    ]  # fmt: skip


def _mount(text: str, directory: str) -> dict[str, Any]:
    from envkit.config.volumes import parse_volume

    try:
        row = parse_volume(text)
    except ValueError as error:
        raise UsageError("A volume cannot be mounted", str(error), "write [SOURCE:]TARGET[:ro]") from error
    if not row["target"].startswith("/"):
        raise UsageError("A volume cannot be mounted", f"{text!r}: the target is not absolute")
    made = {key: row[key] for key in ("type", "target", "source", "read_only") if row.get(key)}
    if row["type"] == "bind":
        source = os.path.join(directory, os.path.expanduser(row["source"]))  # noqa: PTH111
        made |= {"source": os.path.normpath(source), "create_host_path": True}
    return made
