"""The mode of a tmpfs, where the runtime does not keep it.

runc gives a tmpfs the mode of the directory below it, whatever its options say (rootfs_linux.go of 1.0 and 1.1), where
crun and Docker's newer runc take the option.
"""

from __future__ import annotations

import json
import os

from envkit.backend.embedded.record import Record, slurp
from envkit.host.beneath import open_beneath


def settle(record: Record, pid: int) -> None:
    """Set the modes that a created container's tmpfs mounts ask for; pid: its init, which waits to be started."""
    for mount in json.loads(slurp(record.path("config.json")) or b"{}").get("mounts", ()):
        mode = next((item.partition("=")[2] for item in mount["options"] if item.startswith("mode=")), "")
        if mount["type"] != "tmpfs" or not mode or "ro" in mount["options"]:
            continue
        descriptor = open_beneath(f"/proc/{pid}/root", mount["destination"], os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchmod(descriptor, int(mode, 8))
        finally:
            os.close(descriptor)
