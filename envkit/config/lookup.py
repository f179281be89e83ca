"""Which files make up the project: `-f`, COMPOSE_FILE, or the first of the usual names in this directory or a parent;
the env files beside them; and the project's name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from envkit.config.dotenv import Environ
from envkit.config.options import LoadOptions
from envkit.config.remote import is_remote, local
from envkit.config.sources import Sources
from envkit.diagnostics import Diagnostics

FAMILIES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("envkit.yaml", "envkit.yml"), ("envkit.override.yaml", "envkit.override.yml")),
    (
        ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"),
        (
            "compose.override.yml", "compose.override.yaml", "docker-compose.override.yml",
            "docker-compose.override.yaml",
        ),
    ),
)  # fmt: skip
_IN_NAMES = "abcdefghijklmnopqrstuvwxyz0123456789_-"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")


class Located:
    """The files of a project. files: absolute, `-` is stdin; directory: what relative paths are relative to;
    env_files: those that were read into environ; named: the project's name, if it was set outside the files; folder:
    the directory whose name it has otherwise."""

    def __init__(
        self, files: list[str], directory: str, environ: Environ, env_files: list[str], named: str, folder: str
    ) -> None:
        self.folder = folder
        self.files = files
        self.directory = directory
        self.environ = environ
        self.env_files = env_files
        self.named = named


def locate(options: LoadOptions, sources: Sources, problems: Diagnostics) -> Located:
    """Find the files. A missing one is a problem, as is finding none."""
    environ = Environ(options.environ)
    directory = os.path.abspath(options.directory)
    project = os.path.join(directory, options.project_directory) if options.project_directory else ""
    project = os.path.abspath(project) if project else ""
    files = [name if name == "-" else os.path.join(directory, name) for name in options.files]
    remote = [name for name in options.files if is_remote(name)]

    def working() -> str:
        here = () if remote and options.files[0] == remote[0] else files
        return project or next((os.path.dirname(os.path.abspath(file)) for file in here if file != "-"), directory)

    env_files = _env_files(options, environ, directory, working(), sources)
    environ.load(env_files, sources, problems)
    if not files and environ.get("COMPOSE_FILE") is not None:
        separator = environ.get("COMPOSE_PATH_SEPARATOR") or ":"
        names = (environ.get("COMPOSE_FILE") or "").split(separator)
        files = [os.path.join(directory, name) for name in names]
    if not files:
        files = _search(project or directory, sources, problems)
    beside = _env_files(options, environ, directory, working(), sources)
    if beside != env_files:
        environ.load(beside, sources, problems)
        env_files += beside
    if not files:
        known = ", ".join(name for family, _ in FAMILIES for name in family)
        problems.error(
            "no-file", "No configuration file was found", f"none of {known} is in {directory} or a directory above it",
            None, "make one with `envkit init`, or name it with -f")  # fmt: skip
    folder = place = working()
    if remote:
        found = {name: local(name, environ.values, sources, problems) for name in remote}
        files = [found.get(name, file) for name, file in zip(options.files, files, strict=True)]
        place = project or os.path.dirname(found[remote[0]])
    files = [file if file == "-" else os.path.abspath(file) for file in files]
    named = options.project_name or environ.get("COMPOSE_PROJECT_NAME") or ""
    return Located(files, place, environ, env_files, named, folder)


def _env_files(
    options: LoadOptions, environ: Environ, directory: str, working: str, sources: Sources
) -> list[str]:
    names = list(options.env_files)
    if not names and options.environ.get("COMPOSE_ENV_FILES"):
        names = options.environ["COMPOSE_ENV_FILES"].split(",")
    if names:
        return [os.path.join(directory, name) for name in names]
    if environ.get("COMPOSE_DISABLE_ENV_FILE") in _TRUE:
        return []
    path = os.path.join(working, ".env")
    return [path] if sources.is_file(path) else []


def _search(directory: str, sources: Sources, problems: Diagnostics) -> list[str]:
    while True:
        for names, overrides in FAMILIES:
            found = [name for name in names if sources.is_file(os.path.join(directory, name))]
            if not found:
                continue
            _warn_several(found, directory, problems)
            over = [name for name in overrides if sources.is_file(os.path.join(directory, name))]
            _warn_several(over, directory, problems)
            return [os.path.join(directory, name) for name in (found[0], *over[:1])]
        parent = os.path.dirname(directory)
        if parent == directory:
            return []
        directory = parent


def _warn_several(found: list[str], directory: str, problems: Diagnostics) -> None:
    if len(found) > 1:
        problems.warning(
            "several-files", "Several files could be meant", f"{', '.join(found)} in {directory}: {found[0]} is used",
            None, "name the one you mean with -f")  # fmt: skip


def is_hardened(file: str) -> bool:
    """Whether the file's name asks for envkit's own defaults (`envkit.yaml`, `envkit.prod.yml`)."""
    stem, _, suffix = os.path.basename(file).rpartition(".")
    return suffix in ("yaml", "yml") and (stem == "envkit" or (stem.startswith("envkit.") and stem != "envkit."))


def project_name(text: str) -> str:
    """text as a project name: lower case, only a-z, 0-9, `_` and `-`, beginning with a letter or digit."""
    return "".join(char for char in text.lower() if char in _IN_NAMES).lstrip("_-")


def profiles(options: LoadOptions, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The active profiles: `--profile`, else COMPOSE_PROFILES, which when empty is the profile without a name."""
    if options.profiles:
        return options.profiles
    return tuple(part.strip() for part in environ.get("COMPOSE_PROFILES", "").split(","))
