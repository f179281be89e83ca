"""COPY, and the part of ADD that copies.

Source: Dockerfile reference, "COPY" (--from, --chown, --chmod, --link, --parents, --exclude); BuildKit where it is
silent: files of a context become root's and keep their modes, those of a stage or image keep owners and attributes;
a directory's content is merged into the destination, directories that exist stay as they are.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from envkit.digest import fingerprint
from envkit.host.beneath import open_beneath
from envkit.image import users
from envkit.image.dockerfile.chmod import new_mode
from envkit.image.dockerfile.sources import File, Match, Source
from envkit.image.placing import LayerError, Placer, parent_of, survey
from envkit.image.step import Step
from envkit.values import value


class Place(NamedTuple):
    """One file and where it goes in the image."""

    file: File
    target: str


@value
class Copy:
    """sources: words below the source's top. target: absolute in the image; a slash at its end makes it a directory.
    owner: USER[:GROUP], "" for none. chmod: octal or symbolic. inline: (name, content) of here-documents."""

    source: Source
    sources: tuple[str, ...]
    target: str
    owner: str = ""
    chmod: str = ""
    exclude: tuple[str, ...] = ()
    parents: bool = False
    link: bool = False
    inline: tuple[tuple[str, str], ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """What is written; what the files are is seen."""
        return {"target": self.target, "chmod": self.chmod, "link": self.link, "inline": self.inline}

    def sees(self, step: Step) -> Any:
        with ExitStack() as stack:
            places = list(self.places(step, stack))
            files = [self._described(place) for place in places]
        directories = [place.target for place in places if stat.S_ISDIR(place.file.info.st_mode)]
        parents = {parent_of(place.target) for place in places} | {parent_of(name) for name, _ in self.targets(step)}
        below = [] if self.link else survey(step.root, sorted({*directories, *parents}))
        return {"owner": owner(step, self.owner), "files": fingerprint(files), "below": below}

    def _described(self, place: Place) -> list[Any]:
        info = place.file.info
        own = [info.st_uid, info.st_gid] if self.source.foreign else []
        kind, mode = stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode)
        return [place.target, kind, mode, self.source.digest(place.file), *own]

    def make(self, step: Step) -> None:
        who = owner(step, self.owner)
        with Placer(step.root) as placer, ExitStack() as stack:
            for target, content in self.targets(step):
                make_parents(placer, target, who)
                placer.put(target, content.encode(), new_mode(self.chmod, 0o644), *(who or (0, 0)))
            places = list(self.places(step, stack))
            if not places and not self.inline:
                step.warn(f"nothing is copied: {' '.join(self.sources)} matches no file of {self.source.name}")
            for place in places:
                make_parents(placer, place.target, who)
                self._put(step, placer, place, who)

    def _put(self, step: Step, placer: Placer, place: Place, who: tuple[int, int] | None) -> None:
        info = place.file.info
        mode = info.st_mode
        uid, gid = who or ((info.st_uid, info.st_gid) if self.source.foreign else (0, 0))
        wanted = new_mode(self.chmod, stat.S_IMODE(mode), directory=stat.S_ISDIR(mode))
        if stat.S_ISDIR(mode):
            if place.file.name == "" and not self.source.foreign and not self.chmod and not self._names_directory:
                wanted = 0o755  # the context's own top
            placer.make_directory(place.target, wanted, uid, gid)
        elif stat.S_ISLNK(mode):
            placer.link(place.target, os.readlink(place.file.path), uid, gid)
        elif stat.S_ISREG(mode):
            put_file(placer, place.file.path, place.target, wanted, (uid, gid), attributes=self.source.foreign)
        else:
            step.warn(f"{place.file.path} is no file, directory or link: left out")

    @property
    def _names_directory(self) -> bool:
        return all(posixpath.normpath("/" + word) != "/" for word in self.sources)

    def places(self, step: Step, stack: ExitStack) -> Iterator[Place]:
        """Every file with its place. Raises LayerError when a source does not exist."""
        found = [match for word in self.sources for match in self._matches(word, stack)]
        found = [(name, match) for name, match in found if match.files]
        into = self.target.endswith("/") or len(found) + len(self.inline) > 1 or self._is_directory(step)
        for name, match in found:
            base = self.target.rstrip("/")
            if self.parents:
                base = posixpath.join(base or "/", name)
            elif not match.is_directory and into:
                base = f"{base}/{posixpath.basename(match.name)}"
            for file in match.files:
                yield Place(file, (f"{base.rstrip('/')}/{file.name}" if file.name else base) or "/")

    def _matches(self, word: str, stack: ExitStack) -> list[tuple[str, Match]]:
        """(path that --parents keeps, match)."""
        matches = self.source.matches(word, self.exclude, stack)
        head, pivot, _ = word.partition("/./")
        cut = posixpath.normpath("/" + head).lstrip("/") if pivot else ""
        return [(match.name.removeprefix(cut).lstrip("/") if cut else match.name, match) for match in matches]

    def targets(self, step: Step) -> list[tuple[str, str]]:
        """Where here-documents go, with their contents."""
        into = self.target.endswith("/") or self._is_directory(step)
        base = self.target.rstrip("/")
        return [(f"{base}/{name}" if into else self.target, content) for name, content in self.inline]

    def _is_directory(self, step: Step) -> bool:
        return not self.link and is_directory(step.root, self.target)


def is_directory(root: str, path: str) -> bool:
    try:
        os.close(open_beneath(root, path.strip("/"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def owner(step: Step, text: str) -> tuple[int, int] | None:
    """The numbers of --chown. A numeric user without a group is its own group. Raises NotFoundError."""
    if not text:
        return None
    if text.isdigit():
        return int(text), int(text)
    try:
        return users.find(step.root, text)[:2]
    except Exception as error:
        from envkit.errors import NotFoundError

        if isinstance(error, NotFoundError):
            hint = "make it by RUN adduser before, or write its number"
            raise LayerError(error.summary, f"--chown={text}", hint) from error
        raise


def make_parents(placer: Placer, path: str, who: Sequence[int] | None) -> None:
    """The missing directories above a path, 0755 and the owner's."""
    uid, gid = who or (0, 0)
    parts = parent_of(path).strip("/").split("/")
    for length in range(1, len(parts) + 1):
        if parts[length - 1]:
            placer.make_directory("/" + "/".join(parts[:length]), 0o755, uid, gid)


def put_file(
    placer: Placer, source: str, target: str, mode: int, who: tuple[int, int], *, attributes: bool
) -> None:
    """A regular file of this machine, at target."""
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kept = {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)} if attributes else {}
        placer.put(target, descriptor, mode, *who, {name: value for name, value in kept.items() if _is_kept(name)})
    finally:
        os.close(descriptor)


def _is_kept(name: str) -> bool:
    return not name.startswith(("trusted.overlay.", "user.overlay.")) and name != "security.selinux"
