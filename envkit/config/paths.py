"""Phase: relative paths become absolute, `~` the user's home (relative to the project directory, 14-include.md)."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from envkit.config.rules import Place, Rewrite, Rules, rewrite
from envkit.config.tree import Map, Seq

_REMOTE_CONTEXTS = ("https://", "http://", "git://", "github.com/", "git@")


class Paths:
    """Resolves against directory (which may itself be relative: `extends` and `include` resolve in two steps)."""

    def __init__(self, directory: str, environ: Mapping[str, str]) -> None:
        self.directory = directory
        self.home = environ.get("HOME", "")
        service: dict[str, Rewrite] = {
            "build.context": self._context, "build.additional_contexts.*": self._context,
            "env_file.*.path": self._file, "label_file.*": self._file, "extends.file": self._file,
            "develop.watch.*.path": self._watched, "volumes.*": self._volume,
            "pre_start.*.env_file.*.path": self._file, "pre_start.*.volumes.*": self._volume,
        }  # fmt: skip
        self.rules = Rules.of(
            {f"services.*.{path}": rule for path, rule in service.items()}
            | {"configs.*.file": self._path, "secrets.*.file": self._path, "volumes.*": self._driver_options}
        )

    def document(self, document: Map) -> None:
        """Apply the table, in place."""
        rewrite(document, self.rules)

    def absolute(self, path: str) -> str:
        """path below the directory, cleaned; an absolute one and a drive's stay as they are."""
        path = self._expand(path)
        if path.startswith("/") or is_windows(path):
            return path
        return posixpath.normpath(posixpath.join(self.directory, path))

    def _expand(self, path: str) -> str:
        if path.startswith("~") and self.home:
            return posixpath.normpath(posixpath.join(self.home, path[1:].lstrip("/")))
        return path

    def _path(self, value: object, _: Place) -> object:
        return self.absolute(value) if isinstance(value, str) else value

    def _file(self, value: object, _: Place) -> object:
        return self.absolute(value) if isinstance(value, str) and value else value

    def _context(self, value: object, _: Place) -> object:
        if not isinstance(value, str) or "://" in value or value.startswith((*_REMOTE_CONTEXTS, "service:")):
            return value
        return self.absolute(value) if value else value

    def _watched(self, value: object, _: Place) -> object:
        if not isinstance(value, str) or not value:
            return value
        path = self.absolute(value)
        return os.path.realpath(path) if path.startswith("/") and os.path.exists(path) else path

    def _volume(self, value: object, _: Place) -> object:
        if isinstance(value, Map) and value.get("type") == "bind" and isinstance(value.get("source"), str):
            value["source"] = self.absolute(value["source"])
        return value

    def _driver_options(self, value: object, _: Place) -> object:
        """The local driver's `o: bind` is a bind mount of `device`."""
        options = value.get("driver_opts") if isinstance(value, Map) and value.get("driver") == "local" else None
        if isinstance(options, Map) and options.get("o") == "bind" and isinstance(options.get("device"), str):
            options["device"] = self.absolute(options["device"])
        return value


def is_windows(path: str) -> bool:
    """`C:\\…`, `C:/…` or a `\\\\` path."""
    return path.startswith("\\\\") or (len(path) > 2 and path[0].isalpha() and path[1] == ":" and path[2] in "\\/")


def strings_of(value: object) -> list[str]:
    """The strings of a value that is a string or a list of them."""
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, Seq) else []
