"""A living process against what its bundle made of it: mounts, privileges, environment, limits. Writes nothing.

What a process may do to itself is no drift: it may drop privileges, exec another program, raise a soft limit. So its
environment is compared only while it is still the program that was started, and privileges only for more than given.
"""

from __future__ import annotations

import os

from envkit.backend.embedded import sealed, vitals
from envkit.backend.embedded.record import slurp
from envkit.host.cgroups import Cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.backend.embedded.record import Record

_SYS_ADMIN, _SETUID = 1 << 21, 1 << 7
_LIMITS = {
    "cpu": b"Max cpu time", "fsize": b"Max file size", "data": b"Max data size", "stack": b"Max stack size",
    "core": b"Max core file size", "rss": b"Max resident set", "nproc": b"Max processes", "nofile": b"Max open files",
    "memlock": b"Max locked memory", "as": b"Max address space", "locks": b"Max file locks",
    "sigpending": b"Max pending signals", "msgqueue": b"Max msgqueue size", "nice": b"Max nice priority",
    "rtprio": b"Max realtime priority", "rttime": b"Max realtime timeout",
}  # fmt: skip
_ENDLESS = (1 << 64) - 1


class Facts:
    """Pairs of expected and actual values by path; only what differs is kept."""

    def __init__(self) -> None:
        self.expected: dict[str, Any] = {}
        self.actual: dict[str, Any] = {}

    def differ(self, path: str, before: Any, now: Any) -> None:
        if before is not None:
            self.expected[path] = before
        if now is not None:
            self.actual[path] = now


def compare(record: Record, pid: int, hostname: str | None) -> Facts:
    """What is not as the last apply left it. hostname: what the process sees, None: not known."""
    facts = Facts()
    made = vitals.read(record)
    if made is None:
        return facts
    if _is_edited(record, made):
        facts.differ("bundle", "as written", "changed")
    if made["hostname"] is not None and hostname not in (None, made["hostname"]):
        facts.differ("process.hostname", made["hostname"], hostname)
    _privileges(facts, made, pid)
    _mounts(facts, record, made, pid)
    _environment(facts, made, pid)
    _ulimits(facts, made, pid)
    if made["oom_score_adj"] is not None:
        now = slurp(f"/proc/{pid}/oom_score_adj")
        if now is not None and int(now) != made["oom_score_adj"]:
            facts.differ("process.oom_score_adj", made["oom_score_adj"], int(now))
    _cgroup(facts, record, pid)
    sealed.compare(facts, record, made)
    return facts


def glance(record: Record, pid: int) -> Facts:
    """What compare() says of mounts and privileges alone, which is what matters most and costs least (two files of
    /proc: 0.2 ms, compared with 0.7 ms for everything)."""
    facts = Facts()
    made = vitals.read(record)
    if made is not None:
        _privileges(facts, made, pid)
        _mounts(facts, record, made, pid)
    return facts


def _is_edited(record: Record, made: Mapping[str, Any]) -> bool:
    """Whether config.json is another one than was written."""
    try:
        if vitals.signature_of(os.stat(record.path("config.json"))) == made.get("signature"):
            return False
    except FileNotFoundError:
        return False
    config = slurp(record.path("config.json"))
    return config is not None and vitals.digest_of(config) != made["digest"]


def _mounts(facts: Facts, record: Record, made: Mapping[str, Any], pid: int) -> None:
    before, after = slurp(record.path(vitals.MOUNTS)), slurp(f"/proc/{pid}/mountinfo")
    if before and after and before != after:
        from envkit.backend.embedded.mounted import compare_mounts, lowers_of

        compare_mounts(facts, before, after, may_mount=bool(made["capabilities"] & _SYS_ADMIN))
        _layers(facts, record, lowers_of(before), lowers_of(after))


def _layers(facts: Facts, record: Record, was: tuple[str, ...], now: tuple[str, ...]) -> None:
    """Whether the root is still made of the image's layers: another start of the container may have had others."""
    if was and now and was != now and "root.source" not in facts.expected:
        from envkit.image.store import Store

        trees = {image.trees[::-1]: image.digest for image in Store(record.home).list()}
        found = [digest for stack, digest in trees.items() if stack and stack == now[: len(stack)]]
        facts.differ("image_digest", record.image_digest, found[0] if found else "other layers")


def _privileges(facts: Facts, made: Mapping[str, Any], pid: int) -> None:
    text = slurp(f"/proc/{pid}/status")
    if not text:
        return
    bound, given = int(_field(text, b"CapBnd"), 16), made["capabilities"]
    effective = int(_field(text, b"CapEff"), 16)
    if (bound | effective) & ~given:
        facts.differ("process.capabilities", vitals.names_of(given), vitals.names_of(bound | effective))
    if made["no_new_privileges"] and _field(text, b"NoNewPrivs") == b"0":
        facts.differ("process.no_new_privileges", True, False)
    if made["seccomp"] and _field(text, b"Seccomp") == b"0":
        facts.differ("process.seccomp", "filter", "none")
    for name, field in (("uid", b"Uid"), ("gid", b"Gid")):
        now = int(_field(text, field).split()[0])  # the real one: a setuid program changes the effective one only
        if made["uid"] and now != made[name]:
            facts.differ(f"process.{name}", made[name], now)


def _field(status: bytes, name: bytes) -> bytes:
    start = status.find(b"\n" + name + b":") + len(name) + 2
    return status[start : status.find(b"\n", start)].strip()


def _environment(facts: Facts, made: Mapping[str, Any], pid: int) -> None:
    command = slurp(f"/proc/{pid}/cmdline")
    if not command or command[:-1].split(b"\0") != [word.encode() for word in made["command"]]:
        return
    text = (slurp(f"/proc/{pid}/environ") or b"").rstrip(b"\0")
    if not text or text == "\0".join(made["environment"]).encode():
        return
    before = dict(item.partition("=")[::2] for item in made["environment"])
    rows = (item.decode(errors="replace").partition("=") for item in text.split(b"\0"))
    now = {name: value for name, _, value in rows}
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            facts.differ(f"process.environment.{name}", before.get(name), now.get(name))


def _ulimits(facts: Facts, made: Mapping[str, Any], pid: int) -> None:
    if not made["ulimits"]:
        return
    text = slurp(f"/proc/{pid}/limits") or b""
    for name, (_, hard) in made["ulimits"].items():
        start = text.find(_LIMITS.get(name, b"\n\n") + b"  ")
        if start < 0:
            continue
        words = text[start + 26 : text.find(b"\n", start)].split()
        now = _ENDLESS if words[1] == b"unlimited" else int(words[1])
        if now > hard or (now != hard and name in made["declared"]):
            facts.differ(f"process.ulimits.{name}", _shown(hard), _shown(now))


def _shown(limit: int) -> int | str:
    return "unlimited" if limit == _ENDLESS else limit


def _cgroup(facts: Facts, record: Record, pid: int) -> None:
    """On version 1 the process is in one group per hierarchy; the unified one of a hybrid host (`0::`) is not used."""
    rows = (slurp(f"/proc/{pid}/cgroup") or b"").splitlines() if record.cgroup else []
    first = [row for row in rows if not row.startswith(b"0::")] or rows
    wanted = Cgroups.of(record.home).location(record.cgroup)
    for row in first:
        _, controllers, path = row.decode().split(":", 2)
        if path != wanted and not path.startswith(wanted + "/"):
            facts.differ("process.cgroup", wanted, f"{path} ({controllers})" if controllers else path)
            return
