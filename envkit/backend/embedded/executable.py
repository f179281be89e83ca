"""Whether a container's command exists, looked up before it is started.

The runtime says so itself, unless an init program (`init: true`) stands between: that one starts in any case, fails to
run its child and ends, again and again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from envkit.backend.embedded.process import INIT
from envkit.errors import NotFoundError
from envkit.host.beneath import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check(root: str, config: Mapping[str, Any]) -> None:
    """root: the container's, mounted; config: its config.json. Raises NotFoundError when the program that the init is
    to run is surely not there; what mounts and symlinks may bring counts as there."""
    process = config["process"]
    words: Sequence[str] = process["args"]
    if words[0] != INIT:
        return
    program = words[2]
    path = next((item[5:] for item in process.get("env") or () if item.startswith("PATH=")), _DEFAULT_PATH)
    where = [process["cwd"]] if "/" in program else path.split(":")
    targets = [str(mount["destination"]) for mount in config["mounts"]]
    top = os.path.realpath(root)
    if not any(_may_be(top, os.path.join(place, program), targets) for place in where):
        looked = "is not in the image" if "/" in program else f"is not in the image's PATH, {path}"
        raise NotFoundError(
            "A command does not exist", f"{program!r} {looked}, or cannot be executed",
            "correct `command:` or `entrypoint:`; `envkit run --entrypoint sh SERVICE` looks inside",
        )  # fmt: skip


def _may_be(root: str, path: str, targets: Sequence[str]) -> bool:
    directory, name = os.path.split(os.path.normpath(path))
    try:
        parent = open_beneath(root, directory, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return _is_below(directory, targets)
    try:
        place = os.readlink(f"/proc/self/fd/{parent}")[len(root.rstrip("/")) :]
        if _is_below(os.path.join(place or "/", name), targets):
            return True
        info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    finally:
        os.close(parent)
    return stat.S_ISLNK(info.st_mode) or (stat.S_ISREG(info.st_mode) and bool(info.st_mode & 0o111))


def _is_below(path: str, targets: Sequence[str]) -> bool:
    return any(path == target or path.startswith(target.rstrip("/") + "/") for target in targets)
