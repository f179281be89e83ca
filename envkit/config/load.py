"""YAML files -> Model. The phases, in this order (a test holds PHASES against this list and the code):

    of the project     locate       the files, `.env`, the project's name
    of each document   parse        text to tree, with positions
    of the project     target       what the chosen place of `targets:` injects
    of each document   interpolate  variables and casts
                       include      other projects taken in
                       extends      base services merged in
                       merge        over the documents before it, `!reset` and `!override` first
                       unique       items with the same key
                       validate     against the JSON schema
                       canonical    short syntaxes to long ones, then unique again
    of the project     defaults     what services leave out
                       paths        relative to absolute
                       normalize    implicit networks, dependencies, names
                       bind         types, zeros left out: the canonical model
                       profiles     disabled services set aside
                       environment  env files and label files
                       consistency  references, exclusions, cycles
                       select       named services, unused resources

Problems are collected; a phase that cannot work with what the one before it left raises them all.
"""

from __future__ import annotations

import os

from envkit.config import consistency, envfiles, lookup, profiles
from envkit.config.bind import bind
from envkit.config.canonical import Canonical
from envkit.config.extends import Extends
from envkit.config.fields import DOCUMENT
from envkit.config.include import Include, Scope
from envkit.config.interpolate import Interpolator
from envkit.config.merge import Merge, remove, resets
from envkit.config.model import Model
from envkit.config.normalize import normalize, set_defaults
from envkit.config.options import LoadOptions
from envkit.config.parse import parse
from envkit.config.paths import Paths
from envkit.config.remote import is_remote, local
from envkit.config.sources import Sources
from envkit.config.targets import choose, set_aside
from envkit.config.tree import Map, Origin, Origins, Seq, clone
from envkit.config.unique import enforce
from envkit.config.validate import check
from envkit.diagnostics import Diagnostic, Diagnostics, Position

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from envkit.config.survey import Omit

PHASES = (
    "locate", "parse", "target", "interpolate", "include", "extends", "merge", "unique", "validate", "canonical",
    "defaults", "paths", "normalize", "bind", "profiles", "environment", "consistency", "select",
)  # fmt: skip
_SECTIONS = ("services", "networks", "volumes", "secrets", "configs", "models", "images")


def load_model(options: LoadOptions, omit: Omit | None = None, *, sources: Sources | None = None) -> Model:
    """The canonical model of a project. Raises InputError with every diagnostic.

    omit: takes values out of the files' trees before anything is made of them. sources: where files are read.
    With `no_interpolate` it is the tree before `bind`: values have no final types yet while they hold `${…}`.
    """
    return _Loader(options, omit, sources).model()


class _Loader:
    def __init__(self, options: LoadOptions, omit: Omit | None, sources: Sources | None = None) -> None:
        self.options = options
        self.omit = omit
        self.problems = Diagnostics()
        self.sources = sources or Sources()
        self.located = lookup.locate(options, self.sources, self.problems)
        self.problems.raise_if_errors()
        self.merge = Merge(self.problems)
        self.canonical = Canonical(self.problems, lenient=options.no_interpolate)
        self.include = Include(self.documents, self.merge, self.sources, self.problems)
        self.hardened = bool(self.located.files) and lookup.is_hardened(self.located.files[0])
        self.extended = self.hardened  # whether a file has been read that may use envkit's own keys
        self.texts: dict[str, list[tuple[Any, Origin]]] = {}
        self.bases: dict[tuple[str, str, int], Map | None] = {}
        self.interpolators: dict[int, Interpolator] = {}
        self.doubtful: list[Diagnostic] = []  # about texts of one file that another may replace
        self.profiles: tuple[str, ...] = ()  # those of the chosen target

    def model(self) -> Model:
        document, name = self.project()
        if not self.options.no_normalize:
            environ = {} if self.options.no_interpolate else self.located.environ.values
            normalize(document, name, environ, self.merge)
        document.put("name", name, document.at.get("name"))
        if self.options.no_interpolate:
            return self._finished(bind(document, {}, self.problems), name)
        model = bind(document, DOCUMENT, self.problems)
        self._better_words()
        model.setdefault("services", Map())
        self.problems.raise_if_errors()
        active = (*lookup.profiles(self.options, self.located.environ.values), *self.profiles)
        active, disabled = profiles.split(model, active, self.options.services)
        self._environment(model["services"])
        if not self.options.no_consistency:
            checks = consistency.Consistency(model, disabled, self.problems)
            checks.check()
            checks.names()
        models = model.pop("models", Map())  # Compose's JSON has none
        profiles.select(model, self.options.services, disabled, self.problems)
        self.problems.raise_if_errors()
        used = {name for service in model["services"].values() for name in service.get("models") or ()}
        for name in [name for name in models if name not in used]:
            models.drop(name)
        if not self.options.all_resources:
            profiles.drop_unused(model)
        return self._finished(model, name, active, disabled, models)

    def _finished(
        self, model: Map, name: str, active: tuple[str, ...] = (), disabled: Map | None = None,
        models: Map | None = None,
    ) -> Model:  # fmt: skip
        return Model(
            model, name, self.located.directory, tuple(self.located.files), hardened=self.hardened,
            profiles=tuple(filter(None, active)), disabled=disabled, environment=self.located.environ,
            warnings=tuple(self.problems), sources=self.sources, models=models, options=self.options,
        )  # fmt: skip

    def project(self) -> tuple[Map, str]:
        """All files as one document with absolute paths, and the project's name."""
        located = self.located
        for file in located.files:
            self._texts(file)
        chosen = choose(self.options, self.texts, located, self.sources, self.problems)
        self.problems.raise_if_errors()
        name = self._name()
        self.problems.raise_if_errors()
        located.environ.values["COMPOSE_PROJECT_NAME"] = name
        located.environ.sources.setdefault("COMPOSE_PROJECT_NAME", None)
        self.profiles = chosen.profiles
        scope = Scope(located.directory, located.directory, located.environ)
        document = self.documents(located.files, scope, chosen.overrides)
        chosen.put(document)
        if not document and not self.problems.has_errors:
            place = Position(located.files[0], 1, 1)
            names = ", ".join(located.files)
            self.problems.error("empty-file", "The file is empty", names, place, "declare `services:`")
        self.problems.raise_if_errors()
        return document, name

    def documents(self, files: list[str], scope: Scope, last: Sequence[tuple[Map, str]] = ()) -> Map:
        """A set of files merged in order, then further documents with the file that each is in; the phases up to
        `paths`."""
        document = Map()
        for file in files:
            within = Scope(scope.directory, scope.relative, scope.environ, (*scope.including, file))
            for root, origin in self._texts(file):
                tree = self._root(root, origin, file)
                if tree is not None:
                    document = self._document(tree, document, file, within)
        for tree, file in last:
            within = Scope(scope.directory, scope.relative, scope.environ, (*scope.including, file))
            document = self._document(tree, document, file, within)
        set_defaults(document)
        if not self.options.no_path_resolution or scope.relative != self.located.directory:
            Paths(scope.relative, self.located.environ.values).document(document)
        return document

    def _document(self, tree: Map, base: Map, file: str, scope: Scope) -> Map:
        aside = set_aside(tree)
        if not self.options.no_interpolate:
            self._interpolator(scope).tree(tree)
        aside.restore(tree)
        removed = resets(tree)
        self.include.document(tree, scope, removed)
        extends = Extends(lambda path, at: self._base(path, at, scope), self.merge, self.problems)
        extends.document(tree, file)
        for path in removed:
            remove(base, path)
        document = self.merge.documents(base, tree)
        enforce(document)
        self._validate(document, file)
        self.canonical.document(document)
        self.problems.raise_if_errors()
        enforce(document)
        return document

    def _base(self, path: str, at: Origin | None, scope: Scope) -> tuple[str, Map] | None:
        """The services of another file for `extends`, with paths relative to the project."""
        if is_remote(path):
            path = local(path, scope.environ.values, self.sources, self.problems, at.position if at else None)
            if not path:
                return None
        file = os.path.normpath(os.path.join(scope.directory, path))
        key = (file, scope.directory, id(scope.environ))
        if key not in self.bases:
            self.bases[key] = self._read_base(file, at, scope)
        services = self.bases[key]
        return None if services is None else (file, services)

    def _read_base(self, file: str, at: Origin | None, scope: Scope) -> Map | None:
        document = Map()
        for root, origin in self._texts(file, at):
            tree = self._root(root, origin, file)
            if tree is None:
                return None
            if not self.options.no_interpolate:
                self._interpolator(scope).tree(tree)
            for path in resets(tree):
                remove(document, path)
            document = self.merge.documents(document, tree)
            enforce(document)
            self.canonical.document(document)
            enforce(document)
        Paths(os.path.relpath(os.path.dirname(file), scope.directory), scope.environ.values).document(document)
        services = document.get("services")
        if not isinstance(services, Map):
            if not self.problems.has_errors:
                self.problems.error(
                    "extends", "The extended file has no services", file, at.position if at else None)
            return None
        return services

    def _root(self, root: Any, origin: Origin, file: str) -> Map | None:
        if not isinstance(root, Map):
            kind = "empty" if root is None else "a list" if isinstance(root, Seq) else "a single value"
            self.problems.error(
                "not-a-mapping", "The file must be a mapping of keys", f"{file} is {kind}", origin.position,
                "begin with `services:`")  # fmt: skip
            return None
        for key in _SECTIONS:
            if key in root and not isinstance(root[key], Map) and (key == "services" or root[key] is not None):
                self.problems.error(
                    "section-type", "A section must be a mapping", f"`{key}`", root.at[key].key_position,
                    f"write `{key}:` and the names below it")  # fmt: skip
                return None
        return clone(root)  # type: ignore[no-any-return]

    def _texts(self, file: str, at: Origin | None = None) -> list[tuple[Any, Origin]]:
        """The parsed documents of a file, read once."""
        if file not in self.texts:
            self.texts[file] = []
            try:
                if file == "-":
                    data: bytes | str = self.options.stdin.read() if self.options.stdin else ""
                else:
                    data = self.sources.read(file)
            except OSError as error:
                self.problems.error(
                    "unreadable-file", "The file cannot be read", f"{file}: {error.strerror}",
                    at.position if at else None)  # fmt: skip
            else:
                self.texts[file] = parse(data, file, self.problems)
                if self.omit is not None:
                    for root, _ in self.texts[file]:
                        self.omit.prune(root)
        return self.texts[file]

    def _interpolator(self, scope: Scope) -> Interpolator:
        key = id(scope.environ)
        if key not in self.interpolators:
            self.interpolators[key] = Interpolator(scope.environ, self.problems)
        return self.interpolators[key]

    def _validate(self, document: Map, file: str) -> None:
        self.extended = self.extended or lookup.is_hardened(file)
        schema = "environment" if self.extended else "compose"
        doubtful = None if self.extended else self.doubtful
        found = check(document, Origins(document), schema, doubtful=doubtful)
        self.problems.items.extend([*found, *self.doubtful] if found else ())
        if "version" in document:
            origin = document.at.get("version")
            self.problems.warning(
                "obsolete-version", "`version` has no meaning any more", "", origin.key_position if origin else None,
                "remove it")  # fmt: skip
            document.drop("version")
        self.problems.raise_if_errors()

    def _better_words(self) -> None:
        """What the schema said of a value that nothing replaced is clearer than that it has the wrong type."""
        known = {item.source: item for item in self.doubtful}
        for index, item in enumerate(self.problems.items):
            if item.code == "value-type":
                self.problems.items[index] = known.get(item.source, item)

    def _environment(self, services: Map) -> None:
        files = envfiles.EnvFiles(self.options.directory, self.sources, self.problems)
        for name, service in services.items():
            if not self.options.no_env_resolution:
                files.resolve(service, name, self.located.environ.values)
            files.resolve_labels(service, name)

    def _name(self) -> str:
        """The project's name: set outside, `name:` of the last file that has one, or the directory's."""
        named = self.located.named
        if named:
            if lookup.project_name(named) != named:
                self.problems.error(
                    "project-name", "The project name is not valid", f"{named!r}", None,
                    "use lower-case letters, digits, `-` and `_`, beginning with a letter or digit")  # fmt: skip
            return named
        written: Any = ""
        origin: Origin | None = None
        for file in self.located.files:
            for root, _ in self._texts(file):
                if isinstance(root, Map) and isinstance(root.get("name"), str) and root["name"]:
                    written, origin = root["name"], root.at["name"]
        if not self.options.no_interpolate and "$" in written:
            result = Interpolator(self.located.environ, self.problems).text(written, "name", origin)
            written = result[0] if result else ""
        name = lookup.project_name(written or os.path.basename(self.located.folder))
        if not name:
            self.problems.error(
                "project-name", "The project has no name",
                f"none can be made of {written or self.located.folder!r}", origin.position if origin else None,
                "write `name:` in the file, or use --project-name")  # fmt: skip
        return name
