"""Phase: `env_file:` and `label_file:` are read into `environment:` and `labels:`.

`environment:` wins over `env_file:`, a later env file over an earlier one; a name without a value is taken from the
project's variables, and stays null when it is not set there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from envkit.config import dotenv
from envkit.config.sources import ABSENT, Sources
from envkit.config.tree import Map, Origin, Seq
from envkit.diagnostics import Diagnostics, Position

_FORMATS = ("", "raw")
_Found = dict[str, tuple[str, Origin]]


class EnvFiles:
    """Reads the files of services. directory: the working directory, for paths that were left relative."""

    def __init__(self, directory: str, sources: Sources, problems: Diagnostics) -> None:
        self.directory = directory
        self.sources = sources
        self.problems = problems

    def resolve(self, service: Map, name: str, environ: Mapping[str, str]) -> None:
        """Complete the environment of one service of the canonical model, in place."""
        own = service.get("environment")
        made = Map()
        if isinstance(own, Map):
            for key, value in own.items():
                made.put(key, environ.get(key) if value is None else value, own.at.get(key))
        files: Seq = service.get("env_file") or Seq()
        found: _Found = {}

        def lookup(variable: str) -> str | None:
            value = environ.get(variable)
            return made.get(variable) if value is None else value

        for index, entry in enumerate(files):
            at = _position(entry.at.get("path") or files.at[index])
            path = self._existing(entry.get("path", ""), f"services.{name}.env_file", entry.get("required", True), at)
            if path is None:
                continue
            if entry.get("format", "") not in _FORMATS:
                self.problems.error(
                    "env-file-format", "The env file's format is unknown", f"`{entry['format']}`", at, "known: raw")
                continue
            known = {key: value for key, (value, _) in found.items()}
            raw = entry.get("format") == "raw"
            read = dotenv.read(path, lookup, self.sources, self.problems, raw=raw, at=at, known=known)
            for key, (value, place) in read.items():
                found[key] = (value, place.over(*found[key]) if key in found else place)
        if found or made:
            service.put(
                "environment", _over(made, found), service.at.get("environment") or service.at.get("env_file")
            )
        service.drop("env_file")

    def resolve_labels(self, service: Map, name: str) -> None:
        """Complete the labels of one service, in place."""
        files: Seq = service.get("label_file") or Seq()
        found: _Found = {}
        for index, written in enumerate(files):
            at = _position(files.at[index])
            path = self._existing(written, f"services.{name}.label_file", True, at)
            if path is not None:
                known = {key: value for key, (value, _) in found.items()}
                found.update(dotenv.read(path, known.get, self.sources, self.problems, at=at))
        if found:
            own = service.get("labels")
            merged = _over(own if isinstance(own, Map) else Map(), found)
            service.put("labels", merged, service.at.get("labels") or service.at.get("label_file"))

    def _existing(self, path: str, key: str, required: bool, at: Position | None) -> str | None:
        """The file's absolute path, None when there is none."""
        full = os.path.normpath(os.path.join(self.directory, path))
        if self.sources.look(full) != ABSENT:
            return full
        if required:
            hint = "create it" + (", or write `required: false`" if key.endswith("env_file") else "")
            self.problems.error("file-missing", "A file does not exist", f"`{key}`: {path}", at, hint)
        return None


def _position(origin: Origin | None) -> Position | None:
    return origin.position if origin else None


def _over(own: Map, found: _Found) -> Map:
    """What a service says itself, over what its files say."""
    merged = Map()
    for key in sorted(found.keys() | own.keys()):
        if key in own:
            place = own.at.get(key)
            merged.put(key, own[key], place.over(*found[key]) if key in found and place is not None else place)
        else:
            merged.put(key, *found[key])
    return merged
