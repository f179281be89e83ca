"""`build:` in the model -> ImageSpec.build, with a digest of everything on this machine that the build can read.

The Dockerfile is parsed here, so that its mistakes are diagnostics of the plan, and so that an image depends on those
parts of its context alone that its stages read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from envkit.address import Address
from envkit.config.compile_isolation import ulimits
from envkit.config.compile_network import hosts
from envkit.config.draft import Draft, Scope
from envkit.config.quantities import is_true, size
from envkit.errors import HostError, InputError
from envkit.host.ignore import of_dockerfile
from envkit.spec.environment import Dependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.diagnostics import Diagnostic
    from envkit.spec.dockerfile.stages import Program

_NOT_HONOURED = {
    "isolation": "it exists on Windows only", "cache_from": "layers are kept in the store of this machine",
    "cache_to": "layers are kept in the store of this machine", "provenance": "no attestation is made",
    "sbom": "no bill of materials is made",
}  # fmt: skip


def build_name(scope: Scope, name: str, service: Mapping[str, Any]) -> str:
    """The reference that a service's build gets: `image:`, else PROJECT-SERVICE as Compose names it."""
    return str(service.get("image") or f"{scope.model.name}-{name}")


def build(draft: Draft, written: Mapping[str, Any], below: str) -> dict[str, Any]:
    """ImageSpec.build: the words of Compose's `build:`, with values as everywhere in canonical specs. A `service:`
    among the additional contexts becomes `image:` and its reference. `inputs` stands for the files that are read."""
    made: dict[str, Any] = {}
    for key, value in written.items():
        if key.startswith("x-") or value in (None, "", [], {}):
            continue
        if key in ("no_cache", "pull", "privileged"):
            if is_true(value):
                made[key] = True
        elif key == "shm_size":
            made[key] = draft.read(size, value, f"{below}.{key}")
        elif key == "extra_hosts":
            made[key] = hosts(value)
        elif key == "ulimits":
            made[key] = ulimits(value)
        elif key == "additional_contexts":
            made[key] = _contexts(draft, value)
        elif key in _NOT_HONOURED:
            if value is not False and value != "false":
                path = draft.path(f"{below}.{key}")
                draft.scope.warning("not-honoured", "A key has no effect", f"{path} is not honoured: "
                                    f"{_NOT_HONOURED[key]}", path, "take it away")  # fmt: skip
        else:
            made[key] = value
    for item in made.get("secrets") or ():
        draft.needs(Dependency(Address("secret", item["source"])))
    _Inputs(draft, made, below).put()
    return made


def _contexts(draft: Draft, written: Any) -> dict[str, str]:
    """The additional contexts, services as the images that they build."""
    rows = written.items() if isinstance(written, Mapping) else (str(item).split("=", 1) for item in written)
    made = {}
    for name, value in rows:
        kind, _, service = str(value).partition(":")
        other = draft.scope.section("services").get(service) if kind == "service" else None
        if other is None:
            made[str(name)] = str(value)
            continue
        reference = build_name(draft.scope, service, other)
        draft.needs(Dependency(Address("image", reference)))
        made[str(name)] = f"image:{reference}"
    return made


def is_local(context: str) -> bool:
    """Whether a context is a directory of this machine."""
    return "://" not in context and not context.startswith(("git@", "image:", "github.com/")) and "#" not in context


class _Inputs:
    """Digests of what one build reads."""

    def __init__(self, draft: Draft, made: dict[str, Any], below: str) -> None:
        self._draft, self._scope, self._made, self._below = draft, draft.scope, made, below
        self._digests: list[str] = []

    def put(self) -> None:
        context = str(self._made.get("context") or ".")
        program = None
        if is_local(context):
            context = os.path.normpath(os.path.join(self._scope.model.directory, context))
            self._made["context"] = context
            if not self._scope.inputs.exists(context):
                self._missing(f"has the context {context}", "context", "create the directory, or correct the path")
                return
            program = self._program(context)
            if program is not None:
                self._read(context, program)
        for name, value in (self._made.get("additional_contexts") or {}).items():
            if is_local(value):
                path = os.path.normpath(os.path.join(self._scope.model.directory, value))
                self._made["additional_contexts"][name] = path
                if not self._digest(path, path, of_dockerfile(path, "")):
                    self._missing(f"has the context {path}", f"additional_contexts.{name}", "correct the path")
        if self._digests:
            from envkit.digest import fingerprint

            self._made["inputs"] = fingerprint(self._digests)

    def _program(self, context: str) -> Program | None:
        """The parsed Dockerfile; what is wrong with it becomes a diagnostic."""
        inline = self._made.get("dockerfile_inline")
        path = "" if inline else os.path.normpath(os.path.join(context, self._made.get("dockerfile") or "Dockerfile"))
        text = str(inline) if inline else self._scope.inputs.text(path)
        if text is None:
            self._missing(f"has the Dockerfile {path}", "dockerfile", "create it, or correct the path")
            return None
        if path:
            self._digest(path)
        from envkit.spec.dockerfile.platform import platform_arguments
        from envkit.spec.dockerfile.stages import read_program

        arguments = {name: value for name, value in _pairs(self._made.get("args")) if value is not None}
        contexts = (self._made.get("additional_contexts") or {}).keys()
        try:
            program = read_program(text, path, arguments, platform=platform_arguments(), contexts=contexts)
            program.target(str(self._made.get("target") or ""))
        except InputError as error:
            self._report(error.diagnostics, inline=bool(inline))
            return None
        self._report(program.warnings, inline=bool(inline))
        return program

    def _report(self, found: Iterable[Diagnostic], *, inline: bool) -> None:
        for item in found:
            if not inline:
                self._scope.found.items.append(item)
                continue
            path = self._draft.path(f"{self._below}.dockerfile_inline")
            detail = f"line {item.source.line}: {item.detail}" if item.source else item.detail
            add = self._scope.error if item.is_error else self._scope.warning
            add(item.code, item.summary, detail, path, item.hint)

    def _read(self, context: str, program: Program) -> None:
        """Digest what the needed stages read, and need the images of this environment that they start from."""
        from envkit.spec.dockerfile.inputs import context_paths

        dockerfile = "" if self._made.get("dockerfile_inline") else program.dockerfile.file
        stages = program.needed(program.target(str(self._made.get("target") or "")))
        rules = of_dockerfile(context, dockerfile)
        for place, pattern in context_paths(stages, program.dockerfile.escape):
            path = os.path.join(context, place) if place else context
            live = self._written_by_containers(path)
            if live is not None or place or pattern:
                self._digest(path, context, rules, ["*", f"!{pattern}"] if pattern else live or ())
        known = {build_name(self._scope, name, service): name
                 for name, service in self._scope.section("services").items() if service.get("build")}  # fmt: skip
        known |= {key: key for key in self._scope.section("images")}
        for stage in stages:
            for written in [stage.base] * (stage.base_stage is None) + sorted(stage.origins):
                spellings = (written, written.removesuffix(":latest"), f"{written}:latest")
                name = next((each for each in spellings if each in known), "")
                if name and name != self._draft.address.name:
                    self._draft.needs(Dependency(Address("image", name)))

    def _digest(self, path: str, context: str = "", rules: str = "", exclude: Sequence[str] = ()) -> bool:
        """Add the digest of a file or of a part of a context; False when there is none."""
        try:
            digest = self._scope.inputs.tree(path, exclude, rules_of=context, rules_file=rules, modes=True)
        except (HostError, OSError) as problem:
            detail = str(problem) if isinstance(problem, HostError) else f"{problem.filename}: {problem.strerror}"
            self._scope.error("unreadable-file", "A file cannot be read", detail, self._draft.path(self._below),
                              "make it readable, or leave it out with .dockerignore")  # fmt: skip
            return True
        self._digests.append(str(digest))
        return digest is not None

    def _written_by_containers(self, path: str) -> list[str] | None:
        """Patterns below path for what running containers write there: the directories that services mount writable,
        and Python's bytecode; None when path itself is such a directory. Without this, a service that is built from the
        directory that it keeps its data in would be built again by every apply."""
        found = ["**/__pycache__"]
        for service in self._scope.section("services").values():
            for mount in service.get("volumes") or ():
                if mount.get("type") != "bind" or is_true(mount.get("read_only") or False):
                    continue
                place = os.path.relpath(os.path.join(self._scope.model.directory, mount.get("source") or "."), path)
                if place == ".":
                    return None
                if not place.startswith(".."):
                    found.append(re.sub(r"([*?\[\\])", r"\\\1", place))
        return sorted(set(found))

    def _missing(self, what: str, key: str, hint: str) -> None:
        if not self._scope.tolerant:
            place = self._draft.path(f"{self._below}.{key}")
            detail = f"{self._draft.path(self._below)} {what}"
            self._scope.error("missing-file", "A file does not exist", detail, place, hint)


def _pairs(written: Any) -> list[tuple[str, str | None]]:
    if isinstance(written, Mapping):
        return [(str(name), None if value is None else str(value)) for name, value in written.items()]
    cut = (str(text).partition("=") for text in written or ())
    return [(name, value if equals else None) for name, equals, value in cut]
