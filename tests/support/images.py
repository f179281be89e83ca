"""Images for tests, made from this machine's own busybox (Debian: busybox-static)."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envkit.image.store import Store

BUSYBOX = "/bin/busybox"
DIRECTORIES = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755, "sys": 0o555,
    "tmp": 0o1777, "var": 0o755,
}  # fmt: skip
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000:app:/home:/bin/sh\n"
GROUP = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\n"


@cache
def applets() -> tuple[str, ...]:
    """The commands that busybox has."""
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True, timeout=10).stdout.split()
    return tuple(sorted({*listed, "sh"} - {"busybox"}))


@cache
def busybox_layer() -> bytes:
    """A layer: busybox with its applets as hard links, the usual directories, passwd and group."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.linkname = kind, mode, len(data), link
            archive.addfile(member, io.BytesIO(data))

        add(".", tarfile.DIRTYPE, 0o755)
        add("bin", tarfile.DIRTYPE, 0o755)
        with open(BUSYBOX, "rb") as file:
            add("bin/busybox", tarfile.REGTYPE, 0o755, file.read())
        for name in applets():
            add(f"bin/{name}", tarfile.LNKTYPE, 0o755, link="bin/busybox")  # no inode each: faster to unpack
        for name, mode in DIRECTORIES.items():
            add(name, tarfile.DIRTYPE, mode)
        add("etc/group", tarfile.REGTYPE, 0o644, GROUP.encode())
        add("etc/passwd", tarfile.REGTYPE, 0o644, PASSWD.encode())
    return buffer.getvalue()


def busybox_image(store: Store, reference: str = "busybox:test", config: Mapping[str, Any] | None = None) -> str:
    """Put a busybox image into store; returns its full reference. config: keys of the OCI `config` object."""
    process = {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **(config or {})}
    with store.session():
        layer = store.add_layer(io.BytesIO(busybox_layer()), created_by="busybox-static")
        digest = store.add_image({"config": process}, [layer], reference)
    return store.image(digest).references[0]


def require_busybox() -> None:
    """Fail with the package's name where busybox is missing."""
    if not os.access(BUSYBOX, os.X_OK):
        raise RuntimeError("these tests need Debian's busybox-static")
