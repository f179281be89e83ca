"""ADD: copies, unpacks local tar archives, fetches URLs and Git repositories.

Source: Dockerfile reference, "ADD" (--checksum, --keep-git-dir, --unpack). An archive's entries keep their owners and
modes; a fetched file is 0600 and is not unpacked unless --unpack says so.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from envkit.digest import fingerprint
from envkit.errors import ConflictError, ImageError, NotFoundError
from envkit.host import files
from envkit.image import tar
from envkit.image.compression import decompressed, detect
from envkit.image.dockerfile.chmod import new_mode
from envkit.image.dockerfile.copy import Copy, Place, is_directory, make_parents, owner, put_file
from envkit.image.placing import LayerError, Placer, survey
from envkit.image.step import Step
from envkit.values import replace, value

_HEADER = 512


@value
class Add:
    """copy: the local sources. urls: those to fetch. gits: repositories, `URL#REF:DIRECTORY`; keep_git: with what Git
    keeps of them. unpack: None: local archives are, fetched ones are not."""

    copy: Copy
    urls: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None
    offline: bool = False
    gits: tuple[str, ...] = ()
    keep_git: bool = False

    @property
    def asked(self) -> dict[str, Any]:
        asked = {**self.copy.asked, "urls": self.urls, "checksum": self.checksum, "unpack": self.unpack}
        return asked | ({"gits": self.gits, "keep_git": self.keep_git} if self.gits else {})

    def sees(self, step: Step) -> Any:
        fetched = [] if self.checksum else [self._digest(step, url) for url in self.urls]
        top = [] if self.copy.link else survey(step.root, [self.copy.target])
        seen = {**self.copy.sees(step), "fetched": fingerprint(fetched), "top": top}
        return seen | ({"gits": [self._checkout(step, url).sees(step) for url in self.gits]} if self.gits else {})

    def _checkout(self, step: Step, url: str) -> Copy:
        """The COPY that a repository amounts to: its files, into the target."""
        from envkit.host.ignore import Ignore
        from envkit.image.dockerfile.contexts import clone
        from envkit.image.dockerfile.sources import Source

        if self.offline:
            raise NotFoundError("it has not been fetched yet", url)
        source = Source(clone(step.context, url), url, Ignore() if self.keep_git else Ignore((".git",)))
        return replace(self.copy, source=source, sources=("/",), target=self.copy.target.rstrip("/") + "/", inline=())

    def make(self, step: Step) -> None:
        copy, who = self.copy, owner(step, self.copy.owner)
        with Placer(step.root) as placer, ExitStack() as stack:
            for url in self.urls:
                path = self._fetched(step, url)
                if self.unpack and is_archive(path):
                    self._unpack(step, placer, path, who)
                    continue
                target = self._target(step, url)
                make_parents(placer, target, who)
                put_file(placer, path, target, new_mode(copy.chmod, 0o600), who or (0, 0), attributes=False)
            for url in self.gits:
                self._checkout(step, url).make(step)
            for target, content in copy.targets(step):
                make_parents(placer, target, who)
                placer.put(target, content.encode(), new_mode(copy.chmod, 0o644), *(who or (0, 0)))
            for place in copy.places(step, stack):
                if self._unpacks(place):
                    self._unpack(step, placer, place.file.path, who)
                else:
                    make_parents(placer, place.target, who)
                    copy._put(step, placer, place, who)

    def _unpacks(self, place: Place) -> bool:
        regular = place.file.name == "" and stat.S_ISREG(place.file.info.st_mode)
        return regular and self.unpack is not False and is_archive(place.file.path)

    def _unpack(self, step: Step, placer: Placer, path: str, who: tuple[int, int] | None) -> None:
        top = self.copy.target.rstrip("/")
        make_parents(placer, top + "/x", who)
        with open(path, "rb") as file, decompressed(file) as plain:
            reader = tar.Reader(plain)
            for entry in reader:
                _put_entry(step, placer, top, entry, reader, who)

    def _target(self, step: Step, url: str) -> str:
        target = self.copy.target
        if not target.endswith("/") and not is_directory(step.root, target):
            return target
        name = posixpath.basename(urlsplit(url).path)
        if not name:
            raise LayerError("a fetched file has no name", url, "end the destination with a file's name")
        return f"{target.rstrip('/')}/{name}"

    def _digest(self, step: Step, url: str) -> str:
        with open(self._fetched(step, url), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _fetched(self, step: Step, url: str) -> str:
        """The file of a URL on this machine: kept by its digest, asked for anew unless a checksum says what it is."""
        directory = os.path.join(step.context.home.cache, "build", "downloads")
        wanted = self.checksum.removeprefix("sha256:")
        note = os.path.join(directory, hashlib.sha256(url.encode()).hexdigest() + ".json")
        known = files.read_json(note) or {}
        kept = os.path.join(directory, wanted or str(known.get("sha256") or "none"))
        if os.path.isfile(kept) and (wanted or self.offline):
            return kept
        if self.offline:
            raise NotFoundError("it has not been fetched yet", url)
        files.make_directory(directory, 0o700)
        made = _download(step, url, directory, known if os.path.isfile(kept) else {})
        if made is None:
            return kept
        if wanted and made["sha256"] != wanted:
            hint = "if the new content is what you want, write its checksum into the Dockerfile"
            raise ConflictError("what was fetched has another checksum", f"{url}: sha256:{made['sha256']}", hint)
        files.write_json(note, made, durable=False)
        return os.path.join(directory, str(made["sha256"]))


def _download(step: Step, url: str, directory: str, known: dict[str, Any]) -> dict[str, Any] | None:
    """Fetch into directory; None: it is what is known still (RFC 9110, 13.1.2)."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "envkit"} | ({"If-None-Match": str(known["etag"])} if known.get("etag") else {})
    temporary = step.space.directory("download") + f"/{os.urandom(4).hex()}"
    digest, done = hashlib.sha256(), 0
    try:
        with urlopen(Request(url, headers=headers), timeout=60) as reply, open(temporary, "wb") as file:
            while data := reply.read(1 << 20):
                file.write(data)
                digest.update(data)
                done += len(data)
                step.progress(f"{url}: {done >> 20} MiB")
            etag = reply.headers.get("ETag", "")
    except HTTPError as error:
        if error.code == 304:
            return None
        raise LayerError("a file cannot be fetched", f"{url}: {error.code} {error.reason}", "check the URL") from error
    except (URLError, OSError) as error:
        hint = "check the address, and this machine's network and proxy"
        raise LayerError("a file cannot be fetched", f"{url}: {getattr(error, 'reason', error)}", hint) from error
    os.rename(temporary, os.path.join(directory, digest.hexdigest()))
    return {"url": url, "etag": etag, "sha256": digest.hexdigest()}


def is_archive(path: str) -> bool:
    """Whether a file is a tar archive, compressed by gzip, bzip2, xz or zstd or not at all."""
    with _plain(path) as start:
        if len(start) < _HEADER:
            return False
        if start[257:262] == b"ustar":
            return True
        # An archive from before POSIX has no magic, but the sum of its header with blanks for the sum itself.
        field = start[148:156].strip(b" \0")
        total = sum(start) - sum(start[148:156]) + 8 * 32
        return bool(re.fullmatch(rb"[0-7]+", field)) and int(field, 8) == total


@contextmanager
def _plain(path: str) -> Iterator[bytes]:
    """The first block of a file, uncompressed; b"" when it cannot be."""
    with open(path, "rb") as file:
        compressed = detect(file.read(6)) != "none"
        file.seek(0)
        if not compressed:
            yield file.read(_HEADER)
            return
        try:
            with decompressed(file) as source:
                start = b""
                while len(start) < _HEADER and (data := source.read(_HEADER - len(start))):
                    start += data
        except ImageError:
            start = b""
        yield start


def _put_entry(
    step: Step, placer: Placer, top: str, entry: tar.Entry, reader: tar.Reader, who: tuple[int, int] | None
) -> None:
    parts = [part for part in entry.name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise LayerError("an archive's entry leads out of its directory", entry.name)
    path = "/".join([top, *parts]) if parts else ""
    uid, gid = who or (entry.uid, entry.gid)
    if not path:
        return
    if entry.kind == tar.DIRECTORY:
        placer.make_directory(path, stat.S_IMODE(entry.mode), uid, gid)
    elif entry.kind == tar.FILE:
        if entry.segments is not None:
            raise LayerError("an archive has a sparse file", entry.name, "make it without --sparse")
        placer.put_blocks(path, reader.data(), stat.S_IMODE(entry.mode), uid, gid)
    elif entry.kind == tar.SYMLINK:
        placer.link(path, entry.linkname, uid, gid)
    elif entry.kind == tar.HARDLINK:
        linked = [part for part in entry.linkname.split("/") if part not in ("", ".")]
        if ".." in linked:
            raise LayerError("an archive's hard link leads out of its directory", entry.linkname)
        placer.hard_link("/".join([top, *linked]), path)
    else:
        step.warn(f"{entry.name} is a {entry.kind}: left out")
