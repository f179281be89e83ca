"""What happens inside of a container: files, programs, figures. Asked of the engine of the node that runs it."""

from __future__ import annotations

import os

from envkit.backend.base import Usage
from envkit.backend.engine_api import EngineNotFoundError
from envkit.backend.ownership import owner_of
from envkit.backend.swarm import tasks
from envkit.backend.swarm.control import container_of, task_of
from envkit.backend.swarm.observe import by_service
from envkit.errors import EnvkitError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from envkit.address import Address
    from envkit.backend.engine_api import Engine
    from envkit.backend.swarm.cluster import Cluster

_KINDS = {0: "changed", 1: "added", 2: "deleted"}


def copy_from(cluster: Cluster, environment: str, address: Address, path: str) -> Iterator[bytes]:
    """See backend.base.Backend.copy_from."""
    task, identity = task_of(cluster, environment, address)
    engine = cluster.engine_of(str(task["NodeID"]), f"{address} (cp)")
    if _is_hidden(task, path) and (found := _by_tar(engine, identity, path)) is not None:
        yield found
        return
    chunks = engine.stream(f"/containers/{identity}/archive", path=path)
    try:
        first = next(chunks, b"")
    except EngineNotFoundError as error:
        raise NotFoundError("There is no such file", f"{path} in {address}", error.message) from error
    yield first
    yield from chunks


def _is_hidden(task: Mapping[str, Any], path: str) -> bool:
    """Whether a path lies where an engine does not look for its archive: on a tmpfs, as secrets do."""
    spec: Mapping[str, Any] = task["Spec"].get("ContainerSpec") or {}
    places = ["/run/secrets"] * bool(spec.get("Secrets"))
    places += [row["Target"] for row in spec.get("Mounts") or () if row.get("Type") == "tmpfs"]
    names = [str((row.get("File") or {}).get("Name") or "") for row in spec.get("Secrets") or ()]
    files = [os.path.join("/run/secrets", name) for name in names]
    whole = os.path.normpath(path)
    return whole in files or any(whole == place or whole.startswith(f"{place.rstrip('/')}/") for place in places)


def _unpack(engine: Engine, identity: str, path: str, tar: Iterator[bytes], address: Address) -> None:
    """Let the container's own `tar` unpack a stream."""
    made = engine.post(f"/containers/{identity}/exec", {
        "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "User": "0",
        "Cmd": ["tar", "-xf", "-", "-C", path],
    })  # fmt: skip
    said: list[bytes] = []
    with engine.hijack(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}, multiplexed=True) as connection:
        for chunk in tar:
            connection.send(chunk)
        connection.end_input()
        said = [part for _, part in connection]
    if engine.get(f"/exec/{made['Id']}/json").get("ExitCode") != 0:
        why = b"".join(said).decode(errors="replace").strip()
        raise NotFoundError("Files cannot be unpacked in an instance", f"{address}:{path}: {why}", "it needs `tar`")


def _by_tar(engine: Engine, identity: str, path: str) -> bytes | None:
    """What the container's own `tar` says of a path; None where it has none, or there is no such file."""
    directory, _, name = path.rstrip("/").rpartition("/")
    made = engine.post(f"/containers/{identity}/exec", {
        "AttachStdout": True, "AttachStderr": True, "User": "0",
        "Cmd": ["tar", "-cf", "-", "-C", directory or "/", "--", name],
    })  # fmt: skip
    with engine.hijack(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}, multiplexed=True) as connection:
        data = b"".join(part for stream, part in connection if stream == 1)
    return data if engine.get(f"/exec/{made['Id']}/json").get("ExitCode") == 0 else None


def copy_to(cluster: Cluster, environment: str, address: Address, path: str, tar: Iterator[bytes]) -> None:
    """See backend.base.Backend.copy_to."""
    task, identity = task_of(cluster, environment, address)
    engine = cluster.engine_of(str(task["NodeID"]), f"{address} (cp)")
    if _is_hidden(task, path):
        _unpack(engine, identity, path, tar, address)
        return
    try:
        engine.upload(f"/containers/{identity}/archive", tar, path=path)
    except EngineNotFoundError as error:
        raise NotFoundError("There is no such directory", f"{path} in {address}", error.message) from error


def written(cluster: Cluster, environment: str, address: Address) -> list[tuple[str, str]]:
    """See backend.base.Backend.written."""
    engine, identity = container_of(cluster, environment, address, "diff")
    rows = engine.get(f"/containers/{identity}/changes") or ()
    return sorted(((_KINDS[row["Kind"]], row["Path"]) for row in rows), key=lambda item: item[1])


def _running(
    cluster: Cluster, environment: str, services: Sequence[str] = ()
) -> Iterator[tuple[str, Engine | None, str]]:
    """(address, the node's engine or None where it is out of reach, container id) of every running replica."""
    rows = cluster.services(environment)
    every = by_service(cluster, rows)
    for row in rows:
        owner = owner_of(row["Spec"].get("Labels") or {})
        if owner is None or (services and owner.address.name not in services):
            continue
        for number, task in enumerate(tasks.shown(row, every.get(row["ID"], ())), 1):
            identity = ((task.get("Status") or {}).get("ContainerStatus") or {}).get("ContainerID")
            if identity and tasks.state(task) == "running":
                engine = cluster.engines.get(str(task.get("NodeID") or ""))
                yield str(owner.address.replica(number)), engine, str(identity)


def usage(cluster: Cluster, environment: str) -> list[Usage]:
    """See backend.base.Backend.usage: of those replicas whose nodes are within reach."""
    from concurrent.futures import ThreadPoolExecutor

    found = [row for row in _running(cluster, environment) if row[1] is not None]
    if not found:
        return []
    with ThreadPoolExecutor(min(16, len(found))) as pool:
        rows = pool.map(_usage, found)
        return [row for row in rows if row is not None]


def _usage(row: tuple[str, Engine | None, str]) -> Usage | None:
    address, engine, identity = row
    assert engine is not None
    try:
        data = engine.get(f"/containers/{identity}/stats", stream=False)
    except EnvkitError:
        return None  # it has ended meanwhile
    now, before = data.get("cpu_stats") or {}, data.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cores = now.get("online_cpus") or 1
    memory: dict[str, Any] = data.get("memory_stats") or {}
    kinds = memory.get("stats") or {}  # inactive_file: control groups v2, the other: v1
    cached = kinds.get("inactive_file") or kinds.get("total_inactive_file") or 0
    networks = (data.get("networks") or {}).values()
    blocks = (data.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return Usage(
        address, used / passed * cores if passed > 0 else 0.0, max(0, memory.get("usage", 0) - cached),
        _limit(memory.get("limit", 0)), (data.get("pids_stats") or {}).get("current", 0),
        sum(item["rx_bytes"] for item in networks), sum(item["tx_bytes"] for item in networks),
        sum(item["value"] for item in blocks if item["op"].lower() == "read"),
        sum(item["value"] for item in blocks if item["op"].lower() == "write"),
    )  # fmt: skip


def _limit(value: int) -> int:
    """0 for none, which an engine tells as the machine's memory or as a huge number."""
    return 0 if value >= 1 << 50 else value


def processes(cluster: Cluster, environment: str, services: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """See backend.base.Backend.processes."""
    found: dict[str, list[dict[str, str]]] = {}
    for address, engine, identity in _running(cluster, environment, services):
        if engine is None:
            found[address] = []
            continue
        answer = engine.get(f"/containers/{identity}/top", ps_args="-eo uid,pid,ppid,stime,time,args")
        titles = ["UID", "PID", "PPID", "STIME", "TIME", "CMD"]
        found[address] = [dict(zip(titles, row, strict=False)) for row in answer.get("Processes") or ()]
    return found


def sync_to(
    cluster: Cluster, environment: str, address: Address, target: str, removed: Sequence[str], tar: Iterator[bytes]
) -> None:
    """See backend.base.Backend.sync_to."""
    from envkit.backend.base import ExecRequest
    from envkit.backend.swarm.attached import exec_in
    from envkit.backend.syncing import sync_by_commands

    def run(argv: tuple[str, ...]) -> int:
        return exec_in(cluster, environment, ExecRequest(address, argv, stdin=False, user="0"))

    sync_by_commands(
        target, removed, tar, run=run,
        unpack=lambda path, chunks: copy_to(cluster, environment, address, path, chunks),
    )  # fmt: skip
