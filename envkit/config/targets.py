"""Phase: what a place of `targets:` injects. `--target NAME` chooses it.

    environment, env_file   variables for interpolation. The process's own and those of --env-file win over them, and
                            they win over .env; `environment` wins over `env_file`, a later file over an earlier one
    profiles                enabled besides the others
    overrides               a document that is merged last, by Compose's rules (`!reset` and `!override` as well)

Everything else (backend, host, registry …) says where it runs and is read by `backend.select`. What places that are
not chosen hold is checked against the schema and otherwise left alone: no variable in it has to be set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from envkit.config import dotenv
from envkit.config.interpolate import Interpolator
from envkit.config.merge import Merge
from envkit.config.sources import ABSENT
from envkit.config.suggest import did_you_mean, one_of
from envkit.config.tree import Map, Origin, Seq, clone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.config.lookup import Located
    from envkit.config.options import LoadOptions
    from envkit.config.sources import Sources
    from envkit.diagnostics import Diagnostics

INJECTED = frozenset({"environment", "env_file", "profiles", "overrides"})
_SECTIONS = frozenset({"services", "networks", "volumes", "secrets", "configs", "images"})
_Texts = Mapping[str, list[tuple["Any", Origin]]]


class Chosen:
    """What was chosen: the documents to merge last, each with its file, and the profiles. Nothing by default."""

    def __init__(self, name: str = "", settings: Map | None = None) -> None:
        self.name = name
        self.settings = settings
        self.overrides: list[tuple[Map, str]] = []
        self.profiles: tuple[str, ...] = ()

    def put(self, document: Map) -> None:
        """Let the finished document have the settings as they are meant, variables replaced."""
        found = document.get("targets")
        if self.settings is not None and isinstance(found, Map):
            found.put(self.name, self.settings, found.at.get(self.name))


class Aside:
    """The `targets:` of a document while its variables are replaced: those of other places need not be set."""

    def __init__(self, found: Any, origin: Origin | None) -> None:
        self._found = found
        self._origin = origin

    def restore(self, document: Map) -> None:
        if self._found is not None:
            document.put("targets", self._found, self._origin)


def set_aside(document: Map) -> Aside:
    """Take `targets:` out of a document; its key keeps its place among the others."""
    aside = Aside(document.get("targets"), document.at.get("targets"))
    if document.get("targets") is None:
        document.drop("targets")
    else:
        document["targets"] = None
    return aside


def settings_of(targets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """name -> where and how it runs there, without what it injects: plain data."""
    return {
        name: {key: value for key, value in (target or {}).items() if key not in INJECTED and not key.startswith("x-")}
        for name, target in targets.items()
    }  # fmt: skip


def choose(
    options: LoadOptions, texts: _Texts, located: Located, sources: Sources, problems: Diagnostics
) -> Chosen:
    """The chosen place of the parsed files: its variables are added to located.environ. Problems: an unknown name, an
    env file that is missing."""
    name = options.target
    if not name:
        return Chosen()
    merged, overrides = _merged(texts, name, problems)
    settings = merged.get(name)
    if name not in merged:
        problems.error(
            "unknown-target", "There is no such target", f"`{name}` is not below `targets:`",
            next((origin.key_position for origin in merged.at.values()), None),
            did_you_mean(name, merged) or one_of(merged) or "declare it: `targets: {NAME: {backend: …, host: …}}`",
        )  # fmt: skip
        return Chosen()
    if not isinstance(settings, Map):
        return Chosen(name)  # the schema says what is wrong with it
    if not options.no_interpolate:
        Interpolator(located.environ, problems).tree(settings)
    _inject(settings, options, located, sources, problems)
    chosen = Chosen(name, settings)
    chosen.overrides = overrides
    profiles = settings.get("profiles")
    chosen.profiles = tuple(str(item) for item in profiles) if isinstance(profiles, Seq) else ()
    return chosen


def _merged(texts: _Texts, name: str, problems: Diagnostics) -> tuple[Map, list[tuple[Map, str]]]:
    """All `targets:` of the files as one, and the overrides of the place called name, file by file."""
    merged = Map()
    overrides: list[tuple[Map, str]] = []
    for file, documents in texts.items():
        for root, _ in documents:
            found = root.get("targets") if isinstance(root, Map) else None
            if not isinstance(found, Map):
                continue
            copy = clone(found)
            chosen = copy.get(name)
            if isinstance(chosen, Map):
                over = chosen.get("overrides")
                chosen.drop("overrides")
                if isinstance(over, Map):
                    overrides.append((_document(over), file))
            Merge(problems).mappings(merged, copy, "targets", None)
    return merged, overrides


def _document(overrides: Map) -> Map:
    """The overrides as a document: the sections alone; what else is there, the schema refuses."""
    for key in [key for key in overrides if key not in _SECTIONS or not isinstance(overrides[key], Map)]:
        overrides.drop(key)
    return overrides


def _inject(
    settings: Map, options: LoadOptions, located: Located, sources: Sources, problems: Diagnostics
) -> None:
    """Add the place's variables to those that interpolation sees."""
    environ = located.environ
    given = _given_by_flag(options)
    kept = {
        name for name in environ.values
        if (origin := environ.sources.get(name)) is None or (given and origin.file in located.env_files)
    }  # fmt: skip
    found: dict[str, tuple[str, Origin]] = {}

    def lookup(name: str) -> str | None:
        return found[name][0] if name in found and name not in kept else environ.get(name)

    for path, at in _files(settings):
        full = os.path.normpath(os.path.join(located.directory, os.path.expanduser(path)))  # noqa: PTH111 strings
        if sources.look(full) == ABSENT:
            problems.error(
                "file-missing", "A file does not exist", f"`targets.{options.target}.env_file`: {path}",
                at.position if at else None, "create it, or correct the path",
            )  # fmt: skip
            continue
        found |= dotenv.read(full, lookup, sources, problems, at=at.position if at else None)
    found |= _written(settings.get("environment"), settings.at.get("environment"))
    for name, (value, origin) in found.items():
        if name in kept:
            environ.shadowed.setdefault(name, []).append((value, origin))
            continue
        if (before := environ.sources.get(name)) is not None:
            environ.shadowed.setdefault(name, []).append((environ.values[name], before))
        environ.values[name], environ.sources[name] = value, origin


def _given_by_flag(options: LoadOptions) -> bool:
    return bool(options.env_files or options.environ.get("COMPOSE_ENV_FILES"))


def _files(settings: Map) -> list[tuple[str, Origin | None]]:
    written = settings.get("env_file")
    if isinstance(written, str):
        return [(written, settings.at.get("env_file"))]
    if isinstance(written, Seq):
        return [(item, written.at[index]) for index, item in enumerate(written) if isinstance(item, str)]
    return []


def _written(environment: Any, at: Origin | None) -> dict[str, tuple[str, Origin]]:
    """`environment:` as a mapping or a list; a name without a value is the process's own."""
    found: dict[str, tuple[str, Origin]] = {}
    if isinstance(environment, Map):
        for name, value in environment.items():
            origin = environment.at.get(name) or at
            if value is not None and origin is not None:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                found[name] = (text, origin)
    elif isinstance(environment, Seq):
        for index, item in enumerate(environment):
            name, equals, value = str(item).partition("=")
            origin = environment.at[index] or at
            if equals and origin is not None:
                found[name] = (value, origin)
    return found
