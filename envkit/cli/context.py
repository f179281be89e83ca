"""What a command is given: its options, the terminal, and the ways to the library."""

from __future__ import annotations

import os
import sys

from envkit.address import Address
from envkit.errors import InputError, NotFoundError, UsageError
from envkit.host.home import Home
from envkit.lean import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envkit.backend.base import Backend
    from envkit.cli.words import Namespace
    from envkit.config.environment import Loaded
    from envkit.config.options import LoadOptions
    from envkit.diagnostics import Diagnostic
    from envkit.events import Emit
    from envkit.spec.environment import Environment
    from envkit.views.progress import JsonProgress
    from envkit.views.terminal import Terminal


class Context:
    """One run of the command line."""

    def __init__(
        self, options: Namespace, terminal: Terminal, environ: Mapping[str, str], cwd: str
    ) -> None:
        self.options = options
        self.terminal = terminal
        self.environ = environ
        self.cwd = cwd
        self._loaded: Environment | None = None
        self._json_progress: JsonProgress | None = None

    @cached_property
    def home(self) -> Home:
        """The installation; for what runs elsewhere, with journals and generations of that place's own."""
        found = self._installation
        name = str(self.place["backend"]) if self.target else self._named or "embedded"
        if name in ("embedded", "memory"):
            return found
        from envkit.host.places import PlaceHome

        return PlaceHome(found.root, self.target or name)

    @cached_property
    def _installation(self) -> Home:
        return Home.from_environ(self.environ)

    @property
    def json(self) -> bool:
        return bool(self.options.json)

    @cached_property
    def backend(self) -> Backend:
        from envkit.backend.select import select_backend

        place = self.place
        name = self._named or "embedded"
        if place:
            name = str(place["backend"])
            if self.options.backend not in (None, "", name):
                raise UsageError(
                    f"--target {self.target} is on {name}, not on {self.options.backend}", hint="leave --backend out"
                )
        if self.options.context:
            if place or name == "embedded":
                why = f"--target {self.target} names its engine" if place else "the embedded backend has no engine"
                raise UsageError(f"--context: {why}", hint="leave --context out, or give --backend docker as well")
            place = {"context": self.options.context}
        backend = select_backend(name, self.home, place)
        if (builder := self.options.builder or self.environ.get("ENVKIT_BUILDER")) and builder != "envkit":
            if builder != "engine" or name not in ("docker", "podman"):
                raise UsageError(
                    f"--builder {builder}: the {name} backend has no such builder", hint="leave it out: envkit builds"
                )
            backend.builder = builder  # type: ignore[attr-defined]
        if self.options.dry_run:
            from envkit.reconcile.dry import Dry

            return Dry(backend)
        return backend

    @property
    def _named(self) -> str:
        return self.options.backend or self.environ.get("ENVKIT_BACKEND") or ""

    @property
    def target(self) -> str:
        """The place of `targets:` that was asked for, "" for none."""
        return self.options.target or self.environ.get("ENVKIT_TARGET") or ""

    @cached_property
    def place(self) -> Mapping[str, Any]:
        """The settings of that place, with paths that are absolute; {} for none. Raises InputError."""
        if not self.target:
            return {}
        environment = self._loaded
        if environment is None:
            from envkit.config.environment import load_environment

            try:
                environment = load_environment(self.load_options(), self._installation).environment
            except InputError:
                environment = load_environment(self.load_options(), self._installation, tolerant=True).environment
        return {**environment.targets[self.target], "directory": environment.directory}

    def load_options(self, services: Sequence[str] = (), **flags: Any) -> LoadOptions:
        """What the config room needs to know of this command line."""
        from envkit.config.options import LoadOptions

        options = self.options
        self._check_name()
        return LoadOptions(
            directory=self.cwd, files=tuple(options.file or ()), project_name=options.project_name or "",
            profiles=tuple(options.profile or ()), env_files=tuple(options.env_file or ()),
            project_directory=options.project_directory or "", services=tuple(services), environ=self.environ,
            stdin=sys.stdin,
            **{"all_resources": bool(options.all_resources), "target": self.target, "backend": self._named, **flags},
        )  # fmt: skip

    def load(self, services: Sequence[str] = (), *, write_cache: bool = False) -> Loaded:
        """The Environment of the files; its warnings are shown on stderr. Raises InputError."""
        from envkit.config.environment import load_environment

        loaded = load_environment(self.load_options(services), self._installation, write_cache=write_cache)
        self._loaded = loaded.environment
        self.show_warnings(loaded.environment.warnings)
        return loaded

    def identify(self) -> Environment:
        """The Environment for commands that only look or take away: a secret or a source that is missing is no error,
        and -p alone is enough where there are no files. Raises InputError for files that cannot be read."""
        from envkit.config.environment import load_environment
        from envkit.spec.environment import Environment

        options = self.options
        if options.project_name and not options.file:
            self._check_name()
            return Environment(options.project_name, self.cwd, (), False, {})
        try:
            return load_environment(self.load_options(), self._installation).environment
        except InputError:
            return load_environment(self.load_options(), self._installation, tolerant=True).environment

    def _check_name(self) -> None:
        """Raises UsageError for a -p that is no name (and so could be a path)."""
        name = self.options.project_name
        if name:
            from envkit.config.lookup import project_name

            if project_name(name) != name:
                raise UsageError(
                    f"-p {name!r} is not a name",
                    hint="use lower-case letters, digits, `-` and `_`, beginning with a letter or digit",
                )

    def show_warnings(self, warnings: Sequence[Diagnostic]) -> None:
        """Show what was found in the files, or what the backend cannot honour in full, on stderr."""
        if warnings and not self.json:
            from envkit.views.diagnostics import render_diagnostic

            for item in warnings:
                self.terminal.err(render_diagnostic(item, self.terminal.err_style, base=self.cwd))

    def environment_name(self) -> str:
        """The environment's name, by the files or by -p."""
        return self.identify().name

    def emit(self) -> Emit:
        """The view of events that the flags ask for."""
        from envkit.views.progress import JsonProgress, LineProgress

        progress = self.options.progress or self.environ.get("COMPOSE_PROGRESS")
        if self.json or progress == "json":
            if self._json_progress is None:
                from envkit import __version__

                stream = self.terminal.stdout if self.json else self.terminal.stderr
                self._json_progress = JsonProgress(stream, __version__)
            return self._json_progress
        if progress == "quiet":
            from envkit.events import ignore

            return ignore
        return LineProgress(self.terminal)

    def is_set(self, variable: str) -> bool:
        """Whether an environment variable says yes, as Compose reads it."""
        return self.environ.get(variable, "").lower() in ("1", "t", "true", "y", "yes", "on")

    def parallel(self) -> int:
        """How many things to do at once."""
        wanted = self.options.parallel
        if wanted is None and (text := self.environ.get("COMPOSE_PARALLEL_LIMIT")):
            if not text.lstrip("-").isdigit():
                raise UsageError(f"COMPOSE_PARALLEL_LIMIT is {text!r}", hint="it must be a number")
            wanted = int(text)
        if wanted is None:
            wanted = 0
        return wanted if wanted > 0 else max(4, 2 * (os.cpu_count() or 1))

    def addresses(self, environment: str, names: Sequence[str]) -> list[Address]:
        """The existing instances that names (`web`, `web[2]`, `service.web`) stand for; all when empty.

        Raises NotFoundError naming what is there.
        """
        rows = [item for item in self.backend.instances(environment) if item.replica]  # one-offs are nobody's replica
        existing = [Address("service", item.service, item.replica) for item in rows]
        if not names:
            return existing
        chosen: list[Address] = []
        for name in names:
            bare = name.removeprefix("service.")
            found = [item for item in existing if bare in (item.name, str(item).removeprefix("service."))]
            if not found:
                known = ", ".join(dict.fromkeys(item.name for item in existing)) or "nothing"
                raise NotFoundError(
                    "no such service here",
                    f"{name!r} has no instance in the environment {environment!r}; there is: {known}",
                    hint="envkit ps lists the instances, envkit apply creates what is missing",
                )  # fmt: skip
            chosen += [item for item in found if item not in chosen]
        return chosen

    def confirm(self, question: str, flag: str) -> bool:
        """Ask on a terminal; without one raise UsageError that names the flag to give instead."""
        if self.options.plain or self.json or not sys.stdin.isatty():
            raise UsageError(question, hint=f"give {flag} to say yes where nobody can be asked")
        self.terminal.stderr.write(f"{question} Only 'yes' is accepted: ")
        self.terminal.stderr.flush()
        return sys.stdin.readline().strip() == "yes"

    def print_json(self, value: Any) -> None:
        """One JSON value on stdout."""
        import json

        self.terminal.out(json.dumps(value, ensure_ascii=False, indent=2 if self.terminal.stdout.isatty() else None))


def files_of(error: InputError) -> set[str]:
    """The files that an InputError speaks of."""
    return {item.source.file for item in error.diagnostics if item.source}
