"""What killed processes left half written: names that end in PID.HEX, of a process that is no more."""

from __future__ import annotations

import os

from envkit.host.files import remove_tree
from envkit.lean import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS = frozenset("0123456789abcdef")


def sweep(directories: Iterable[str]) -> None:
    """Remove such files and directories directly in these directories; an absent one is fine.

    A process that now has the dead one's number keeps them until a later sweep.
    """
    for directory in directories:
        with suppress(FileNotFoundError, NotADirectoryError):
            for name in os.listdir(directory):
                if (pid := _writer(name)) and not os.path.exists(f"/proc/{pid}"):
                    remove_tree(os.path.join(directory, name))


def _writer(name: str) -> str:
    """The process that made `PREFIX.PID.HEX` or `PID.HEX` (host.files, image.store); "" for any other name."""
    first, _, last = name.rpartition(".")
    pid = first.rpartition(".")[2]
    is_ours = pid.isdecimal() and 8 <= len(last) <= 16 and _DIGITS.issuperset(last)
    return pid if is_ours and (first == pid or name.startswith(".")) else ""
