"""Named steps on the way of every lasting effect, so that a test can cut the power at each of them.

Nothing happens unless the environment asks: ENVKIT_STEPS=FILE appends each step's name to FILE;
ENVKIT_FAIL_AT=NAME or NAME:N kills this process (SIGKILL, as a power cut would) at the N-th time NAME is reached.
ENVKIT_FAULTS counts every effect, those without a name included: see host.faults.
"""

from __future__ import annotations

import os

_record = os.environ.get("ENVKIT_STEPS", "")
_fail_name, _, _fail_count = os.environ.get("ENVKIT_FAIL_AT", "").partition(":")
_faults = bool(os.environ.get("ENVKIT_FAULTS"))
_active = bool(_record or _fail_name or _faults)
_seen: dict[str, int] = {}


def step(name: str) -> None:
    """The effect called name is about to happen."""
    if _active:
        _reached(name)


def _reached(name: str) -> None:
    if _faults:
        from envkit.host import faults

        faults.reached(name)
    if _record:
        descriptor = os.open(_record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)
    if name == _fail_name:
        _seen[name] = _seen.get(name, 0) + 1
        if _seen[name] == int(_fail_count or 1):
            os.kill(os.getpid(), 9)


def count(place: str, number: int = 0, kind: str = "KILL") -> None:
    """Count every effect of this process from now on: see host.faults."""
    global _active, _faults  # noqa: PLW0603  (as if the environment had asked from the start)
    from envkit.host import faults

    faults.begin(place, number, kind)
    _active = _faults = True


if _faults:
    count(os.environ["ENVKIT_FAULTS"], int(os.environ.get("ENVKIT_FAULT_AT", "0")),
          os.environ.get("ENVKIT_FAULT", "KILL"))  # fmt: skip
