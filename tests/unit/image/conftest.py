"""Stores and images for the tests of this room."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from envkit.host.home import Home
from envkit.image.store import Store
from envkit.image.tar import DIRECTORY, HARDLINK, SYMLINK, Entry
from envkit.image.tarwrite import archive
from tests.support.images import busybox_layer

CAPABILITY = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(Home(str(tmp_path / "home")))


def second_layer() -> bytes:
    """Everything a layer can say: owners, setuid, attributes, links, long names, whiteouts, an opaque directory."""
    entries: list[tuple[Entry, bytes]] = [
        (Entry("etc", DIRECTORY, mode=0o755), b""),
        (Entry("etc/.wh.group"), b""),
        (Entry("etc/passwd", size=4, mode=0o600, uid=7, gid=8, mtime=1_600_000_000 * 10**9), b"root"),
        (Entry("home", DIRECTORY, mode=0o2775, gid=50), b""),
        (Entry("home/.wh..wh..opq"), b""),
        (Entry("home/big", size=70_000, xattrs={"user.note": b"\0\n="}), b"x" * 70_000),
        (Entry("home/linked", HARDLINK, linkname="home/big"), b""),
        (Entry("home/" + "n" * 200, size=1, uid=3_000_000), b"n"),
        (Entry("home/ping", size=2, mode=0o755, xattrs={"security.capability": CAPABILITY}), b"#!"),
        (Entry("home/su", size=2, mode=0o4755), b"#!"),
        (Entry("home/to", SYMLINK, mode=0o777, linkname="/" + "t" * 150), b""),
        (Entry("tmp", DIRECTORY, mode=0o1777), b""),
    ]
    return b"".join(archive((entry, [data]) for entry, data in entries))


@pytest.fixture
def reference(store: Store) -> str:
    """An image of two layers in the store: `docker.io/tests/two:1`."""
    first = store.add_layer(io.BytesIO(busybox_layer()), created_by="busybox")
    second = store.add_layer(io.BytesIO(second_layer()), [first], created_by="copy .", origin="envkit.yaml:7:9")
    config = {"Cmd": ["/bin/sh"], "Env": ["A=1"], "User": "1000", "Labels": {"x": "y"}}
    store.add_image({"config": config}, [first, second], "tests/two:1")
    return "docker.io/tests/two:1"
