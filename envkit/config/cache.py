"""Compiled environments below home.cache/environments, so that a no-op needs neither YAML nor pydantic.

An entry is found by the options and holds as long as envkit is the same and every input has the same content: files,
look-ups of files that were not there, build inputs, secrets (by keyed digest), and those variables of the process
whose name is a word of any input file. No entry has a secret's content. A broken entry counts as none. Origins are in
a file of their own, read when a plan has something to show. Standard library only.
"""

from __future__ import annotations

import os

from envkit.address import Address
from envkit.diagnostics import Diagnostic, Position, Severity
from envkit.errors import EnvkitError
from envkit.lean import json, sha256, suppress
from envkit.spec.environment import Dependency, Environment, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from envkit.config.inputs import Inputs
    from envkit.config.options import LoadOptions
    from envkit.host.home import Home

    _Mapping = Mapping[str, str]
else:
    from _collections_abc import Mapping as _Mapping  # `os` has imported it, and not the package `collections`

FORMAT = 3
_ALWAYS = ("COMPOSE_", "ENVKIT_")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def entry_path(options: LoadOptions, home: Home) -> str:
    """The file of the entry for these options."""
    asked = {
        name: getattr(options, name) for name in options.__slots__ if name not in ("environ", "stdin")
    }  # fmt: skip
    name = sha256(repr(sorted(asked.items())).encode(errors="surrogateescape")).hexdigest()[:32]
    return os.path.join(home.cache, "environments", f"{name}.json")


def read(path: str, environ: Mapping[str, str], inputs: Inputs) -> Environment | None:
    """The environment of an entry, None when there is none that holds."""
    try:
        with open(path, "rb") as file:
            entry = json.loads(file.read())
        if entry["made_by"] != _made_by(inputs.home):
            return None
        if entry["variables"] != variables_digest(entry["words"], environ, inputs.salt):
            return None
        if not inputs.holds(entry["inputs"]):
            return None
        return _decode(entry["environment"], _Origins(path + ".origins", entry["stamp"]))
    except (OSError, EnvkitError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def write(path: str, environment: Environment, environ: Mapping[str, str], inputs: Inputs) -> None:
    """Keep an environment that was compiled from these inputs."""
    from envkit.host.files import make_directory, write_atomic

    words = _words(inputs.sources.files)
    stamp = os.urandom(8).hex()
    entry = {
        "made_by": _made_by(inputs.home), "stamp": stamp, "words": words,
        "variables": variables_digest(words, environ, inputs.salt), "inputs": inputs.record(),
        "environment": _encode(environment),
    }  # fmt: skip
    origins = {"stamp": stamp, "origins": [dict(item.origins) for item in environment.resources.values()]}
    make_directory(os.path.dirname(path))
    write_atomic(path + ".origins", json.dumps(origins, separators=(",", ":")).encode(), 0o600, durable=False)
    write_atomic(path, json.dumps(entry, separators=(",", ":")).encode(), 0o600, durable=False)


def variables_digest(words: str, environ: Mapping[str, str], salt: bytes | None) -> str:
    """A keyed digest of the variables that may matter: those named by a word of the inputs, and Compose's and envkit's
    own. It is keyed because a variable may hold a secret."""
    used = sorted(
        (name, value) for name, value in environ.items() if f" {name} " in words or name.startswith(_ALWAYS)
    )
    return sha256((salt or b"") + repr(used).encode(errors="surrogateescape")).hexdigest()


def _words(files: Mapping[str, str]) -> str:
    """Every word of the input files that could name a variable, between spaces."""
    import re

    found = {"HOME"}
    for path in files:
        with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            found.update(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", file.read()))
    return f" {' '.join(sorted(found))} "


def _made_by(home: Home) -> list[Any]:
    """What changes when envkit itself does: newest time and number of the files that compile; and the installation."""
    from envkit import __version__

    newest, count = 0, 0
    for room in ("config", "spec"):
        with os.scandir(os.path.join(_PACKAGE, room)) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    newest, count = max(newest, entry.stat().st_mtime_ns), count + 1
    return [FORMAT, __version__, newest, count, home.root]


class _Origins:
    """The origins of all resources of an entry, read from their file when first asked for."""

    def __init__(self, path: str, stamp: str) -> None:
        self._path = path
        self._stamp = stamp
        self._all: list[dict[str, str]] | None = None

    def of(self, index: int) -> dict[str, str]:
        if self._all is None:
            try:
                with open(self._path, "rb") as file:
                    found = json.loads(file.read())
                self._all = found["origins"] if found["stamp"] == self._stamp else []
            except (OSError, ValueError, KeyError, TypeError):
                self._all = []
        return self._all[index] if index < len(self._all) else {}


class LazyOrigins(_Mapping):
    """Resource.origins of an environment that came from the cache."""

    __slots__ = ("_index", "_origins")

    def __init__(self, origins: _Origins, index: int) -> None:
        self._origins = origins
        self._index = index

    def __getitem__(self, path: str) -> str:
        return self._origins.of(self._index)[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._origins.of(self._index))

    def __len__(self) -> int:
        return len(self._origins.of(self._index))


def _encode(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name, "directory": environment.directory, "files": environment.files,
        "hardened": environment.hardened, "profiles": environment.profiles, "disabled": environment.disabled,
        "drift_ignore": [dict(item) for item in environment.drift_ignore], "targets": dict(environment.targets),
        "target": environment.target,
        "warnings": [_encode_diagnostic(item) for item in environment.warnings],
        "resources": [
            [item.address.kind, item.address.name, item.spec, item.fingerprint,
             [[need.address.kind, need.address.name, need.condition, need.required, need.restart]
              for need in item.depends_on]]
            for item in environment.resources.values()
        ],
    }  # fmt: skip


def _decode(data: Mapping[str, Any], origins: _Origins) -> Environment:
    resources: dict[Address, Resource] = {}
    for index, (kind, name, spec, digest, needs) in enumerate(data["resources"]):
        address = Address(kind, name)
        depends_on = tuple(
            Dependency(Address(other, named), condition, required, restart)
            for other, named, condition, required, restart in needs
        )
        resources[address] = Resource(address, spec, digest, depends_on, LazyOrigins(origins, index))
    return Environment(
        data["name"], data["directory"], tuple(data["files"]), data["hardened"], resources,
        tuple(_decode_diagnostic(item) for item in data["warnings"]), tuple(data["profiles"]),
        tuple(data["disabled"]), tuple(data["drift_ignore"]), data["targets"], data["target"],
    )  # fmt: skip


def _encode_diagnostic(item: Diagnostic) -> list[Any]:
    places = [item.source, *item.related]
    return [
        str(item.severity), item.code, item.summary, item.detail, item.hint,
        [[place.file, place.line, place.column, place.width] if place else None for place in places],
    ]  # fmt: skip


def _decode_diagnostic(row: list[Any]) -> Diagnostic:
    severity, code, summary, detail, hint, places = row
    source, *related = [Position(*place) if place else None for place in places]
    return Diagnostic(
        Severity(severity), code, summary, detail, source, hint, tuple(place for place in related if place)
    )
