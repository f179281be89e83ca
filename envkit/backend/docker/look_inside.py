"""Statistics, processes, events, volumes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from envkit.backend import ownership
from envkit.backend.base import Usage, VolumeInfo
from envkit.backend.docker import look, names
from envkit.backend.engine_api import Engine, EngineNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = ("UID", "PID", "PPID", "STIME", "TIME", "CMD")
_WIDTH = 16


def _alive(engine: Engine, environment: str) -> list[Mapping[str, Any]]:
    return [item for item in look.containers(engine, environment) if item["State"].get("Running")]


def _called(item: Mapping[str, Any]) -> str:
    """The address; a one-off has none and is known by its container's name."""
    return str(look.address_of(item) or names.own_name(item))


def usage(engine: Engine, environment: str) -> list[Usage]:
    """One row per running instance; the engine needs a second for a rate."""

    def one(item: Mapping[str, Any]) -> Usage | None:
        try:
            return _usage(_called(item), engine.get(f"/containers/{item['Id']}/stats", stream=False))
        except EngineNotFoundError:
            return None

    from concurrent.futures import ThreadPoolExecutor

    items = _alive(engine, environment)
    with ThreadPoolExecutor(_WIDTH, "envkit") as pool:
        return sorted((row for row in pool.map(one, items) if row is not None), key=lambda row: row.address)


def _usage(address: str, found: Mapping[str, Any]) -> Usage:
    now, before = found.get("cpu_stats") or {}, found.get("precpu_stats") or {}
    spent = _total(now) - _total(before)
    passed = int(now.get("system_cpu_usage") or 0) - int(before.get("system_cpu_usage") or 0)
    cpus = int(now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ()) or 1)
    memory: Mapping[str, Any] = found.get("memory_stats") or {}
    details: Mapping[str, Any] = memory.get("stats") or {}
    cached = int(details.get("total_inactive_file") or details.get("inactive_file") or 0)
    limit = int(memory.get("limit") or 0)
    networks = (found.get("networks") or {}).values()
    blocks = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return Usage(
        address, max(0.0, spent / passed * cpus) if passed > 0 else 0.0, max(0, int(memory.get("usage") or 0) - cached),
        limit, int((found.get("pids_stats") or {}).get("current") or 0), sum(row["rx_bytes"] for row in networks),
        sum(row["tx_bytes"] for row in networks), _bytes(blocks, "read"), _bytes(blocks, "write"),
    )  # fmt: skip


def _total(part: Mapping[str, Any]) -> int:
    return int((part.get("cpu_usage") or {}).get("total_usage") or 0)


def _bytes(rows: Sequence[Mapping[str, Any]], what: str) -> int:
    return sum(int(row["value"]) for row in rows if str(row["op"]).lower() == what)


def processes(engine: Engine, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """See backend.base.Backend.processes."""
    found = {}
    for item in _alive(engine, environment):
        address = look.address_of(item)
        if services and (address is None or address.name not in services):
            continue
        table = engine.get(f"/containers/{item['Id']}/top", ps_args="-ef")
        titles = [_title(text) for text in table["Titles"]]
        rows = [dict(zip(titles, row, strict=False)) for row in table["Processes"] or ()]
        found[_called(item)] = [{name: str(row.get(name, "")) for name in _COLUMNS} for row in rows]
    return found


def _title(text: str) -> str:
    return {"USER": "UID", "COMMAND": "CMD", "ELAPSED": "STIME"}.get(text, text)


def events(engine: Engine, environment: str, *, since: float | None, follow: bool) -> Iterator[dict[str, str]]:
    """See backend.base.Backend.events: what happened to containers."""
    for row in engine.lines(
        "GET", "/events", timeout=None if follow else 60.0, since=f"{since or 0:.9f}",
        until=None if follow else f"{time.time():.9f}",
        filters={**names.of_environment(environment), "type": ["container"]},
    ):  # fmt: skip
        actor: Mapping[str, str] = (row.get("Actor") or {}).get("Attributes") or {}
        action, _, detail = str(row.get("Action") or "").partition(": ")
        nanoseconds = int(row.get("timeNano") or 0)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
        if not detail and action in ("die", "kill"):
            detail = actor.get("exitCode") or actor.get("signal") or ""
        yield {
            "time": f"{moment}.{nanoseconds % 1_000_000_000:09d}Z",
            "address": str(look.address_of({"Labels": actor}) or actor.get("name", "")), "event": action,
            "detail": detail,
        }  # fmt: skip


def volumes(engine: Engine, environment: str | None) -> list[VolumeInfo]:
    """See backend.base.Backend.volumes; those of Compose's projects included."""
    label = f"{ownership.COMPOSE}project"
    query = {"filters": {"label": [label if environment is None else f"{label}={environment}"]}}
    listed, found = engine.get_all(("/containers/json", {**query, "all": True}), ("/volumes", query))
    users: dict[str, list[str]] = {}
    for item in listed or ():
        where = f"{look.labels_of(item).get(label)}/{_called(item)}"
        for mount in item.get("Mounts") or ():
            if mount.get("Name"):
                users.setdefault(str(mount["Name"]), []).append(where)
    return [
        VolumeInfo(
            str(row["Name"]), look.labels_of(row).get(f"{ownership.COMPOSE}volume", ""),
            look.labels_of(row).get(label, ""), str(row.get("Mountpoint") or ""), str(row.get("Driver") or ""),
            tuple(sorted(users.get(str(row["Name"]), ()))),
        )
        for row in (found or {}).get("Volumes") or ()
    ]  # fmt: skip
