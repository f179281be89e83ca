"""Host names of other processes' UTS namespaces (uts_namespaces(7)). No file tells them, so they have to be visited.

setns(2) is called through the C half of ctypes: the whole of it costs as much as all else that a plan does.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CLONE_NEWUTS = 0x04000000


def hostnames(pids: Iterable[int]) -> dict[int, str]:
    """The host name that each process sees; one that has ended, or may not be visited, is left out.

    Only the calling thread is ever elsewhere, and it comes back.
    """
    import _ctypes

    setns = _ctypes.dlsym(_ctypes.dlopen("libc.so.6", 0), "setns")
    flags = os.O_RDONLY | os.O_CLOEXEC
    found: dict[int, str] = {}
    home = os.open("/proc/thread-self/ns/uts", flags)
    try:
        for pid in pids:
            try:
                descriptor = os.open(f"/proc/{pid}/ns/uts", flags)
            except OSError:
                continue
            if _ctypes.call_function(setns, (descriptor, _CLONE_NEWUTS)) == 0:
                found[pid] = os.uname().nodename
            os.close(descriptor)
    finally:
        _ctypes.call_function(setns, (home, _CLONE_NEWUTS))
        os.close(home)
    return found
