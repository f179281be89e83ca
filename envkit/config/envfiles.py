"""Phase: `env_file:` and `label_file:` are read into `environment:` and `labels:`.

`environment:` wins over `env_file:`, a later env file over an earlier one; a name without a value is taken from the
project's variables, and stays null when it is not set there.
"""

from __future__ import annotations

from collections.abc import Mapping

from envkit.config import dotenv
from envkit.config.sources import ABSENT, Sources
from envkit.config.tree import Map, Origin
from envkit.diagnostics import Diagnostics

_FORMATS = ("", "raw")


def resolve(service: Map, name: str, environ: Mapping[str, str], sources: Sources, problems: Diagnostics) -> None:
    """Complete the environment of one service of the canonical model, in place."""
    own = service.get("environment")
    made = Map()
    if isinstance(own, Map):
        for key, value in own.items():
            made.put(key, environ.get(key) if value is None else value, own.at.get(key))
    files = service.get("env_file") or ()
    found: dict[str, tuple[str, Origin]] = {}

    def lookup(variable: str) -> str | None:
        value = environ.get(variable)
        return made.get(variable) if value is None else value

    for index, entry in enumerate(files):
        path = entry.get("path", "")
        origin = entry.at.get("path") or files.at[index]
        at = origin.position if origin else None
        if sources.look(path) == ABSENT:
            if entry.get("required", True):
                problems.error(
                    "env-file-missing", "The env file does not exist", f"`services.{name}.env_file`: {path}", at,
                    "create it, or write `required: false`")  # fmt: skip
            continue
        if entry.get("format", "") not in _FORMATS:
            problems.error(
                "env-file-format", "The env file's format is unknown", f"`{entry['format']}`", at, "known: raw")
            continue
        known = {key: value for key, (value, _) in found.items()}
        raw = entry.get("format") == "raw"
        for key, (value, place) in dotenv.read(path, lookup, sources, problems, raw=raw, at=at, known=known).items():
            found[key] = (value, place.over(*found[key]) if key in found else place)
    if not found and not made:
        service.drop("environment")
    else:
        merged = Map()
        for key in sorted(found.keys() | made.keys()):
            if key in made:
                place = made.at.get(key)
                if key in found and place is not None:
                    place = place.over(*found[key])
                merged.put(key, made[key], place)
            else:
                merged.put(key, *found[key])
        service.put("environment", merged, service.at.get("environment") or service.at.get("env_file"))
    service.drop("env_file")


def resolve_labels(service: Map, name: str, sources: Sources, problems: Diagnostics) -> None:
    """Complete the labels of one service, in place."""
    files = service.get("label_file") or ()
    if not files:
        service.drop("label_file")
        return
    labels = Map()
    for index, path in enumerate(files):
        origin = files.at[index]
        at = origin.position if origin else None
        if sources.look(path) == ABSENT:
            problems.error(
                "label-file-missing", "The label file does not exist", f"`services.{name}.label_file`: {path}", at)
            continue
        for key, (value, place) in dotenv.read(path, lambda _: None, sources, problems, at=at).items():
            labels.put(key, value, place)
    own = service.get("labels")
    if isinstance(own, Map):
        for key, value in own.items():
            labels.put(key, value, own.at.get(key))
    service.put("labels", Map(), service.at.get("labels") or service.at.get("label_file"))
    for key in sorted(labels):
        service["labels"].put(key, labels[key], labels.at.get(key))
    service.drop("label_file")
