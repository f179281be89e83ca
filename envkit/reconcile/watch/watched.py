"""What is watched of an environment: the files it is compiled from, its build inputs, and its rules. Pure but for the
look-ups of paths.
"""

from __future__ import annotations

import os

from envkit.host.ignore import FILES, Ignore, rules_for
from envkit.reconcile.watch.rules import Rule, is_passing, rules_of
from envkit.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from envkit.config.environment import Loaded
    from envkit.config.inputs import Asked
    from envkit.spec.environment import Environment


@value
class Tree:
    """A build input. asked: the question that the compiler asks about it. covered: paths of sync rules in it, which
    carry their changes into the running container, so that they are no reason to build."""

    path: str
    asked: Asked
    covered: tuple[str, ...] = ()

    def rules(self) -> Ignore:
        """What is left out of it, as it says now. Raises HostError."""
        _, directory, exclude, rules_file, _ = self.asked
        given = Ignore.from_file(rules_file) if rules_file else None
        return rules_for(directory or self.path, self.path, exclude, given)


@value
class Watched:
    """files: everything whose content, or absence, decides what the environment is. rules: those that are followed."""

    files: frozenset[str]
    trees: tuple[Tree, ...]
    rules: tuple[Rule, ...]

    @property
    def roots(self) -> tuple[str, ...]:
        """What is looked at with everything below it."""
        return tuple(dict.fromkeys([*(rule.path for rule in self.rules), *(tree.path for tree in self.trees)]))


def watched(loaded: Loaded, services: Iterable[str] = ()) -> Watched:
    """What decides about this environment; services: the only ones whose rules count, all when empty."""
    inputs, environment = loaded.inputs, loaded.environment
    chosen = frozenset(services)
    rules = tuple(
        rule for rule in rules_of(loaded.model)
        if rule.service in environment.services and (not chosen or rule.service in chosen)
    )  # fmt: skip
    files = {*inputs.sources.files, *inputs.sources.found, *(path for path, _, _ in inputs.secrets)}
    trees = []
    questions: list[Asked] = [row[:5] for row in inputs.trees]
    for asked in dict.fromkeys(questions):
        path, directory, _, rules_file, _ = asked
        files.discard(path)
        base = directory or path
        files |= {rules_file} if rules_file else {os.path.join(base, name) for name in FILES}
        trees.append(Tree(path, asked, _covered(path, rules)))
    return Watched(frozenset(path for path in files if path.startswith("/")), tuple(trees), rules)


def _covered(tree: str, rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.path for rule in rules if rule.syncs and _overlaps(rule.path, tree)))


def _overlaps(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def images_of(environment: Environment, service: str) -> list[str]:
    """The names of the service's image and of those that it is made from."""
    resource = environment.get("service", service)
    found: dict[str, None] = {}
    work = [str(resource.spec["image"])] if resource else []
    while work:
        name = work.pop()
        image = environment.get("image", name)
        if name not in found and image is not None:
            found[name] = None
            work += [item.address.name for item in image.depends_on if item.address.kind == "image"]
    return list(found)


class TreeFilter:
    """What of a build input counts as a reason to build."""

    def __init__(self, tree: Tree) -> None:
        self._ignore = tree.rules()
        covered = [os.path.relpath(path, tree.path) for path in tree.covered]
        self._all = any(path == "." or path.startswith("..") for path in covered)
        self._covered = tuple(path for path in covered if not path.startswith(".."))

    def counts(self, path: str, is_directory: bool) -> bool:
        return not (self._leaves_out(path) or (self._ignore and self._ignore.matches(path)))

    def enters(self, path: str) -> bool:
        return not (self._leaves_out(path) or (self._ignore and self._ignore.prunes(path)))

    def _leaves_out(self, path: str) -> bool:
        return self._all or is_passing(path) or any(
            path == place or path.startswith(place + "/") for place in self._covered
        )
