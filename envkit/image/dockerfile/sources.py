"""Where COPY, ADD and bind mounts read from: the context, a further context, a stage, an image.

Every path is resolved as if the source's top were `/`, so that neither `..` nor a symbolic link leads out of it.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from envkit.errors import NotFoundError
from envkit.host.beneath import open_beneath
from envkit.host.ignore import Ignore, below, expression
from envkit.host.tree import StatCache, walk
from envkit.image.placing import LayerError
from envkit.values import field, value

_WILD = re.compile(r"[*?\[]")


class File(NamedTuple):
    """One entry below a source. path: on this machine; name: below the source ("" for itself)."""

    path: str
    name: str
    info: os.stat_result


class Match(NamedTuple):
    """One source that a word means. name: its path below the top; files: itself first, then what is in it."""

    name: str
    files: list[File]

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.files[0].info.st_mode)


@value
class Source:
    """A tree to read from. root: its top on this machine; name: for people. foreign: files keep owners and attributes
    (a stage, an image); those of a context become root's. cache: digests of files that are not read anew."""

    root: str
    name: str
    ignore: Ignore = field(default_factory=Ignore)
    foreign: bool = False
    cache: StatCache | None = None

    def matches(self, word: str, exclude: Iterable[str], stack: ExitStack) -> list[Match]:
        """What a word of COPY means, a pattern possibly several. Raises LayerError when there is no such file."""
        clean = posixpath.normpath("/" + word).lstrip("/")
        if not _WILD.search(clean):
            return [self._match(clean.replace("\\", ""), tuple(exclude), stack)]
        names = sorted(self._expand(clean.split("/"), ""))
        return [self._match(name, tuple(exclude), stack) for name in names if not self.ignore.matches(name)]

    def _expand(self, parts: list[str], place: str) -> Iterator[str]:
        if not parts:
            yield place
            return
        part, rest = parts[0], parts[1:]
        if not _WILD.search(part):
            here = posixpath.join(place, part.replace("\\", ""))
            if self._exists(here):
                yield from self._expand(rest, here)
            return
        if part == "**":
            yield from self._expand(rest, place)
        pattern = re.compile(expression("*" if part == "**" else part))
        for name, is_directory in self._names(place):
            if not pattern.match(name):
                continue
            here = posixpath.join(place, name)
            if part == "**":
                if is_directory:
                    yield from self._expand(parts, here)
                elif not rest:
                    yield here
            elif not rest or is_directory:
                yield from self._expand(rest, here)

    def _exists(self, name: str) -> bool:
        try:
            os.close(open_beneath(self.root, name, os.O_PATH | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def _names(self, place: str) -> list[tuple[str, bool]]:
        try:
            descriptor = open_beneath(self.root, place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            with os.scandir(descriptor) as entries:
                return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        finally:
            os.close(descriptor)

    def _match(self, name: str, exclude: tuple[str, ...], stack: ExitStack) -> Match:
        try:
            descriptor = open_beneath(self.root, name, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            detail = f"{name or '.'} is not in {self.name}"
            raise LayerError("what is to be copied does not exist", detail, self._near(name)) from error
        stack.callback(os.close, descriptor)
        path = f"/proc/self/fd/{descriptor}"
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if name and self.ignore.matches(name):
                hint = "take its pattern out of the ignore file, or add a line that takes it back: !" + name
                raise LayerError("what is to be copied is left out by the ignore file", name, hint)
            own = Ignore(exclude)
            files = [] if own.matches(posixpath.basename(name)) else [File(path, "", os.fstat(descriptor))]
            return Match(name, files or [])
        real = os.path.realpath(path)
        top = os.path.realpath(self.root)
        inside = os.path.relpath(real, top) if real != top else ""
        rules = below(self.ignore, inside, exclude)
        return Match(name, [File(os.path.join(real, entry.path) if entry.path else real, entry.path, entry.info)
                            for entry in walk(real, rules)])  # fmt: skip

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        parent, _, last = name.rpartition("/")
        close = get_close_matches(last, [each for each, _ in self._names(parent)], 1)
        return f"did you mean {posixpath.join(parent, close[0])}?" if close else "paths are relative to its top"

    def digest(self, file: File) -> str:
        """What is in a file or link, "" for anything else."""
        mode = file.info.st_mode
        if stat.S_ISLNK(mode):
            return os.readlink(file.path)
        if not stat.S_ISREG(mode):
            return ""
        if self.cache is not None and not file.path.startswith("/proc/"):
            return self.cache.digest(file.path, file.info)
        import hashlib

        with open(file.path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()


def not_here(name: str, kind: str) -> NotFoundError:
    """The error for an image that a Dockerfile names and nobody has."""
    return NotFoundError(f"the {kind} that is named is not there", name, "see `envkit image ls`")
