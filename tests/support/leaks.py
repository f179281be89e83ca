"""What a test can forget to clean away: variables, the directory and the mask of this process, its threads; and, below
the directory that the tests work in, processes, mounts, links, nft tables and control groups of the machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

_PATIENCE = 3.0
"""Seconds within which what is on its way out (a killed process, a namespace that the kernel frees) must be gone."""

_OWN = ("PYTEST_CURRENT_TEST",)


@dataclass(frozen=True)
class Snapshot:
    """variables, directory, mask: of this process. machine: kind -> names, for everything that belongs to an
    installation below `base`; empty without one."""

    variables: Mapping[str, str]
    directory: str
    mask: int
    machine: Mapping[str, frozenset[str]]

    @classmethod
    def take(cls, base: str = "") -> Snapshot:
        mask = os.umask(0o022)
        os.umask(mask)
        variables = {name: value for name, value in os.environ.items() if name not in _OWN}
        return cls(variables, os.getcwd(), mask, _machine(base) if base else {})

    def restore(self) -> None:
        """Put the process back, so that the next test is not blamed."""
        for name in set(os.environ) - set(self.variables) - set(_OWN):
            del os.environ[name]
        os.environ.update(self.variables)
        os.chdir(self.directory)
        os.umask(self.mask)


def leaks(before: Snapshot, base: str = "") -> str:
    """What is there now and was not before, as lines of text; "" for nothing."""
    deadline = time.monotonic() + _PATIENCE
    found = _process(before)
    while base and (more := _new(before.machine, _machine(base))):
        if time.monotonic() > deadline:
            found += more
            break
        time.sleep(0.05)
    while threads := [item.name for item in threading.enumerate() if _counts(item)]:
        if time.monotonic() > deadline:
            found.append(f"threads: {', '.join(threads)}")
            break
        time.sleep(0.01)
    return "\n".join(f"  {line}" for line in found)


def _counts(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread() and not thread.daemon


def _process(before: Snapshot) -> list[str]:
    now = Snapshot.take()
    names = sorted(
        name for name in before.variables.keys() | now.variables.keys()
        if before.variables.get(name) != now.variables.get(name)
    )  # fmt: skip
    found = [f"environment variables: {', '.join(names)}"] if names else []
    if now.directory != before.directory:
        found.append(f"the current directory: {now.directory}")
    if now.mask != before.mask:
        found.append(f"the umask: {now.mask:03o}")
    return found


def _new(before: Mapping[str, frozenset[str]], now: Mapping[str, frozenset[str]]) -> list[str]:
    found = {kind: sorted(names - before.get(kind, frozenset())) for kind, names in now.items()}
    return [f"{kind}: {', '.join(names)}" for kind, names in found.items() if names]


def _machine(base: str) -> dict[str, frozenset[str]]:
    tags = _tags(base)
    return {
        "processes": _processes(base), "mounts": _mounts(base), "links": _named(os.listdir("/sys/class/net"), tags),
        "nft tables": _named(_tables(), tags), "control groups": _groups(tags),
    }  # fmt: skip


def _tags(base: str) -> tuple[str, ...]:
    """The tags (host.home.Home.tag) of all that may be an installation below base."""
    homes = [base]
    for _ in range(2):
        homes += [entry.path for home in homes for entry in os.scandir(home) if entry.is_dir(follow_symlinks=False)]
    return tuple({hashlib.sha256(home.encode()).hexdigest()[:6] for home in homes})


def _named(names: list[str], tags: tuple[str, ...]) -> frozenset[str]:
    ours = [name for name in names if name.startswith(("ek", "envkit-")) or " envkit-" in name]
    return frozenset(name for name in ours if any(tag in name for tag in tags))


def _tables() -> list[str]:
    done = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, text=True, timeout=20, check=True)
    rows = [item["table"] for item in json.loads(done.stdout)["nftables"] if "table" in item]
    return [f"{row['family']} {row['name']}" for row in rows]


def _mounts(base: str) -> frozenset[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return frozenset(target for line in file if (target := line.split()[4]).startswith(f"{base}/"))


def _groups(tags: tuple[str, ...]) -> frozenset[str]:
    """Groups of environments; an installation's own empty group stays, and costs nothing."""
    top = "/sys/fs/cgroup"
    found: set[str] = set()
    for hierarchy in ("", *os.listdir(top)):
        base = os.path.join(top, hierarchy)
        if os.path.isdir(base):
            for name in _named(os.listdir(base), tags):
                found |= {os.path.join(base, name, below) for below in _directories(os.path.join(base, name))}
    return frozenset(found)


def _directories(path: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _processes(base: str) -> frozenset[str]:
    """Living children of this process, and all that name a path below base or stand in one."""
    found = set()
    me = str(os.getpid())
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == me:
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            place = os.readlink(f"/proc/{name}/cwd") if state != "Z" else ""
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if state != "Z" and (parent == me or f"{base}/" in f"{words} {place}/"):
            found.add(f"{name} ({words[:160]})")
    return frozenset(found)
