"""Every lasting effect of a process, counted, and one of them cut off or made to fail: what fault tests run on.

Nothing imports this unless the environment asks: ENVKIT_FAULTS=FILE gets one record of WIDTH bytes per effect, its
number being its place in the file, so that threads and forked children share one count. ENVKIT_FAULT_AT=N with
ENVKIT_FAULT=KILL (as a power cut would) or an error's name (ENOSPC, EIO …) lets the fault happen instead of the N-th.

What Python does to the file system and to processes is seen by an audit hook (PEP 578), what goes to the kernel past
it by host.steps.
"""

from __future__ import annotations

import errno
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WIDTH = 120
_EVENTS = frozenset((
    "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.killpg", "os.link", "os.mkdir", "os.posix_spawn",
    "os.remove", "os.removexattr", "os.rename", "os.rmdir", "os.setxattr", "os.symlink", "os.truncate", "os.utime",
    "subprocess.Popen",
))  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_place = _kind = ""
_number = 0


def begin(place: str, number: int = 0, kind: str = "KILL") -> None:
    """Count from now on, into the file place; number 0 lets nothing happen. Cannot be undone in this process."""
    global _place, _number, _kind
    if not _place:
        sys.addaudithook(_audit)
    _place, _number, _kind = place, number, kind


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITES and isinstance(path, str | bytes) and _counts(os.fsdecode(path)):
            reached("open", os.fsdecode(path))
    elif event in _EVENTS:
        name = str(arguments[0]) if arguments else ""
        if _counts(name):
            reached(event, name)


def _counts(path: str) -> bool:
    return path not in (_place, "/dev/null") and "/__pycache__/" not in path


def reached(name: str, detail: str = "") -> None:
    """The effect called name is about to happen: raises OSError, or ends this process, when it is the one."""
    record = f"{name} {detail}".encode()[: WIDTH - 1].ljust(WIDTH - 1).replace(b"\n", b" ") + b"\n"
    descriptor = os.open(_place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, record)
        number = os.lseek(descriptor, 0, os.SEEK_CUR) // WIDTH
    finally:
        os.close(descriptor)
    if number != _number:
        return
    if _kind == "KILL":
        signal.raise_signal(signal.SIGKILL)  # os.kill would be counted
    code = getattr(errno, _kind)
    raise OSError(code, os.strerror(code), detail or None)

