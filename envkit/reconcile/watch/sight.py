"""From hints to what differs: files that the environment is compiled from, build inputs, and files below rules."""

from __future__ import annotations

import os
from hashlib import blake2b

from envkit.reconcile.watch.contents import Changes, Contents
from envkit.reconcile.watch.rules import Filter, Rule, is_passing
from envkit.reconcile.watch.watched import Tree, TreeFilter, Watched
from envkit.values import field, struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from envkit.config.inputs import Asked
    from envkit.reconcile.watch.contents import Identity
    from envkit.reconcile.watch.hints import Hints


@struct
class Difference:
    """files: those the environment is compiled from that differ. digests: build inputs that differ, and what they are
    now. changes: by rule, where there are any."""

    files: list[str] = field(default_factory=list)
    digests: dict[Asked, str] = field(default_factory=dict)
    changes: dict[Rule, Changes] = field(default_factory=dict)

    @property
    def concerns_environment(self) -> bool:
        return bool(self.files or self.digests)

    def __bool__(self) -> bool:
        return bool(self.files or self.digests or self.changes)


class Sight:
    """Knows what everything that is watched was when it was last looked at. digest: of a build input, as the compiler
    asks for it."""

    def __init__(self, digest: Callable[[Asked], str | None]) -> None:
        self._digest = digest
        self._watched = Watched(frozenset(), (), ())
        self._stamps: dict[str, bytes] = {}
        self._trees: dict[Tree, Contents] = {}  # those that sync rules cover a part of
        self._rules: dict[Rule, Contents] = {}
        self._before: dict[Rule, Mapping[str, Identity]] = {}
        self._owned: Mapping[str, tuple[Asked, ...]] = {}
        self.digests: dict[Asked, str] = {}

    def watch(
        self, watched: Watched, digests: Mapping[Asked, str], owned: Mapping[str, tuple[Asked, ...]]
    ) -> None:
        """Look at all of it for the first time, but for what was watched before. digests: of its build inputs, as they
        were compiled; owned: service -> the build inputs of its image."""
        self._watched, self.digests, self._owned = watched, dict(digests), owned
        self._stamps = {path: self._stamps.get(path) or _stamp(path) for path in watched.files}
        self._trees = {tree: self._trees.get(tree) or _looked(_of_tree(tree)) for tree in watched.trees if tree.covered}
        self._rules = {rule: self._rules.get(rule) or _looked(_of_rule(rule)) for rule in watched.rules}
        for rule, contents in self._rules.items():
            self._before.setdefault(rule, contents.identities)

    def look(self, hints: Hints) -> Difference:
        """What differs from the last look, where the hints say (everywhere, where they say so)."""
        found = Difference()
        paths = [] if hints.everywhere else sorted(hints.paths)
        for path in self._watched.files if hints.everywhere else self._files(paths):
            stamp = _stamp(path)
            if stamp != self._stamps[path]:
                self._stamps[path] = stamp
                found.files.append(path)
        for rule, contents in self._rules.items():
            changes = contents.look() if hints.everywhere else contents.look_at(_below(rule.path, paths))
            if changes:
                found.changes[rule] = changes
        dirty = {tree.asked for tree in self._watched.trees if self._is_dirty(tree, paths, hints.everywhere)}
        for rule in found.changes:
            if rule.action == "rebuild":
                dirty |= set(self._owned.get(rule.service, ()))
        for asked in sorted(dirty):
            digest = self._digest(asked)
            if digest is None:
                found.files.append(asked[0])  # gone: compiling says so
            elif digest != self.digests.get(asked):
                self.digests[asked] = found.digests[asked] = digest
        return found

    def all_of(self, rule: Rule) -> Changes:
        """Everything below the rule's path, and what is gone since it is watched."""
        return Changes(tuple(self._rules[rule].paths), self.since(rule).removed)

    def since(self, rule: Rule) -> Changes:
        """What is different from when the rule was first watched."""
        before, now = self._before[rule], self._rules[rule].identities
        changed = tuple(sorted(path for path, identity in now.items() if before.get(path) != identity))
        removed = tuple(sorted(
            path for path, identity in before.items() if path not in now or now[path][0] != identity[0]
        ))  # fmt: skip
        return Changes(changed, removed)

    def builds(self, rule: Rule) -> bool:
        """Whether the image of the rule's service is made of files here."""
        return bool(self._owned.get(rule.service))

    def _files(self, paths: Iterable[str]) -> list[str]:
        """The watched files that hints speak of: they themselves, or a directory that they are in."""
        known = self._watched.files
        found = {path for path in paths if path in known}
        above = tuple(f"{path}/" for path in paths if path not in known and not os.path.isfile(path))
        if above:
            found |= {path for path in known if path.startswith(above)}
        return sorted(found)

    def _is_dirty(self, tree: Tree, paths: list[str], everywhere: bool) -> bool:
        contents = self._trees.get(tree)
        if contents is not None:
            return bool(contents.look() if everywhere else contents.look_at(_below(tree.path, paths)))
        if everywhere:
            return True
        hints = _below(tree.path, paths)
        if not hints:
            return False
        counts = TreeFilter(tree).counts
        return any(not path or counts(path, False) for path in hints)


def _of_rule(rule: Rule) -> Contents:
    rules = Filter(rule)
    return Contents(rule.path, rules.counts, rules.enters)


def _of_tree(tree: Tree) -> Contents:
    rules = TreeFilter(tree)
    return Contents(tree.path, rules.counts, rules.enters)


def _looked(contents: Contents) -> Contents:
    contents.look()
    return contents


def _below(top: str, paths: Iterable[str]) -> list[str]:
    """The hints below top that may count, relative to it; "" for top itself or a directory above it."""
    found = []
    prefix = top.rstrip("/") + "/"
    for path in paths:
        if path.startswith(prefix):
            if not is_passing(below := path[len(prefix) :]):
                found.append(below)
        elif path == top or prefix.startswith(path.rstrip("/") + "/"):
            found.append("")
    return found


def _stamp(path: str) -> bytes:
    """What there is at path: a digest of a file's content, a word for anything else."""
    try:
        with open(path, "rb") as file:
            return blake2b(file.read(), digest_size=16).digest()
    except IsADirectoryError:
        return b"directory"
    except OSError as error:
        return f"error {error.errno}".encode()
