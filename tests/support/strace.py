"""Faults in system calls, by strace: the N-th call of a family is answered by SIGKILL or by an error.

strace counts for each process by itself, so whoever makes N calls meets the fault: envkit and its forked
children; programs that it starts are let go (`-b execve`), or strace would wait for containers. Source: strace(1).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

from tests.support.faults import Bench

FAMILIES = {
    "write": "write,pwrite64,writev",
    "open": "openat,openat2",
    "sync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2",
    "mkdir": "mkdir,mkdirat",
    "unlink": "unlink,unlinkat,rmdir",
    "mount": "mount,move_mount,fsmount,fsconfig,open_tree,mount_setattr,umount2",
    "send": "sendto,sendmsg",
    "spawn": "clone,clone3,vfork,execve",
    "namespace": "unshare,setns",
}
_CALL = re.compile(r"^(\d+) +(\w+)\(")


def run(bench: Bench, options: tuple[str, ...], *words: str) -> tuple[int, str]:
    """(exit code, what was said) of envkit under strace."""
    done = subprocess.run(
        ["strace", "-f", "-b", "execve", "-qqq", *options, sys.executable, "-m", "envkit.cli.main", *words],
        cwd=bench.project.directory, env=bench.project.environ({"ROUND": str(bench.round)}), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def counted(bench: Bench, family: str, *words: str) -> tuple[int, int]:
    """(first, last): the calls of the family that the command itself makes, without those before it first touches the
    installation (an interpreter that cannot read its own modules is not envkit), the first and the last by number."""
    path = os.path.join(bench.base, "trace")
    code, output = run(bench, ("-e", f"trace={FAMILIES[family]}", "-o", path), *words)
    assert code == 0, output
    counts, first, main = Counter[str](), 0, ""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if (found := _CALL.match(line)) is None:
                continue
            main = main or found[1]
            counts[found[1]] += 1
            if not first and found[1] == main and (bench.home in line or family != "open"):
                first = counts[main]
    os.unlink(path)
    return max(1, first), max(counts.values(), default=0)


def fault(bench: Bench, family: str, number: int, what: str, *words: str) -> tuple[int, str]:
    """Run a command with a fault at the number-th call of a family. what: `signal=KILL` or `error=ENOSPC`."""
    calls = FAMILIES[family]
    options = ("-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={number}")
    return run(bench, options, *words)
