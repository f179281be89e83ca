"""Phase: other projects' resources are taken in (Compose Specification, 14-include.md).

Each entry is loaded as a project of its own, with its own directory for relative paths and its own `.env` (which never
wins over the including project's variables). What the including file says about a resource of the same name is merged
over it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from envkit.config.dotenv import Environ
from envkit.config.merge import TABLE, Merge, Sides, remove
from envkit.config.paths import strings_of
from envkit.config.remote import is_remote, local
from envkit.config.sources import Sources
from envkit.config.tree import Map, Origin, Seq, origin_of
from envkit.diagnostics import Diagnostics

_SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models", "images")


class Scope:
    """How one set of files is read. directory: absolute, what `include` and `extends` paths are relative to; relative:
    what other paths are resolved against; environ: its variables; including: the files on the way here."""

    def __init__(self, directory: str, relative: str, environ: Environ, including: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.relative = relative
        self.environ = environ
        self.including = including


Load = Callable[[list[str], Scope], Map]


class Include:
    """load: reads a set of files as one document, without the phases that need the whole project."""

    def __init__(self, load: Load, merge: Merge, sources: Sources, problems: Diagnostics) -> None:
        self.load = load
        self.merge = merge
        self.sources = sources
        self.problems = problems

    def document(self, document: Map, scope: Scope, resets: list[tuple[str, ...]]) -> None:
        """Replace the document's `include` by what it names, in place. resets: keys it marks with `!reset`."""
        entries = document.get("include")
        if entries is None:
            return
        if not isinstance(entries, Seq):
            origin = document.at.get("include")
            self.problems.error("include", "`include` must be a list", "", origin.position if origin else None)
            return
        for index, entry in enumerate(entries):
            found = self._entry(entry, origin_of(entries, index), scope)
            if found is not None:
                self._take(found, document, resets)
        document.drop("include")

    def _entry(self, entry: object, origin: Origin | None, scope: Scope) -> Map | None:
        at = origin.position if origin else None
        settings = entry if isinstance(entry, Map) else Map()
        names = strings_of(settings.get("path") if isinstance(entry, Map) else entry)
        if not names:
            self.problems.error("include", "An entry of `include` names no file", "", at, "write a path, or `path:`")
            return None
        names = [
            local(name, scope.environ.values, self.sources, self.problems, at) if is_remote(name) else name
            for name in names
        ]
        if not all(names):
            return None
        files = [os.path.normpath(os.path.join(scope.directory, name)) for name in names]
        for file in files:
            if not self.sources.is_file(file):
                self.problems.error("include-missing", "The included file does not exist", file, at)
                return None
        if files[0] in scope.including:
            chain = " -> ".join([*scope.including, files[0]])
            self.problems.error("include-cycle", "Files include each other in a circle", chain, at)
            return None
        project = settings.get("project_directory")
        if isinstance(project, str) and project:
            directory = os.path.normpath(os.path.join(scope.directory, project))
            if self.sources.look(directory) != "directory":  # Compose takes the folder around a missing one
                directory = os.path.dirname(directory)
        else:
            directory = os.path.dirname(files[0])
        environ = self._environ(settings, directory, scope, origin)
        relative = os.path.relpath(directory, scope.directory)
        return self.load(files, Scope(directory, relative, environ, scope.including))

    def _environ(self, settings: Map, directory: str, scope: Scope, origin: Origin | None) -> Environ:
        paths = [os.path.join(scope.directory, name) for name in strings_of(settings.get("env_file"))]
        if not paths and self.sources.is_file(os.path.join(directory, ".env")):
            paths = [os.path.join(directory, ".env")]
        environ = scope.environ.copy()
        at = origin.position if origin else None
        environ.load([path for path in paths if path != "/dev/null"], self.sources, self.problems, at)
        return environ

    def _take(self, found: Map, document: Map, resets: list[tuple[str, ...]]) -> None:
        for path in resets:
            remove(found, path)
        for key in _SECTIONS:
            section = found.get(key)
            if not isinstance(section, Map):
                continue
            mine = document.get(key)
            if not isinstance(mine, Map):
                document[key] = mine = Map()
            rules = TABLE.at(key)
            for name, value in section.items():
                if name not in mine:
                    mine.put(name, value, section.at.get(name))
                    continue
                sides = Sides(
                    value, section.at.get(name), mine[name], mine.at.get(name), f"{key}.{name}",
                    rules.at(name) if rules else None)  # fmt: skip
                mine.put(name, *self.merge.values(sides))
