"""After the first problems of a file: what else is wrong with it, so that one run reports everything.

A phase that cannot work with what the one before it left ends the load. Here the files are read again without the
values that have problems, until nothing new is found; at last what is left is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envkit.config.compile import compile_environment
from envkit.config.load import load_model
from envkit.config.options import LoadOptions
from envkit.config.tree import Map, Origin, Seq
from envkit.diagnostics import Diagnostic
from envkit.errors import InputError
from envkit.host.home import Home

_ROUNDS = 6
_CONSEQUENCES = frozenset({"no-image", "empty-file", "missing-key", "build-context", "unknown-target"})
"""Codes of problems that leaving something out may itself have made."""

Place = tuple[str, int, int]


def survey(options: LoadOptions, home: Home, first: Sequence[Diagnostic]) -> list[Diagnostic]:
    """first, and every further error of the files, in the order of their places."""
    found, latest = list(first), first
    omit = Omit()
    for _ in range(_ROUNDS):
        if not omit.add(latest):
            break
        try:
            compile_environment(load_model(options, omit), home, tolerant=False)
        except InputError as error:
            latest = error.diagnostics
            found += [item for item in latest if item.is_error and omit.is_new(item, found)]
        else:
            break
    return sorted(found, key=_order)


class Omit:
    """The values to leave out of the files: those at the places of problems."""

    def __init__(self) -> None:
        self._places: set[Place] = set()
        self._names: set[str] = set()

    def add(self, found: Sequence[Diagnostic]) -> bool:
        """Leave out what these errors speak of; whether that is more than before."""
        places = {_place(item) for item in found if item.is_error} - {None}
        more = places - self._places
        self._places |= more  # type: ignore[arg-type]
        return bool(more)

    def is_new(self, item: Diagnostic, known: Sequence[Diagnostic]) -> bool:
        """Whether it is a problem of its own, neither known nor made by leaving something out."""
        if item in known or item.code in _CONSEQUENCES:
            return False
        return not any(f"`{name}`" in item.detail for name in self._names) or not item.code.startswith("unknown-")

    def prune(self, tree: Any) -> None:
        """Take the values out of a file's tree."""
        self._prune(tree, 0)

    def _prune(self, tree: Any, depth: int) -> None:
        if isinstance(tree, Map):
            for key in [key for key in tree if self._is_bad(tree.at.get(key))]:
                if depth == 1:
                    self._names.add(key)
                tree.drop(key)
            for value in tree.values():
                self._prune(value, depth + 1)
        elif isinstance(tree, Seq):
            for index in reversed([index for index, origin in enumerate(tree.at) if self._is_bad(origin)]):
                del tree[index], tree.at[index]
            for value in tree:
                self._prune(value, depth + 1)

    def _is_bad(self, origin: Origin | None) -> bool:
        if origin is None:
            return False
        places = (origin.position, origin.key_position)
        return any((place.file, place.line, place.column) in self._places for place in places)


def _place(item: Diagnostic) -> Place | None:
    return (item.source.file, item.source.line, item.source.column) if item.source else None


def _order(item: Diagnostic) -> Place:
    return _place(item) or ("", 0, 0)
