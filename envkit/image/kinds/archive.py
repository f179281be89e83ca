"""A tar or zip archive unpacked below a directory. Independent of the layers below but for owners and directories.

Every entry stays below `to`: absolute names, `..` and links that lead out are errors. Owners are `owner` (root when
absent), modes the archive's, times the one time of all layers.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from envkit.errors import ConflictError
from envkit.host.files import make_directory
from envkit.image import tar
from envkit.image.compression import decompressed
from envkit.image.placing import LayerError, Placer, survey
from envkit.image.step import Step
from envkit.image.users import find


class _Member(NamedTuple):
    """kind: a word of image.tar; data: the file's content in blocks."""

    name: str
    kind: str
    mode: int
    link: str
    data: Iterator[bytes]


def sees(step: Step) -> Any:
    owner = find(step.root, step.args["owner"])[:2] if step.args.get("owner") else (0, 0)
    return {"owner": owner, "below": survey(step.root, [step.args["to"]]), "content": step.args.get("sha256", "")}


def make(step: Step) -> Any:
    owner = find(step.root, step.args["owner"]) if step.args.get("owner") else (0, 0)
    path = _fetch(step)
    place = _Place(step.args["to"], step.args.get("strip", 0), owner[0], owner[1])
    with Placer(step.root) as placer, _members(path) as members, placer.directory(step.args["to"]):
        for member in members:
            place.put(placer, member)


class _Place:
    """Where the members go."""

    def __init__(self, to: str, strip: int, uid: int, gid: int) -> None:
        self._to, self._strip, self._uid, self._gid = to.rstrip("/"), strip, uid, gid

    def _path(self, name: str) -> str:
        """The place of a member in the image, "" for one that strip takes away entirely."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            raise LayerError("an archive's entry leads out of its directory", name)
        kept = parts[self._strip :]
        return "/".join([self._to, *kept]) if kept else ""

    def put(self, placer: Placer, member: _Member) -> None:
        path = self._path(member.name)
        if not path:
            return
        if member.kind == tar.DIRECTORY:
            placer.make_directory(path, member.mode, self._uid, self._gid)
        elif member.kind == tar.FILE:
            placer.put_blocks(path, member.data, member.mode, self._uid, self._gid)
        elif member.kind == tar.SYMLINK:
            placer.link(path, member.link, self._uid, self._gid)
        elif member.kind == tar.HARDLINK:
            source = self._path(member.link)
            if not source:
                detail = f"{member.name} -> {member.link}"
                raise LayerError("an archive's hard link leads out of what is unpacked", detail)
            placer.hard_link(source, path)
        else:
            raise LayerError("an archive has an entry that a layer cannot hold", f"{member.name} is a {member.kind}")


@contextmanager
def _members(path: str) -> Iterator[Iterator[_Member]]:
    with open(path, "rb") as file:
        if file.read(4) in (b"PK\3\4", b"PK\5\6"):
            yield _zip_members(path)
            return
        file.seek(0)
        with decompressed(file) as plain:
            yield _tar_members(plain)


def _tar_members(source: tar.Source) -> Iterator[_Member]:
    reader = tar.Reader(source)
    for entry in reader:
        if entry.segments is not None:
            raise LayerError("an archive has a sparse file", entry.name, "make it without --sparse")
        yield _Member(entry.name, entry.kind, stat.S_IMODE(entry.mode), entry.linkname, reader.data())


def _zip_members(path: str) -> Iterator[_Member]:
    """Modes are in the upper half of external_attr when a Unix wrote the archive (APPNOTE.TXT 4.4.15)."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                mode = info.external_attr >> 16
                if info.is_dir():
                    yield _Member(info.filename, tar.DIRECTORY, stat.S_IMODE(mode) or 0o755, "", iter(()))
                    continue
                with archive.open(info) as file:
                    if stat.S_ISLNK(mode):
                        yield _Member(info.filename, tar.SYMLINK, 0o777, file.read(4096).decode(), iter(()))
                    else:
                        yield _Member(info.filename, tar.FILE, stat.S_IMODE(mode) or 0o644, "", _blocks(file))
    except zipfile.BadZipFile as error:
        raise LayerError("the archive is damaged", f"{os.path.basename(path)}: {error}") from error


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(1 << 20):
        yield data


def _fetch(step: Step) -> str:
    """The archive's path on this machine, checked against its digest."""
    source, wanted = step.args["source"], step.args.get("sha256", "")
    if "://" not in source:
        if not os.path.isfile(source):
            raise LayerError("the archive does not exist", os.path.relpath(source, step.context.directory))
        found = _sha256(source)
        _check(source, found, wanted)
        step.context.lock.record("archives", os.path.relpath(source, step.context.directory), found)
        return str(source)
    directory = os.path.join(step.context.home.cache, "build", "downloads")
    path = os.path.join(directory, wanted)
    if not (os.path.isfile(path) and _sha256(path) == wanted):
        make_directory(directory)
        _download(step, source, path)
    step.context.lock.record("archives", source, wanted)
    return path


def _download(step: Step, url: str, path: str) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    if not url.startswith("https://"):
        raise LayerError("an archive is fetched by https only", url)
    temporary = step.space.file("download", b"")
    try:
        with urlopen(url, timeout=60) as reply, open(temporary, "wb") as file:
            done = 0
            while data := reply.read(1 << 20):
                file.write(data)
                done += len(data)
                step.progress(f"{done >> 20} MiB")
    except (URLError, OSError) as error:
        hint = "check the address, and this machine's network and proxy"
        raise LayerError("the archive cannot be fetched", f"{url}: {getattr(error, 'reason', error)}", hint) from error
    _check(url, _sha256(temporary), step.args["sha256"])
    os.rename(temporary, path)


def _check(source: str, found: str, wanted: str) -> None:
    if wanted and found != wanted:
        hint = "if the new content is what you want, write its digest into the YAML"
        raise ConflictError("the archive has another content", f"{source}: sha256 {found}, not {wanted}", hint)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
