"""The files that envkit gives an instance, against what it wrote: /etc/hosts, /etc/hostname and /etc/resolv.conf in the
record directory, secrets and configs on the engine's tmpfs. Observing writes nothing.

Whatever writes one of the former keeps the same text beside it (`.hosts`, see hosts.write_in_place). Of the latter,
REC/materials.json has inode, size and time of change, which a writer cannot turn back, and a digest keyed with the
installation's salt. They are read by way of the monitor, which is in the engine namespace: no path leads through what a
container has made.
"""

from __future__ import annotations

import os
import time

from envkit.backend.embedded.record import slurp, spill
from envkit.backend.embedded.status import monitor_pid
from envkit.backend.embedded.vitals import signature_of
from envkit.lean import json, sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from envkit.backend.embedded.live import Facts
    from envkit.backend.embedded.record import Record

NAMES = ("hosts", "hostname", "resolv.conf")
MATERIALS = "materials.json"
_SHOWN = 5
_SETTLE = 0.02  # seconds: somebody may just be writing
_DAC_OVERRIDE = 1 << 1


def compare(facts: Facts, record: Record, made: Mapping[str, Any] | None) -> None:
    """Say what differs: `etc.hosts` …, `mounted[TARGET].content`, `.mode`, `.owner`. made: the vitals.

    What the container may write itself is its own affair: name files in a root that is not read-only, by root.
    """
    if made is None:
        return
    mighty = made["uid"] == 0 or (made["capabilities"] & _DAC_OVERRIDE and not made["no_new_privileges"])
    if record.spec.get("read_only") or not mighty:
        for name in NAMES:
            replaced = f"mounted[/etc/{name}]"
            if replaced not in facts.expected and f"{replaced}.source" not in facts.expected:
                _name(facts, record, name)
    if (kept := slurp(record.path(MATERIALS))) and (monitor := monitor_pid(record)):
        for row in json.loads(kept):
            _material(facts, record, row, f"/proc/{monitor}/root{row['path']}")


def _name(facts: Facts, record: Record, name: str) -> None:
    wanted, now = slurp(record.path(f".{name}")), slurp(record.path(name))
    if wanted is None or now is None or wanted == now:
        return
    time.sleep(_SETTLE)
    wanted, now = slurp(record.path(f".{name}")), slurp(record.path(name))
    if wanted is None or now is None or wanted == now:
        return
    before, after = (text.decode(errors="replace").splitlines() for text in (wanted, now))
    gone, added = _without(before, after), _without(after, before)
    facts.differ(f"etc.{name}", gone or "as written", added or ("other order" if not gone else "lines missing"))


def _without(lines: Sequence[str], others: Iterable[str]) -> list[str]:
    known = set(others)
    found = [line for line in lines if line not in known]
    return [*found[:_SHOWN], "…"] if len(found) > _SHOWN else found


def _material(facts: Facts, record: Record, row: Mapping[str, Any], path: str) -> None:
    try:
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return  # the mount table tells that it is gone, the monitor's pid that it has ended
    if signature_of(info) == row["signature"]:
        return
    place = f"mounted[{row['target']}]"
    if _digest(record, slurp(path) or b"") != row["digest"]:
        facts.differ(f"{place}.content", "as written", "changed")
    for key, before, now in (
        ("mode", row["mode"], f"{info.st_mode & 0o7777:04o}"), ("owner", row["owner"], f"{info.st_uid}:{info.st_gid}"),
    ):  # fmt: skip
        if before != now:
            facts.differ(f"{place}.{key}", before, now)


def keep_materials(record: Record, files: Iterable[tuple[str, str]]) -> None:
    """Remember (target, path) of every file that was just written for the instance."""
    rows = []
    for target, path in files:
        info = os.stat(path)
        rows.append({
            "target": target, "path": path, "signature": signature_of(info),
            "digest": _digest(record, slurp(path) or b""), "mode": f"{info.st_mode & 0o7777:04o}",
            "owner": f"{info.st_uid}:{info.st_gid}",
        })  # fmt: skip
    spill(record.path(MATERIALS), json.dumps(rows, separators=(",", ":")).encode())


def mend(record: Record, paths: Iterable[str]) -> None:
    """Give the name files of these paths (`etc.hosts` …) their content again."""
    from envkit.backend.embedded.hosts import write_in_place

    for name in NAMES:
        if f"etc.{name}" in paths and (text := slurp(record.path(f".{name}"))) is not None:
            write_in_place(record.path(name), text.decode(errors="surrogateescape"))


def _digest(record: Record, content: bytes) -> str:
    salt = slurp(record.home.salt) or b""
    return sha256(salt + record.id.encode() + content).hexdigest()
