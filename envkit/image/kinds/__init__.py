"""The kinds of layers, one module each, found by name.

A kind's module has two functions:

    sees(step) -> JSON      what the layer depends on of the root below it (read-only then), beside its request
    make(step) -> JSON      make it in the root (writable then); what was resolved (versions), None when nothing is

and, where versions are resolved, `matches(step, resolved) -> bool`: whether an earlier result is what the lock asks
for, and `record(step, resolved)`: tell the lock.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, cast

from envkit.image.step import Step


class Kind(Protocol):
    """What a module of this package offers."""

    def sees(self, step: Step) -> Any: ...
    def make(self, step: Step) -> Any: ...


class Resolving(Kind, Protocol):
    """A kind whose result depends on what a registry offers, and so on the lock."""

    def matches(self, step: Step, resolved: Any) -> bool: ...
    def record(self, step: Step, resolved: Any) -> None: ...


_NAMES = frozenset({"apt", "pip", "npm", "copy", "files", "archive", "user", "link", "remove", "run"})


def find(kind: str) -> Kind:
    """The module of a kind. Raises KeyError for an unknown one."""
    if kind not in _NAMES:
        raise KeyError(kind)
    return cast(Kind, import_module(f"{__name__}.{kind}"))


def resolving(kind: Kind) -> Resolving | None:
    """The kind, if it resolves versions."""
    return cast(Resolving, kind) if hasattr(kind, "matches") else None
