"""The files of secrets and configs: on one tmpfs per environment, inside the engine namespace, and nowhere else.

A file is made per instance (its owner and mode are the instance's) and bound into it read-only, so a read-only root
needs nothing more than a mount point, and the content is gone with the instance or with the machine's power.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from envkit.backend.base import Materials
from envkit.backend.embedded import mounts as bundle_mounts
from envkit.backend.embedded.rootfs import run_directory
from envkit.errors import EnvkitError, HostError, NotFoundError
from envkit.host import mounts
from envkit.host.files import make_directory, remove_tree
from envkit.host.home import Home
from envkit.host.steps import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECRET_MODE = {True: 0o400, False: 0o444}  # hardened (envkit.yaml) or Compose's
CONFIG_MODE = 0o444


def base_directory(home: Home, environment: str) -> str:
    return os.path.join(run_directory(home, environment), "materials")


def directory_of(home: Home, environment: str, instance: str) -> str:
    """instance: its id."""
    return os.path.join(base_directory(home, environment), instance)


def ensure(home: Home, environment: str, mounted: set[str]) -> None:
    """Have the environment's tmpfs mounted: 0700, never swapped to disk where the kernel can promise it (6.4)."""
    base = base_directory(home, environment)
    if base in mounted:
        return
    make_directory(base, 0o700)
    try:
        mounts.tmpfs(base, ("mode=700", "size=64m", "noswap"))
    except HostError:
        mounts.tmpfs(base, ("mode=700", "size=64m"))
    mounted.add(base)


def wanted(spec: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """("secret" or "config", FileMountSpec) of a service, in order."""
    return [("secret", item) for item in spec.get("secrets") or ()] + [
        ("config", item) for item in spec.get("configs") or ()
    ]


def write(
    directory: str, items: Sequence[tuple[str, Mapping[str, Any]]], materials: Materials,
    owners: Sequence[tuple[int, int]], *, hardened: bool,
) -> list[bundle_mounts.Mount]:  # fmt: skip
    """Write every file of one instance below directory (on the tmpfs); returns the mounts for its bundle.

    owners: uid and gid per item. Raises NotFoundError when a source is gone.
    """
    remove_tree(directory)
    if not items:
        return []
    make_directory(directory, 0o700)
    rows = []
    step("materials.write")
    for number, ((kind, item), (uid, gid)) in enumerate(zip(items, owners, strict=True)):
        content = _content(kind, str(item["source"]), materials)
        path = os.path.join(directory, str(number))
        mode = item.get("mode", SECRET_MODE[hardened] if kind == "secret" else CONFIG_MODE)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
        options = ("bind", "ro", "nosuid", "nodev", "noexec" if kind == "secret" else "exec", "rprivate")
        rows.append(bundle_mounts.mount(str(item["target"]), "bind", path, *options))
    return rows


def _content(kind: str, name: str, materials: Materials) -> bytes:
    try:
        return materials.secret(name) if kind == "secret" else materials.config(name)
    except NotFoundError:
        raise
    except OSError as error:
        raise EnvkitError(f"A {kind} cannot be read", f"{kind}s.{name}: {error.strerror}") from error


def remove(home: Home, environment: str, instance: str) -> None:
    """Remove one instance's files; absent is fine."""
    with suppress(FileNotFoundError):
        remove_tree(directory_of(home, environment, instance))
