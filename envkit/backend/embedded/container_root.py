"""A descriptor of what an instance sees as `/`, volumes and read-only mounts included, whether it runs or not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from envkit.backend.embedded import instance
from envkit.backend.embedded.record import Record
from envkit.errors import ConflictError, EnvkitError
from envkit.host import mounts, syscalls
from envkit.host.beneath import open_beneath
from envkit.host.namespace import Engine

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def opened(record: Record) -> Iterator[int]:
    """An O_PATH descriptor of the root: the running container's own, else one put together for the occasion."""
    pid = instance.status(record).pid
    if pid:
        descriptor = os.open(f"/proc/{pid}/root", _PATH)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    with _assembled(record) as descriptor:
        yield descriptor


@contextmanager
def _assembled(record: Record) -> Iterator[int]:
    """The root of an instance that does not run, as its next start would have it: made by a child in a mount namespace
    of its own, and gone with that child. Its tmpfs mounts do not exist and are left out."""
    engine = Engine(record.home)
    if not engine.is_live() or not record.root:
        raise ConflictError("The instance's root is not mounted", str(record.address), "`envkit apply` makes it anew")
    engine.enter()
    with open(record.path("config.json"), "rb") as file:
        config = json.loads(file.read())
    ready, tell = os.pipe2(os.O_CLOEXEC)
    wait, end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _child(record.root, config, tell, wait, end)
    os.close(tell)
    os.close(wait)
    try:
        if (said := os.read(ready, 4096)) != b"1":
            raise EnvkitError("The instance's root cannot be put together", f"{record.root}: {said.decode()}")
        descriptor = os.open(f"/proc/{child}/root{record.root}", _PATH)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        os.close(end)
        os.close(ready)
        os.waitpid(child, 0)


def _child(root: str, config: dict[str, Any], tell: int, wait: int, end: int) -> None:
    code = 1
    try:
        os.close(end)
        syscalls.unshare(syscalls.CLONE_NEWNS)
        mounts.set_propagation("/", "private", recursive=True)
        _assemble(root, config)
        os.write(tell, b"1")
        os.read(wait, 1)  # until our parent closes its side, or dies
        code = 0
    except Exception as error:  # noqa: BLE001  (a forked child must not go on as its parent, which raises this)
        os.write(tell, f"{type(error).__name__}: {error}".encode()[:4096])
    finally:
        os._exit(code)


def _assemble(root: str, config: dict[str, Any]) -> None:
    syscalls.mount(root, root, None, mounts.MS_BIND | mounts.MS_REC)
    for row in config.get("mounts") or ():
        options = row.get("options") or ()
        if row.get("type") != "bind" and "bind" not in options and "rbind" not in options:
            continue
        try:
            _bind(root, row["source"], row["destination"], read_only="ro" in options)
        except FileNotFoundError:
            continue  # a mount point that the runtime would make, or a source that is gone
    if config["root"].get("readonly"):
        _make_read_only(root, "/", recursive=False)


def _bind(root: str, source: str, destination: str, *, read_only: bool) -> None:
    target = open_beneath(root, destination, os.O_PATH)
    try:
        syscalls.mount(source, f"/proc/self/fd/{target}", None, mounts.MS_BIND | mounts.MS_REC)
    finally:
        os.close(target)
    if read_only:
        _make_read_only(root, destination, recursive=True)


def _make_read_only(root: str, place: str, *, recursive: bool) -> None:
    mounted = open_beneath(root, place, os.O_PATH)
    try:
        flags = syscalls.AT_EMPTY_PATH | (syscalls.AT_RECURSIVE if recursive else 0)
        syscalls.mount_setattr(mounted, "", flags, attr_set=mounts.MS_RDONLY)
    finally:
        os.close(mounted)
