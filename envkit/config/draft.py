"""A canonical spec in the making, and what every part of the compiler is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envkit.address import Address
from envkit.config.tree import Origin, origin_of, walk
from envkit.diagnostics import Diagnostics, Position
from envkit.digest import fingerprint
from envkit.spec.environment import Dependency, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envkit.config.inputs import Inputs
    from envkit.config.model import Model

class Scope:
    """One compilation: the model, what it has found, and where its values were written."""

    def __init__(self, model: Model, inputs: Inputs, salt: bytes | None, *, tolerant: bool = False) -> None:
        self.model = model
        self.plain: Mapping[str, Any] = model.plain
        self.found = Diagnostics()
        self.inputs = inputs
        self.salt = salt
        self.tolerant = tolerant

    def section(self, name: str) -> Mapping[str, Any]:
        """A top-level mapping, {} when absent."""
        return self.plain.get(name) or {}

    def position(self, path: str) -> Position | None:
        """Where the value at path was written, or its nearest parent."""
        while path:
            if found := self.model.origins.get(path):
                return found
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return None

    def error(self, code: str, summary: str, detail: str, path: str, hint: str = "") -> None:
        self.found.error(code, summary, detail, self.position(path), hint)

    def warning(self, code: str, summary: str, detail: str, path: str, hint: str = "") -> None:
        self.found.warning(code, summary, detail, self.position(path), hint)

    def read(self, convert: Callable[[Any], Any], value: Any, path: str) -> Any:
        """convert(value); a ValueError becomes a diagnostic at path, and the result None."""
        if value is None:
            return None
        try:
            return convert(value)
        except (ValueError, TypeError) as problem:
            self.error("invalid-value", "A value is not valid", f"{path}: {problem}", path)
            return None

    def written(self, base: str) -> tuple[str, list[tuple[str, str]]]:
        """Where `services.web` itself was written ("" for what envkit filled in), and (path below it,
        "file:line:column") of everything in it."""
        section, _, name = base.partition(".")
        found = self.section(section)
        at = origin_of(found, name)
        return _place(at) if at else "", [(path, _place(origin)) for path, _, origin in walk(found.get(name))]


def _place(origin: Origin) -> str:
    return f"{origin.file}:{origin.line}:{origin.column}"


class Draft:
    """spec is built with put(); make() gives the Resource with an origin for everything that the YAML wrote."""

    def __init__(self, scope: Scope, address: Address, base: str) -> None:
        self.scope = scope
        self.address = address
        self.base = base
        self.spec: dict[str, Any] = {}
        self.depends_on: dict[Address, Dependency] = {}
        self.mounts: list[tuple[str, dict[str, Any]]] = []  # (where below base, "" for envkit's own; MountSpec)
        self._moves: dict[str, list[str]] = {}
        self._filled: list[str] = []

    def put(self, name: str, value: Any, source: str | None = None) -> None:
        """Set spec[name], unless value is None. source: where below base it is written, when not at `name`."""
        if value is not None:
            self.spec[name] = value
            self.came_from(name, name if source is None else source)

    def came_from(self, name: str, source: str) -> None:
        """The value at `name` of the spec (a path) is what is written at `source` below base."""
        self._moves.setdefault(source, []).append(name)

    def fill(self, name: str, value: Any, path: str = "") -> None:
        """Set a default of envkit's own: it has no origin. path: the part of it that is envkit's (absent: all)."""
        self.spec[name] = value
        self._filled.append(path or name)

    def needs(self, dependency: Dependency) -> None:
        """Depend on an address; the first condition that was asked for stays."""
        self.depends_on.setdefault(dependency.address, dependency)

    def place_mounts(self) -> None:
        """Make spec["mounts"] of self.mounts, in an order in which a directory comes before what lies below it."""
        ordered = sorted(self.mounts, key=lambda row: (row[1]["target"].rstrip("/").count("/"), row[1]["target"]))
        for index, (source, _) in enumerate(ordered):
            if source:
                self.came_from(f"mounts[{index}]", source)
            else:
                self._filled.append(f"mounts[{index}]")
        if ordered:
            self.spec["mounts"] = [item for _, item in ordered]

    def path(self, below: str) -> str:
        return f"{self.base}.{below}"

    def is_written(self, below: str) -> bool:
        """Whether the YAML says something there, false and empty values included: the model leaves them out, but keeps
        their origins (config/bind.py)."""
        section, _, name = self.base.partition(".")
        found: Any = self.scope.section(section).get(name)
        steps = below.replace("[", ".[").split(".")
        for number, step in enumerate(steps, 1):
            if step.startswith("["):
                found = found[int(step[1:-1])]
                continue
            if number == len(steps):
                return isinstance(found, Mapping) and (step in found or step in getattr(found, "at", ()))
            found = found.get(step) if isinstance(found, Mapping) else None
        return found is not None

    def read(self, convert: Callable[[Any], Any], value: Any, below: str) -> Any:
        return self.scope.read(convert, value, self.path(below))

    def make(self) -> Resource:
        """The finished resource."""
        return Resource(
            self.address, self.spec, fingerprint(self.spec), tuple(self.depends_on.values()), self._origins()
        )

    def _origins(self) -> dict[str, str]:
        made: dict[str, str] = {}
        whole, parts = self.scope.written(self.base)
        if whole:
            made[""] = whole
        moves = self._moves
        for path, place in parts:
            head, tail = path, ""
            while head and head not in moves:
                cut = max(head.rfind("."), head.rfind("["))
                head, tail = (path[:cut], path[cut:]) if cut > 0 else ("", path)
            for name in moves.get(head, ()):
                made[name + tail] = place
        for name in self._filled:
            made.setdefault(name, "")
        return made
