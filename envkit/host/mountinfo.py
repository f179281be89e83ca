"""The mount table. Source: proc(5), /proc/PID/mountinfo."""

from __future__ import annotations

import os

from envkit.errors import HostError
from envkit.lean import pattern
from envkit.values import value

_ESCAPE = pattern(r"\\([0-7]{3})")


@value
class Mount:
    """One line of mountinfo. root: the part of the file system that is mounted; propagation: the optional fields."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: str
    propagation: tuple[str, ...]
    filesystem: str
    source: str
    super_options: str


def is_mount(path: str) -> bool:
    """Whether something is mounted exactly at path (bind mounts of one file system included)."""
    target = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return any(entry.target == target for entry in mount_table())


def mount_table(pid: int | str = "self") -> list[Mount]:
    """The mounts that process sees, in the order of mounting. Raises HostError when they cannot be read."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise HostError(f"the mounts of process {pid} cannot be read", reason(error)) from error
    return [_parse(line) for line in lines]


def _parse(line: str) -> Mount:
    first, _, last = line.partition(" - ")
    number, parent, device, root, target, options, *propagation = first.split(" ")
    filesystem, source, super_options = [*last.split(" "), "", ""][:3]
    return Mount(
        int(number), int(parent), device, _plain(root), _plain(target), options, tuple(propagation), filesystem,
        _plain(source), super_options,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Undo mountinfo's octal escapes (space, tab, newline, backslash)."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text


def reason(error: OSError) -> str:
    """What an OSError says, with its path."""
    return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
