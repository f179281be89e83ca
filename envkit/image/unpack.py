"""A layer's tar archive to a directory that overlayfs can use as a lower.

Sources: OCI image-spec layer.md (whiteouts, opaque whiteouts), kernel overlayfs.rst (their forms on disk), openat2(2).
Every name is resolved beneath the directory by the kernel; whatever would leave it, or change what an earlier entry
made, is an ImageError that names the entry. Symlinks are written as they are and never followed out of the tree.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence

from envkit.errors import HostError, ImageError
from envkit.host.idmap import IdMap
from envkit.image import tar
from envkit.image.directories import Directories, relative
from envkit.image.limits import DEFAULT, Limits, way_out
from envkit.image.tree import Merged, is_whiteout, read_xattrs

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."  # AUFS' own files (aufs(5)); they say nothing about the content
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# The devices that every container has (runtime-spec config-linux.md, "Default Devices"), and urandom's kin.
_HARMLESS = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)})
_DEFAULT_ACL = "system.posix_acl_default"  # acl(5)
_LATEST = 2**62 * 10**9  # ns; what utimensat(2) takes, well beyond any file system's range

# Failures that are the machine's fault, not the archive's.
_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def unpack(
    source: tar.Source, root: str, ids: IdMap, lowers: Sequence[str] = (), limits: Limits = DEFAULT, *,
    whiteouts: bool = True,
) -> list[str]:  # fmt: skip
    """Fill the empty directory root from an uncompressed tar.

    whiteouts: it is a layer, whose names may say what is deleted; else such a name is a name like any other.
    lowers: the trees below, bottom first; directories that the layer leaves out are made like theirs. Returns what
    could not be kept (attributes the file system does not know, devices), one line each. On an error root is half
    filled: discard it.
    """
    unpacker = _Unpacker(root, ids, Merged.of(lowers, ids.overlay_prefix), limits)
    unpacker.whiteouts = whiteouts
    try:
        reader = tar.Reader(source, limits)
        for entry in reader:
            unpacker.add(entry, reader.data())
        unpacker.finish()
    finally:
        unpacker.close()
    return unpacker.lost


class _Unpacker:
    def __init__(self, root: str, ids: IdMap, below: Merged, limits: Limits) -> None:
        self._directories = Directories(root)
        self._ids = ids
        self._opaque = ids.overlay_prefix + "opaque"
        self._below = below
        self._limits = limits
        self._times: dict[str, int] = {}  # of directories: set last, since every new child changes them
        self._default_acls: dict[str, bytes] = {}  # set last, since every new child would inherit them
        self._root_is_opaque = False
        self._entries = 0
        self._bytes = 0
        self.whiteouts = True
        self.lost: list[str] = []

    def close(self) -> None:
        self._directories.close()

    def add(self, entry: tar.Entry, data: Iterable[bytes]) -> None:
        """One entry of the archive. Raises ImageError."""
        self._entries += 1
        self._bytes += entry.size
        if self._entries > self._limits.entries:
            raise self._error(entry, f"the layer has more than {self._limits.entries} entries", way_out("entries"))
        if self._bytes > self._limits.bytes:
            why = f"the layer's files have more than {self._limits.bytes} bytes, holes included"
            raise self._error(entry, why, way_out("bytes"))
        if abs(entry.mtime) >= _LATEST:
            raise self._error(entry, f"its time of {entry.mtime // 10**9} seconds is out of range")
        try:
            self._add(entry, data)
        except OSError as error:
            if error.errno in _MACHINE:
                raise HostError("a layer cannot be unpacked here", f"entry {entry.name!r}: {error.strerror}") from error
            raise self._error(entry, _explain(error)) from error
        except OverflowError as error:
            raise self._error(entry, f"a number is out of range: {error}") from error

    def _add(self, entry: tar.Entry, data: Iterable[bytes]) -> None:
        path = self._path(entry, entry.name)
        if not path:
            if entry.kind != tar.DIRECTORY:
                raise self._error(entry, f"it would replace the root directory by a {entry.kind}")
            self._dress_directory(entry, "")
            return
        above, _, name = path.rpartition("/")
        if self.whiteouts and WHITEOUT in above:
            for part in above.split("/"):
                if part.startswith(_META):
                    return
                if part.startswith(WHITEOUT):
                    raise self._error(entry, "a whiteout cannot have anything below it")
        if self.whiteouts and name.startswith(WHITEOUT):
            self._whiteout(entry, above, name)
            return
        parent = self._directories.get(above)
        if entry.kind == tar.DIRECTORY:
            self._directory(entry, parent, path, name)
            return
        if entry.kind in (tar.CHARACTER, tar.BLOCK_DEVICE) and not self._wants_device(entry):
            return
        try:
            self._other(entry, parent, name, data)
        except FileExistsError:
            self._make_room(entry, parent, name)
            self._other(entry, parent, name, data)

    def _other(self, entry: tar.Entry, parent: int, name: str, data: Iterable[bytes]) -> None:
        """Anything but a directory. Raises FileExistsError, having read no data, when the name is taken."""
        if entry.kind == tar.FILE:
            self._file(entry, parent, name, data)
        elif entry.kind == tar.HARDLINK:
            self._link(entry, parent, name)
        else:
            self._special(entry, parent, name)

    # -- kinds

    def _directory(self, entry: tar.Entry, parent: int, path: str, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if is_whiteout(found):
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o700, dir_fd=parent)
                self._set_opaque(path)
            elif not stat.S_ISDIR(found.st_mode):
                raise self._error(entry, "an earlier entry of this name is not a directory") from None
        self._dress_directory(entry, path)

    def _dress_directory(self, entry: tar.Entry, path: str) -> None:
        where = self._directories.where(path)
        self._directories.implied.discard(path)
        if self._may_own(entry):
            os.chown(where, entry.uid, entry.gid)
        os.chmod(where, entry.mode)
        self._xattrs(entry, where, follow=True)
        if acl := entry.xattrs.get(_DEFAULT_ACL):
            self._default_acls[path] = acl
        self._times[path] = entry.mtime

    def _file(self, entry: tar.Entry, parent: int, name: str, data: Iterable[bytes]) -> None:
        descriptor = os.open(name, _NEW, 0o600, dir_fd=parent)
        try:
            if entry.segments is None:
                for block in data:
                    _write(descriptor, block)
            else:
                _write_segments(descriptor, entry.segments, data)
                os.ftruncate(descriptor, entry.size)
            if self._may_own(entry):
                os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, entry.mode)  # after chown, which drops setuid and capabilities
            if entry.xattrs:
                self._xattrs(entry, descriptor)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _link(self, entry: tar.Entry, parent: int, name: str) -> None:
        target = self._path(entry, entry.linkname)
        above, _, last = target.rpartition("/")
        try:
            holder = self._directories.open(above)
        except OSError as error:
            raise self._error(entry, f"its target {entry.linkname!r}: {_explain(error)}") from error
        try:
            found = os.stat(last or ".", dir_fd=holder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) or is_whiteout(found):
                raise self._error(entry, f"its target {entry.linkname!r} is not a file of this layer")
            os.link(last, name, src_dir_fd=holder, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise self._error(entry, f"its target {entry.linkname!r} is not in this layer") from None
        finally:
            os.close(holder)

    def _special(self, entry: tar.Entry, parent: int, name: str) -> None:
        if entry.kind == tar.SYMLINK:
            os.symlink(entry.linkname, name, dir_fd=parent)
        elif entry.kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        if self._may_own(entry):
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        if entry.xattrs:
            self._xattrs(entry, f"/proc/self/fd/{parent}/{name}")
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _wants_device(self, entry: tar.Entry) -> bool:
        if entry.kind == tar.BLOCK_DEVICE or (entry.major, entry.minor) not in _HARMLESS:
            raise self._error(entry, f"a {entry.kind} {entry.major}:{entry.minor}, which no image may bring")
        if not self._ids.has_devices:
            self.lost.append(f"{entry.name}: a {entry.kind}, which only real root can make")
            return False
        return True

    def _whiteout(self, entry: tar.Entry, above: str, name: str) -> None:
        if name.startswith(_META) and name != OPAQUE:
            return
        if entry.kind not in (tar.FILE, tar.HARDLINK):  # AUFS made them hard links
            raise self._error(entry, f"a whiteout that is a {entry.kind}")
        if name == OPAQUE:
            self._directories.get(above)
            self._set_opaque(above)
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise self._error(entry, f"a whiteout of {hidden!r}")
        parent = self._directories.get(above)
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
            os.utime(hidden, ns=(0, 0), dir_fd=parent)
        except FileExistsError:
            # A whiteout is about the layers below; what this layer has of that name stays.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent, follow_symlinks=False).st_mode):
                self._set_opaque(f"{above}/{hidden}" if above else hidden)

    def _path(self, entry: tar.Entry, name: str) -> str:
        try:
            return relative(name)
        except ValueError as error:
            raise self._error(entry, str(error)) from None

    def _make_room(self, entry: tar.Entry, parent: int, name: str) -> None:
        """Take away a whiteout of that name; anything else there is an error."""
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not is_whiteout(found):
            raise self._error(entry, "the layer has this name twice")
        os.unlink(name, dir_fd=parent)

    # -- attributes

    def _may_own(self, entry: tar.Entry) -> bool:
        """Whether the entry's owner exists here. Raises ImageError when it could exist nowhere."""
        if max(entry.uid, entry.gid) >= 0xFFFFFFFF or min(entry.uid, entry.gid) < 0:
            raise self._error(entry, f"its owner {entry.uid}:{entry.gid} is out of range")
        if not (self._ids.has(entry.uid) and self._ids.has(entry.gid)):
            self.lost.append(f"{entry.name}: owner {entry.uid}:{entry.gid}, outside the mapped ids")
            return False
        return True

    def _xattrs(self, entry: tar.Entry, where: int | str, *, follow: bool = False) -> None:
        for key, value in entry.xattrs.items():
            if key.startswith(("trusted.overlay.", "user.overlay.")) or key == _DEFAULT_ACL:
                continue  # the first would steer overlayfs: a layer says such things by whiteouts
            try:
                if isinstance(where, int):
                    os.setxattr(where, key, value)
                else:
                    os.setxattr(where, key, value, follow_symlinks=follow)
            except OSError as error:
                if key == "security.capability":
                    raise
                self.lost.append(f"{entry.name}: {key}: {error.strerror}")

    def _set_opaque(self, path: str) -> None:
        if not path:
            self._root_is_opaque = True
            return
        os.setxattr(self._directories.where(path), self._opaque, b"y")

    def finish(self) -> None:
        """Hide what a root-opaque layer hides, dress the directories that were implied, set the times."""
        if self._root_is_opaque:
            self._hide_lowers()
        for path in self._directories.implied:
            self._inherit(path)
        for path, acl in self._default_acls.items():
            os.setxattr(self._directories.where(path), _DEFAULT_ACL, acl)
        for path, mtime in self._times.items():
            os.utime(self._directories.where(path), ns=(mtime, mtime))

    def _hide_lowers(self) -> None:
        """overlayfs ignores the opaque attribute on a layer's root: a whiteout for each name below does the same."""
        for name in self._below.names():
            try:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=self._directories.root)
            except FileExistsError:
                if stat.S_ISDIR(os.stat(name, dir_fd=self._directories.root, follow_symlinks=False).st_mode):
                    self._set_opaque(name)

    def _inherit(self, path: str) -> None:
        where = self._directories.where(path)
        below = self._below.walk_to(path).directories
        if not below:
            os.chown(where, 0, 0)
            os.chmod(where, 0o755)
            self._times[path] = 0
            return
        info = os.lstat(below[0])
        os.chown(where, info.st_uid, info.st_gid)
        os.chmod(where, stat.S_IMODE(info.st_mode))
        for key, value in read_xattrs(below[0]).items():
            os.setxattr(where, key, value)
        self._times[path] = info.st_mtime_ns

    def _error(self, entry: tar.Entry, why: str, hint: str = "") -> ImageError:
        return ImageError("a layer cannot be unpacked", f"entry {entry.name!r}: {why}", hint)


def _explain(error: OSError) -> str:
    """What a failed call says about an entry."""
    if error.errno in (errno.EXDEV, errno.ELOOP):
        return "its path goes through a symlink that leaves the layer"
    if error.errno == errno.ENOTDIR:
        return "its path goes through something that is not a directory"
    return error.strerror or str(error)


def _write(descriptor: int, block: bytes | memoryview) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_segments(descriptor: int, segments: Sequence[tuple[int, int]], data: Iterable[bytes]) -> None:
    """Write the joined segments' bytes to their places."""
    blocks = iter(data)
    pending = memoryview(b"")
    for offset, length in segments:
        os.lseek(descriptor, offset, os.SEEK_SET)
        left = length
        while left:
            pending = pending or memoryview(next(blocks))
            _write(descriptor, pending[:left])
            taken = min(left, len(pending))
            pending, left = pending[taken:], left - taken
