"""Log rotation without a lost line: rename, then ask conmon for a new file (FACTS of conmon 2.1: `2 0 0` to its fifo).

conmon's own --log-size-max truncates, so it is never used. Between the rename and conmon's answer the lines go to
`log.1`; readers know that (logfile).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Any

from envkit.backend.embedded.logfile import numbered

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# Docker's `local` driver, and the copy it keeps for `logs` beside any remote one; its json-file has no bound.
_LOCAL_SIZE, _LOCAL_FILES = 20 << 20, 5


def limits_of(logging: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """(bytes of a file, number of files) from a service's `logging`; None when its log may grow for ever.

    `max-size` and `max-file` as in Docker: units are binary, max-file counts the live file.
    """
    if not logging:
        return None
    options = logging.get("options") or {}
    local = logging.get("driver") not in (None, "", "json-file")
    size = size_of(options["max-size"]) if options.get("max-size") else (_LOCAL_SIZE if local else 0)
    if size <= 0:
        return None
    return size, max(1, int(options.get("max-file") or (_LOCAL_FILES if local else 1)))


def size_of(text: Any) -> int:
    """Bytes of "10m", "1.5g", 4096; 0 (no bound) for "-1" and for what is no size."""
    match = _SIZE.fullmatch(str(text).strip())
    return int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0


def rotate(directory: str, files: int) -> bool:
    """Begin a new log file and keep at most `files` of them; False when no conmon is there to take part."""
    control = _open_control(directory)
    if control is None:
        return False
    try:
        for number in reversed(numbered(directory)):
            if number >= max(files - 1, 1):
                _unlink(f"{directory}/log.{number}")
            else:
                os.rename(f"{directory}/log.{number}", f"{directory}/log.{number + 1}")
        os.rename(f"{directory}/log", f"{directory}/log.1")
        os.write(control, b"2 0 0\n")
    finally:
        os.close(control)
    return True


def settle(directory: str, files: int) -> bool:
    """Drop what is too old once the new file is there; False while conmon has not made it yet."""
    if not os.path.exists(f"{directory}/log"):
        return False
    for number in numbered(directory):
        if number >= files:
            _unlink(f"{directory}/log.{number}")
    return True


def ask_again(directory: str) -> None:
    """Repeat a request that was lost because its sender died between the rename and the request.

    Never while the first may still be on its way: conmon would make the new file twice, and what it has written to it
    in between (a read of 8 KiB was seen) would be gone.
    """
    if (control := _open_control(directory)) is not None:
        try:
            os.write(control, b"2 0 0\n")
        finally:
            os.close(control)


def _open_control(directory: str) -> int | None:
    """conmon's fifo; O_NONBLOCK, because a dead conmon would block the opener for ever."""
    try:
        return os.open(f"{directory}/ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
