"""What a reboot does to an installation, done to one installation alone: its processes, mounts, links, rules and
control groups go, with everything below run/; its files stay."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import time

from envkit.host import proc
from envkit.host.home import Home
from tests.support.leaks import _groups, _named, _tables


def reboot(root: str) -> None:
    """Only processes are ended that the installation itself has written down, or that are in its control groups."""
    home = Home(root)
    proc.kill_and_wait(_supervisors(home), 5)
    proc.kill_and_wait(_pids(home, "conmon.pid", "conmon"), 5)
    proc.kill_and_wait(_members(home), 5)
    for place in (f"{home.run}/ns/mnt", f"{home.run}/ns"):
        while subprocess.run(["umount", "-l", place], capture_output=True, check=False, timeout=20).returncode == 0:
            continue
    shutil.rmtree(home.run, ignore_errors=True)
    for name in _named(os.listdir("/sys/class/net"), (home.tag,)):
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False, timeout=20)
    for name in _named(_tables(), (home.tag,)):
        subprocess.run(["nft", "delete", "table", *name.split()], check=True, timeout=20)
    deadline = time.monotonic() + 5
    while (groups := _groups((home.tag,))) and time.monotonic() < deadline:
        for top in groups:
            for place, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(place)
                except OSError:
                    time.sleep(0.02)


def _supervisors(home: Home) -> list[int]:
    """Those that run or wait for a lock: they name the supervisor's module and, as a word, this installation."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = _words(int(name))
        if home.root.encode() in words and any(b"envkit.backend.embedded.supervisor" in word for word in words):
            found.append(int(name))
    return found


def _pids(home: Home, name: str, program: str) -> list[int]:
    """Processes of pid files in the record directories, if they are that program and name this installation."""
    found = []
    for path in glob.glob(f"{home.environments}/*/instances/*/{name}"):
        with open(path, encoding="ascii") as file:
            text = file.read().strip()
        words = _words(int(text)) if text.isdigit() else []
        if words and words[0].endswith(program.encode()) and any(word.startswith(home.root.encode()) for word in words):
            found.append(int(text))
    return found


def _members(home: Home) -> list[int]:
    """The processes in the installation's control groups."""
    found = set()
    for top in _groups((home.tag,)):
        for path in glob.glob(f"{top}/**/cgroup.procs", recursive=True):
            with open(path, encoding="ascii") as file:
                found |= set(map(int, file.read().split()))
    return sorted(found - {os.getpid()})


def _words(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        reboot(argument)
