"""Layers for tests, as archives."""

from __future__ import annotations

from envkit.image.tar import DIRECTORY, HARDLINK, SYMLINK, Entry
from envkit.image.tarwrite import archive

CAPABILITY = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"


def first_layer() -> bytes:
    """A small root: directories, a program, links."""
    entries: list[tuple[Entry, bytes]] = [
        (Entry(name, DIRECTORY, mode=mode), b"")
        for name, mode in ((".", 0o755), ("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("tmp", 0o1777))
    ]
    entries += [
        (Entry("bin/busybox", size=1_000_000, mode=0o755), b"program\n" * 125_000),
        (Entry("bin/sh", SYMLINK, mode=0o777, linkname="busybox"), b""),
        (Entry("etc/group", size=10), b"root:x:0:\n"),
        (Entry("etc/passwd", size=23), b"root:x:0:0::/root:/bin\n"),
        (Entry("home/old", size=3), b"old"),
        (Entry("home/big", size=4), b"less"),
    ]
    return b"".join(archive((entry, [data]) for entry, data in entries))


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
