"""A Dockerfile as an image of envkit.yaml: what it starts from, its layers, its configuration; or why it stays."""

from __future__ import annotations

import os
import posixpath
import re
from glob import glob

from envkit.config.propose.commands import Surroundings, layers_of
from envkit.spec.dockerfile.check import sources_and_target
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.words import Expander, WordError, split_words
from envkit.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from envkit.spec.dockerfile.parse import Instruction
    from envkit.spec.dockerfile.stages import Program, Stage

_DEBIAN = re.compile(r"debian:(?:bookworm|12)(?:[.-].*)?")
_PYTHON = re.compile(r"python:3\.11(?:\.\d+)?-slim(?:-bookworm)?")
_NODE = re.compile(r"node:18(?:\.[\d.]+)?(?:-bookworm)?-slim|node:18(?:\.[\d.]+)?-slim(?:-bookworm)?")
_NEAR = re.compile(r"(python|node):")
_IGNORE_FILES = (".dockerignore", ".envkitignore")
_OWN = ("envkit.yaml", "envkit.lock", ".envkit", ".git", "secrets")


class Unmapped(Exception):
    """An instruction has no counterpart; the text says which and why."""


class Recipe:
    """One stage, with those that it is built on, as `images.KEY`. Raises Unmapped from the constructor.

    value: the image; notes: what a reader should know. directory: the project's; context: the build's, absolute;
    ignores: its ignore file, "" for none.
    """

    def __init__(
        self, program: Program, stage: Stage, *, directory: str, context: str, ignores: str,
        arguments: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.notes: list[str] = []
        self.value: dict[str, Any] = {}
        self._program, self._directory, self._context, self._ignores = program, directory, context, ignores
        self._given = {**program.arguments, **arguments}
        self._layers: list[dict[str, Any]] = []
        self._variables: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        self._files: dict[str, str] = {}  # path in the image -> below the context
        self._directories = {"/"}
        self._workdir, self._user = "/", ""
        chain = [stage]
        while chain[0].base_stage is not None:
            chain.insert(0, program.stages[chain[0].base_stage])
        self._base(chain[0])
        for each in chain:
            self._arguments = {}
            for item in each.instructions:
                self._instruction(item)
        if self._layers:
            self.value["layers"] = _joined(self._layers)
        self._configuration()

    # -- what it starts from

    def _base(self, stage: Stage) -> None:
        base = stage.base.removeprefix("docker.io/").removeprefix("library/")
        if stage.platform and "$" not in str(stage.start.flag("platform")):
            raise Unmapped(f"FROM --platform={stage.platform}")
        if base == "scratch":
            self.value["from"] = "scratch"
        elif _DEBIAN.fullmatch(base):
            self.value["from"] = {"debian": "bookworm"}
        elif _PYTHON.fullmatch(base):
            self.value["from"] = {"debian": "bookworm"}
            self._layers.append({"apt": ["python3", "python3-pip"]})  # alone, so that images share it
            self._layers.append({"link": {"/usr/local/bin/python": "/usr/bin/python3",
                                          "/usr/local/bin/python3": "/usr/bin/python3"}})  # fmt: skip
            self._layers.append({"apt": ["ca-certificates"]})
            self._variables["LANG"] = "C.UTF-8"
            self.notes.append(f"{base} became Debian 12 with its own Python 3.11")
        elif _NODE.fullmatch(base):
            self.value["from"] = {"debian": "bookworm"}
            self._layers.append({"apt": ["nodejs", "npm"]})
            self._layers.append({"user": {"name": "node", "uid": 1000, "home": "/home/node", "shell": "/bin/bash"}})
            self._layers.append({"apt": ["ca-certificates"]})
            self.notes.append(f"{base} became Debian 12 with its own Node.js 18")
        else:
            self.value["from"] = base
            if _NEAR.match(base):
                kind = "Python 3.11" if base.startswith("python") else "Node.js 18"
                self.notes.append(f"starts from {base}; Debian 12 (`from: {{debian: bookworm}}`) has {kind}")

    # -- instructions

    def _instruction(self, item: Instruction) -> None:
        handler = getattr(self, f"_do_{item.keyword.lower()}", None)
        if handler is None:
            raise Unmapped(f"line {item.line}: {item.keyword} has no counterpart in an envkit.yaml")
        handler(item)

    def _words(self, item: Instruction, text: str) -> str:
        expander = Expander({**self._arguments, **self._variables}, self._program.dockerfile.escape)
        try:
            made = expander.word(text)
        except WordError as problem:
            raise Unmapped(f"line {item.line}: {problem}") from None
        if expander.missing:
            raise Unmapped(f"line {item.line}: ${min(expander.missing)} has its value from the base image")
        return made

    def _do_arg(self, item: Instruction) -> None:
        for pair in split_words(item.rest, self._program.dockerfile.escape):
            name, equals, value = pair.partition("=")
            if name in self._given:
                self._arguments[name] = self._given[name]
            elif equals:
                self._arguments[name] = self._words(item, value)
            if "${" in self._arguments.get(name, ""):
                raise Unmapped(f"line {item.line}: the argument {name} is interpolated")

    def _do_env(self, item: Instruction) -> None:
        words = split_words(item.rest, self._program.dockerfile.escape)
        if "=" not in words[0]:  # the old form: ENV NAME the rest
            name, _, rest = item.rest.partition(" ")
            words = [f"{name}=" + '"' + rest.strip().replace('"', '\\"') + '"']
        added = {}
        for word in words:
            name, _, value = word.partition("=")
            if name == "PATH" and "PATH" not in self._variables:
                value = value.replace("${PATH}", "$PATH").replace(
                    "$PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                )
                if not isinstance(self.value["from"], dict):
                    raise Unmapped(f"line {item.line}: $PATH has its value from the base image")
            added[name] = self._words(item, value)
        self._variables |= added

    def _do_workdir(self, item: Instruction) -> None:
        self._workdir = posixpath.normpath(posixpath.join(self._workdir, self._words(item, item.rest)))
        self._directories.add(self._workdir)

    def _do_user(self, item: Instruction) -> None:
        self._user = self._words(item, item.rest)

    def _do_expose(self, item: Instruction) -> None:
        for word in split_words(item.rest, self._program.dockerfile.escape):
            self.value.setdefault("expose", []).append(self._words(item, word))

    def _do_volume(self, item: Instruction) -> None:
        words = item.json() or split_words(item.rest, self._program.dockerfile.escape)
        self.value.setdefault("volumes", []).extend(self._words(item, word) for word in words)

    def _do_label(self, item: Instruction) -> None:
        for word in split_words(item.rest, self._program.dockerfile.escape):
            name, _, value = word.partition("=")
            self.value.setdefault("labels", {})[self._words(item, name)] = self._words(item, value)

    def _do_maintainer(self, item: Instruction) -> None:
        self.value.setdefault("labels", {})["maintainer"] = item.rest

    def _do_stopsignal(self, item: Instruction) -> None:
        self.value["stop_signal"] = self._words(item, item.rest)

    def _do_healthcheck(self, item: Instruction) -> None:
        if item.rest.strip().upper() == "NONE":
            self.value["healthcheck"] = {"disable": True}
            return
        keyword, _, rest = item.rest.partition(" ")
        if keyword.upper() != "CMD":
            raise Unmapped(f"line {item.line}: HEALTHCHECK {keyword}")
        words = replace(item, rest=rest.strip()).json()
        test = ["CMD", *words] if words else ["CMD-SHELL", rest.strip()]
        check: dict[str, Any] = {"test": _doubled(test)}
        for name in ("interval", "timeout", "start-period", "start-interval"):
            if given := item.flag(name):
                check[name.replace("-", "_")] = given
        if given := item.flag("retries"):
            check["retries"] = int(given)
        self.value["healthcheck"] = check

    def _do_cmd(self, item: Instruction) -> None:
        self.value["command"] = _doubled(item.json() or ["/bin/sh", "-c", item.rest])

    def _do_entrypoint(self, item: Instruction) -> None:
        self.value["entrypoint"] = _doubled(item.json() or ["/bin/sh", "-c", item.rest])
        self.value.pop("command", None)

    def _do_run(self, item: Instruction) -> None:
        caches = []
        for text in item.all_flags("mount"):
            try:
                mount = parse_mount(text)
            except MountError as problem:
                raise Unmapped(f"line {item.line}: {problem}") from None
            if mount.kind != "cache" or mount.origin or mount.source:
                raise Unmapped(f"line {item.line}: RUN --mount=type={mount.kind}")
            caches.append(posixpath.join(self._workdir, mount.target))
        for name in ("network", "security"):
            if item.flag(name) not in (None, "default", "sandbox"):
                raise Unmapped(f"line {item.line}: RUN --{name}={item.flag(name)}")
        if len(item.heredocs) > 1 or (item.heredocs and not item.rest.startswith("<<")):
            raise Unmapped(f"line {item.line}: a here-document that a command reads")
        text = item.heredocs[0].content if item.heredocs else item.rest
        if not item.heredocs and not re.search(r"[\"'\\]", text):
            text = re.sub(r"[ \t]{2,}", " ", text)
        argv = item.json()
        found = None
        if argv is None and not item.heredocs and not self._user:
            found = layers_of(text, Surroundings(self._workdir, self._origin, self._locked))
        if found is not None:
            self._layers += found
            return
        layer: dict[str, Any] = {"run": _doubled(argv) if argv else _doubled([text])[0]}
        known = self._arguments | {name: value for name, value in self._variables.items() if name != "PATH"}
        used = {name: value for name, value in known.items() if name in text and name not in self._variables}
        if used:
            layer["environment"] = used
        if self._user:
            layer["user"] = self._user
        if self._workdir != "/":
            layer["workdir"] = self._workdir
        if caches:
            layer["cache"] = caches
        self._layers.append(layer)

    def _do_add(self, item: Instruction) -> None:
        for source in sources_and_target(item, self._program.dockerfile.escape)[0]:
            if "://" in source or source.startswith("git@") or re.search(r"\.(tar|tgz|tbz2?|txz|tar\..+|zst)$", source):
                raise Unmapped(f"line {item.line}: ADD {source} is fetched or unpacked")
        self._do_copy(item)

    def _do_copy(self, item: Instruction) -> None:
        for name in ("from", "parents", "keep-git-dir", "checksum", "unpack"):
            if item.flag(name) is not None:
                what = f"takes files of {item.flag(name)}" if name == "from" else f"uses --{name}"
                raise Unmapped(f"line {item.line}: {item.keyword} {what}")
        if item.heredocs:
            raise Unmapped(f"line {item.line}: {item.keyword} has a here-document")
        mode = item.flag("chmod")
        if mode is not None and not re.fullmatch(r"[0-7]{3,4}", mode):
            raise Unmapped(f"line {item.line}: --chmod={mode}")
        written, target = sources_and_target(item, self._program.dockerfile.escape)
        target = self._words(item, target)
        sources = [name for word in written for name in self._sources(item, self._words(item, word))]
        to = posixpath.normpath(posixpath.join(self._workdir, target))
        whole = len(sources) == 1 and os.path.isdir(os.path.join(self._context, sources[0]))
        into = target.endswith("/") or target in (".", "..") or to in self._directories or len(sources) > 1
        if len(sources) > 1 and any(os.path.isdir(os.path.join(self._context, name)) for name in sources):
            for name in sources:
                self._copied(item, [name], to, mode, into=True)
            return
        self._copied(item, sources, to, mode, into=into and not whole)

    def _copied(self, item: Instruction, sources: list[str], to: str, mode: str | None, *, into: bool) -> None:
        whole = os.path.isdir(os.path.join(self._context, sources[0]))
        layer: dict[str, Any] = {"copy": [self._below(name) for name in sources]}
        if len(sources) == 1:
            layer["copy"] = layer["copy"][0]
        layer["to"] = to.rstrip("/") + "/" if into and not whole else to
        if owner := item.flag("chown"):
            layer["owner"] = self._words(item, owner)
        if mode:
            layer["mode"] = mode.rjust(4, "0")
        exclude = self._excluded(sources[0]) if whole else []
        exclude += [self._words(item, text) for text in item.all_flags("exclude")]
        if exclude:
            layer["exclude"] = exclude
        self._layers.append(layer)
        if whole or into:
            self._directories.add(to)
        for name in sources:
            if os.path.isdir(os.path.join(self._context, name)):
                for found in os.listdir(os.path.join(self._context, name)):
                    self._files[posixpath.join(to, found)] = posixpath.normpath(posixpath.join(name, found))
            else:
                self._files[posixpath.join(to, posixpath.basename(name)) if into else to] = posixpath.normpath(name)

    def _sources(self, item: Instruction, pattern: str) -> list[str]:
        """The files of the context that a source names."""
        pattern = posixpath.normpath("/" + pattern).lstrip("/") or "."
        if not re.search(r"[*?\[]", pattern):
            if not os.path.lexists(os.path.join(self._context, pattern)):
                raise Unmapped(f"line {item.line}: {pattern} is not there")
            return [pattern]
        found = sorted(glob(pattern, root_dir=self._context, include_hidden=True))
        if not found:
            raise Unmapped(f"line {item.line}: nothing matches {pattern}")
        return found

    def _excluded(self, source: str) -> list[str]:
        """Patterns that leave out what the build's ignore file does, and envkit's own files."""
        made = ["**/__pycache__"] if any("python" in str(layer) for layer in self._layers) else []
        if self._ignores and os.path.dirname(self._ignores) != self._directory:
            if source != ".":
                raise Unmapped(f"{os.path.basename(self._ignores)} counts for a part of the context only")
            with open(self._ignores, encoding="utf-8", errors="surrogateescape") as file:
                rules = [line.strip() for line in file]
            made += [rule for rule in rules if rule and not rule.startswith("#")]
        if os.path.normpath(os.path.join(self._context, source)) == self._directory:
            made += [*_OWN]
        return made

    def _below(self, name: str) -> str:
        path = os.path.relpath(os.path.join(self._context, name), self._directory)
        if path.startswith(".."):
            raise Unmapped(f"the context {self._context} lies outside the project")
        return "." if path == "." else f"./{path}"

    def _origin(self, path: str) -> str:
        """The project's file that lies at a path of the image, "" for none."""
        name = self._files.get(path)
        return self._below(name).removeprefix("./") if name is not None else ""

    def _locked(self, workdir: str) -> str:
        """The project's directory whose manifests with a lock lie in a directory of the image, "" for none."""
        names = ("package.json", "package-lock.json")
        manifest, lock = (self._files.get(posixpath.join(workdir, name)) for name in names)
        if not manifest or not lock or posixpath.dirname(manifest) != posixpath.dirname(lock):
            return ""
        return self._below(posixpath.dirname(manifest) or ".").removeprefix("./") or "."

    # -- what it says of containers

    def _configuration(self) -> None:
        if self._variables:
            self.value["environment"] = {name: _doubled([text])[0] for name, text in self._variables.items()}
        if self._user:
            self.value["user"] = self._user
        if self._workdir != "/":
            self.value["workdir"] = self._workdir
        for key in ("expose", "volumes", "labels", "entrypoint", "command", "stop_signal", "healthcheck"):
            if key in self.value:
                self.value[key] = self.value.pop(key)


def _joined(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers with neighbours of apt as one, and users only once."""
    made: list[dict[str, Any]] = []
    for layer in layers:
        before = made[-1] if made else {}
        if "apt" in layer and "apt" in before and layer.get("recommends") == before.get("recommends"):
            before["apt"] = sorted({*before["apt"], *layer["apt"]})
        else:
            made.append(layer)
    return made


def _doubled(words: list[str]) -> list[str]:
    """Texts that interpolation gives back as they were."""
    return [word.replace("$", "$$") for word in words]
