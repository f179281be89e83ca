"""What a test can forget to clean away: variables, the directory and the mask of this process, its threads; and, below
the directory that the tests work in, processes, mounts, links, nft tables and control groups of the machine."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envkit.host import nft_read

_PATIENCE = 3.0
"""Seconds within which what is on its way out (a killed process, a namespace that the kernel frees) must be gone."""

_OWN = ("PYTEST_CURRENT_TEST",)


@dataclass(frozen=True)
class Snapshot:
    """variables, directory, mask: of this process. machine: kind -> names of all there are on the machine, whosoever
    (mounts: below `base`); empty without a base. What is new is looked at closely, which is seldom anything."""

    variables: Mapping[str, str]
    directory: str
    mask: int
    machine: Mapping[str, frozenset[str]]

    @classmethod
    def take(cls, base: str = "") -> Snapshot:
        mask = os.umask(0o022)
        os.umask(mask)
        variables = {name: value for name, value in os.environ.items() if name not in _OWN}
        return cls(variables, os.getcwd(), mask, _everything(base) if base else {})

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
    while base and (more := _new(before.machine, base)):
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


def _new(before: Mapping[str, frozenset[str]], base: str) -> list[str]:
    found = {kind: names - before.get(kind, frozenset()) for kind, names in _everything(base).items()}
    return [f"{kind}: {', '.join(sorted(names))}" for kind, names in _ours(found, base).items() if names]


def _machine(base: str) -> dict[str, frozenset[str]]:
    """Kind -> names, for everything that belongs to an installation below base."""
    return _ours(_everything(base), base)


def _everything(base: str) -> dict[str, frozenset[str]]:
    return {
        "processes": frozenset(filter(str.isdigit, os.listdir("/proc"))), "mounts": _mounts(base),
        "links": frozenset(os.listdir("/sys/class/net")), "nft tables": frozenset(_tables()),
        "control groups": _all_groups(),
    }  # fmt: skip


def _ours(found: Mapping[str, frozenset[str]], base: str) -> dict[str, frozenset[str]]:
    """What of all this belongs to an installation below base, processes with their words."""
    tags = _tags(base) if any(found[kind] for kind in ("links", "nft tables", "control groups")) else ()
    return {
        "processes": _processes(base, found["processes"]), "mounts": found["mounts"],
        "links": _named(found["links"], tags), "nft tables": _named(found["nft tables"], tags),
        "control groups": _groups_of(found["control groups"], tags),
    }  # fmt: skip


def _tags(base: str) -> tuple[str, ...]:
    """The tags (host.home.Home.tag) of all that may be an installation below base."""
    homes = [base]
    for _ in range(2):
        homes += [entry.path for home in homes for entry in os.scandir(home) if entry.is_dir(follow_symlinks=False)]
    return tuple({hashlib.sha256(home.encode()).hexdigest()[:6] for home in homes})


def _named(names: Iterable[str], tags: tuple[str, ...]) -> frozenset[str]:
    ours = [name for name in names if name.startswith(("ek", "envkit-")) or " envkit-" in name]
    return frozenset(name for name in ours if any(tag in name for tag in tags))


def _tables() -> list[str]:
    return [f"{family} {name}" for family in nft_read.FAMILIES for name in nft_read.tables(family)]


def _mounts(base: str) -> frozenset[str]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return frozenset(target for line in file if (target := line.split()[4]).startswith(f"{base}/"))


def _groups(tags: tuple[str, ...]) -> frozenset[str]:
    return _groups_of(_all_groups(), tags)


def _groups_of(paths: Iterable[str], tags: tuple[str, ...]) -> frozenset[str]:
    return frozenset(path for path in paths if _named([os.path.basename(os.path.dirname(path))], tags))


def _all_groups() -> frozenset[str]:
    """Groups of environments; an installation's own empty group stays, and costs nothing."""
    top = "/sys/fs/cgroup"
    found: set[str] = set()
    for base in (top, *(os.path.join(top, name) for name in _directories(top))):
        for name in _directories(base):
            if name.startswith("envkit-"):
                found |= {os.path.join(base, name, below) for below in _directories(os.path.join(base, name))}
    return frozenset(found)


def _directories(path: str) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _processes(base: str, pids: Iterable[str]) -> frozenset[str]:
    """Those that live and are children of this process, name a path below base or stand in one."""
    found = set()
    me = str(os.getpid())
    for name in pids:
        if name == me:
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
