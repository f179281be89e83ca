"""Take away what makes two builds of the same thing differ, or what only this machine should know.

Works on the files of one layer before it is captured: an overlay's upperdir at rest, or a whole root. Paths are found
without following links, as a command of the image has filled them.
Sources: mmdebstrap(1) "SOURCE_DATE_EPOCH"; reproducible-builds.org; PEP 552 (pyc header); machine-id(5).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase

from envkit.host.files import remove_tree
from envkit.image.recipe import EPOCH

LEFTOVERS = (
    "var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log", "var/log/fontconfig.log", "var/log/apt/*",
    "var/cache/apt/*.bin", "var/cache/apt/archives/*", "var/lib/apt/lists/*", "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/*-old", "var/lib/dpkg/*-old", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock", "var/cache/debconf/*.lock", "etc/passwd-", "etc/group-", "etc/shadow-",
    "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock", "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed", "root/.npm/_logs",
)  # fmt: skip
"""Logs, caches, backups and locks that programs of a build leave."""

KEYS = (
    "etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/ssh/ssh_host_*_key",
    "etc/ssh/ssh_host_*_key.pub",
)  # fmt: skip
"""Random keys that packages make for "this machine" when they are installed: no image may share them with the world."""

MACHINE = ("etc/hostname", "etc/resolv.conf", "etc/hosts")
"""Files about the machine that a root was made on; a container gets its own."""

_PYC_FLAGS = slice(4, 8)
_PYC_TIME = slice(8, 12)


def clean(root: str, *patterns: str) -> None:
    """Remove everything below root that matches one of the patterns (`*` within one directory)."""
    for pattern in patterns:
        for path in list(_matches(root, pattern.split("/"))):
            if not _is_whiteout(path):
                remove_tree(path)


def forget_machine_id(root: str) -> None:
    """A machine-id is drawn at the first boot: an empty file says so (machine-id(5), "First Boot Semantics")."""
    for path in _matches(root, ["etc", "machine-id"]):
        if stat.S_ISREG(os.lstat(path).st_mode):
            os.truncate(path, 0)


def settle_bytecode(root: str) -> None:
    """A .pyc that names its source's time must name the time that the source gets in the layer."""
    for path in _files(root):
        if path.endswith(".pyc"):
            _settle_pyc(path)


def _settle_pyc(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        header = os.pread(descriptor, 16, 0)
        if len(header) < 16 or header[_PYC_FLAGS] != b"\0\0\0\0":
            return
        if int.from_bytes(header[_PYC_TIME], "little") > EPOCH:
            os.pwrite(descriptor, EPOCH.to_bytes(4, "little"), 8)
    finally:
        os.close(descriptor)


def settle_directories(root: str) -> None:
    """Give every directory the one time, so that a layer does not tell when the directories below it were made."""
    for directory, _, _ in os.walk(root):
        os.utime(directory, (EPOCH, EPOCH))


def drop_links(root: str, pattern: str, target: str) -> None:
    """Remove the links among the matches that point to a file called target (OpenSSL's names of a certificate)."""
    for path in list(_matches(root, pattern.split("/"))):
        if os.path.islink(path) and os.path.basename(os.readlink(path)) == target:
            os.unlink(path)


def _matches(root: str, parts: list[str]) -> Iterator[str]:
    try:
        with os.scandir(root) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except FileNotFoundError:
        return
    for name, is_directory in found:
        if not fnmatchcase(name, parts[0]):
            continue
        path = os.path.join(root, name)
        if len(parts) == 1:
            yield path
        elif is_directory:
            yield from _matches(path, parts[1:])


def _files(root: str) -> Iterator[str]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def _is_whiteout(path: str) -> bool:
    info = os.lstat(path)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
