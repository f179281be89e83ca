"""Rows with the field names of Docker and Compose, for `--format json` and templates."""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envkit.observed.state import Health, Instance, InstanceState
from envkit.views.table import bytes_text

if TYPE_CHECKING:
    from envkit.backend.base import Usage, VolumeInfo

PS = ("Name", "Image", "Command", "Service", "CreatedAt", "Status", "Ports")
STATS = ("Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
IMAGES = ("ContainerName", "Repository", "Tag", "Platform", "ID")
LS = ("Name", "Status")
VOLUMES = ("Driver", "Name")
_PORT = re.compile(r"(?:(?P<host>.*):)?(?P<published>\d+)->(?P<target>\d+)/(?P<protocol>\w+)")


def ps_row(row: Instance, project: str) -> dict[str, Any]:
    """One container as `docker compose ps --format json` describes it."""
    labels = ",".join(f"{key}={value}" for key, value in row.labels.items())
    return {
        "Command": row.command, "CreatedAt": row.created_at, "ExitCode": row.exit_code or 0, "Health": str(row.health),
        "ID": row.id, "Image": row.image, "Labels": labels, "LocalVolumes": "0", "Mounts": "", "Name": row.name,
        "Names": row.name, "Networks": ",".join(row.networks), "Ports": ", ".join(row.ports), "Project": project,
        "Publishers": [_publisher(text) for text in row.ports], "RunningFor": _ago(row.created_at),
        "Service": row.service, "Size": "0B", "State": str(row.state), "Status": status(row),
    }  # fmt: skip


def status(row: Instance) -> str:
    """`Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago`."""
    match row.state:
        case InstanceState.RUNNING:
            health = "" if row.health is Health.NONE else f" ({_health(row.health)})"
            return f"Up {span(_age(row.started_at))}{health}"
        case InstanceState.PAUSED:
            return f"Up {span(_age(row.started_at))} (Paused)"
        case InstanceState.EXITED:
            return f"Exited ({row.exit_code if row.exit_code is not None else '?'}){_suffix(row.finished_at)}"
        case InstanceState.RESTARTING:
            return f"Restarting ({row.exit_code or 0}){_suffix(row.finished_at)}"
        case _:
            return "Created"


def stats_row(row: Usage) -> dict[str, Any]:
    """One container as `docker stats --format json` describes it."""
    share = f"{row.memory / row.memory_limit * 100:.2f}%" if row.memory_limit else "0.00%"
    name = row.address.removeprefix("service.")
    return {
        "BlockIO": f"{bytes_text(row.block_read)} / {bytes_text(row.block_write)}", "CPUPerc": f"{row.cpu * 100:.2f}%",
        "Container": name, "ID": name, "MemPerc": share,
        "MemUsage": f"{bytes_text(row.memory)} / {bytes_text(row.memory_limit) if row.memory_limit else '-'}",
        "Name": name, "NetIO": f"{bytes_text(row.net_rx)} / {bytes_text(row.net_tx)}", "PIDs": str(row.pids),
    }  # fmt: skip


def ls_row(name: str, rows: Sequence[Instance]) -> dict[str, Any]:
    """One project as `docker compose ls --format json` describes it."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(row.state)] = counts.get(str(row.state), 0) + 1
    return {"Name": name, "Status": ", ".join(f"{state}({counts[state]})" for state in sorted(counts))}


def volume_row(row: VolumeInfo) -> dict[str, Any]:
    """One volume as `docker volume ls --format json` describes it."""
    return {
        "Availability": "N/A", "Driver": row.driver, "Group": "N/A", "Labels": "", "Links": "N/A",
        "Mountpoint": row.path, "Name": row.name, "Scope": "local", "Size": "N/A", "Status": "N/A",
    }  # fmt: skip


def images_row(row: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """One service's image as `docker compose images --format json` describes it. row: service, image and digest."""
    repository, colon, tag = str(row["image"]).rpartition(":")
    if not colon or "/" in tag:
        repository, tag = str(row["image"]), "latest"
    platform = f"{config.get('os', 'linux')}/{config.get('architecture', '')}"
    return {
        "ID": str(row["digest"]), "ContainerName": row["service"], "Repository": repository, "Tag": tag,
        "Platform": platform, "Created": config.get("created", ""),
    }  # fmt: skip


def span(seconds: float) -> str:
    """A length of time in Docker's words."""
    if seconds < 1:
        return "Less than a second"
    for unit, size, limit in (("second", 1, 60), ("minute", 60, 3600), ("hour", 3600, 172800), ("day", 86400, 1209600),
                              ("week", 604800, 5184000), ("month", 2592000, 63072000)):  # fmt: skip
        if seconds < limit:
            number = int(seconds / size)
            if number == 1 and unit in ("minute", "hour"):
                return "About a minute" if unit == "minute" else "About an hour"
            return f"{number} {unit}{'s' * (number != 1)}"
    return f"{int(seconds / 31536000)} years"


def _health(health: Health) -> str:
    return "health: starting" if health is Health.STARTING else str(health)


def _age(moment: str) -> float:
    try:
        return max(0.0, time.time() - timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return 0.0


def _ago(moment: str) -> str:
    return f"{span(_age(moment))} ago" if moment else ""


def _suffix(moment: str) -> str:
    return f" {_ago(moment)}" if moment else ""


def _publisher(text: str) -> dict[str, Any]:
    match = _PORT.fullmatch(text)
    if match is None:
        return {"URL": "", "TargetPort": 0, "PublishedPort": 0, "Protocol": text}
    return {
        "URL": match["host"] or "", "TargetPort": int(match["target"]), "PublishedPort": int(match["published"]),
        "Protocol": match["protocol"],
    }  # fmt: skip
