"""What a bundle makes of a process, in short: REC/vitals.json, against which the living one is compared.

It is written beside config.json and says the same again, so that a config.json changed by another hand is seen, too.
REC/mounts is the mount table as the runtime left it (kept by `instance.create`).
"""

from __future__ import annotations

import os

from envkit.backend.embedded.capabilities import ALL
from envkit.backend.embedded.record import slurp, spill
from envkit.lean import json, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from envkit.backend.embedded.record import Record

FILE, MOUNTS = "vitals.json", "mounts"


def digest_of(config: bytes) -> str:
    """The digest of a config.json."""
    return sha256(config).hexdigest()


def signature_of(info: os.stat_result) -> list[int]:
    """What of a file changes whenever somebody writes it, and cannot be turned back (inode(7), ctime)."""
    return [info.st_ino, info.st_size, info.st_ctime_ns]


def mask_of(names: Iterable[str]) -> int:
    """`CAP_…` names as the kernel's bit mask."""
    wanted = {name.removeprefix("CAP_") for name in names}
    return sum(1 << bit for bit, name in enumerate(ALL) if name in wanted)


def names_of(mask: int) -> list[str]:
    """A bit mask as names without `CAP_`."""
    return [name for bit, name in enumerate(ALL) if mask >> bit & 1]


def vitals(config: Mapping[str, Any], data: bytes, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a bundle that a foreign hand can change. config: config.json, data: its bytes."""
    from envkit.backend.embedded.seccomp import ANNOTATION

    process = config["process"]
    return {
        "digest": digest_of(data), "command": process["args"], "environment": process["env"],
        "uid": process["user"]["uid"], "gid": process["user"]["gid"],
        "capabilities": mask_of(process["capabilities"]["bounding"]),
        "no_new_privileges": process["noNewPrivileges"],
        "seccomp": ANNOTATION in config["annotations"] or "seccomp" in config["linux"],
        "ulimits": {row["type"][7:].lower(): [row["soft"], row["hard"]] for row in process.get("rlimits") or ()},
        "declared": sorted(spec.get("ulimits") or ()), "oom_score_adj": process.get("oomScoreAdj"),
        "hostname": config.get("hostname"), "read_only": bool(config["root"].get("readonly")),
    }  # fmt: skip


def write(record: Record, config: Mapping[str, Any], data: bytes) -> None:
    """Keep the vitals of a bundle that is being written."""
    made = {**vitals(config, data, record.spec), "signature": signature_of(os.stat(record.path("config.json")))}
    spill(record.path(FILE), json.dumps(made, separators=(",", ":")).encode())


def read(record: Record) -> dict[str, Any] | None:
    """The vitals; None when there are none (an instance of an earlier version)."""
    try:
        value = json.loads(slurp(record.path(FILE)) or b"null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def keep_mounts(record: Record, pid: int) -> None:
    """Remember the mount table of a container that has just been created."""
    spill(record.path(MOUNTS), slurp(f"/proc/{pid}/mountinfo") or b"")
