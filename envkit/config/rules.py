"""Tables of rules by path: `services.*.volumes.*` -> what to do there. Each phase of the pipeline is one such table.

`*` stands for any key of a mapping or any index of a list; an exact key wins over it. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from envkit.config.tree import Map, Seq

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Rules:
    """One node of a table: the rule for the value here (None: there is none), and the tables of what is below it."""

    __slots__ = ("below", "rule")

    def __init__(self) -> None:
        self.rule: Any = None
        self.below: dict[str, Rules] = {}

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Rules:
        root = cls()
        for path, rule in table.items():
            node = root
            for part in path.split("."):
                node = node.below.setdefault(part, cls())
            node.rule = rule
        return root

    def at(self, key: str) -> Rules | None:
        """The table of the value under key, None when no rule applies there or below."""
        below = self.below
        return below.get(key) or below.get("*")


Rewrite = Callable[[object, "Place"], object]


class Place:
    """The value that a rule is called for: its container, its key there, and its path in words of the user."""

    __slots__ = ("container", "key", "path")

    def __init__(self, container: Map | Seq, key: str | int, path: str) -> None:
        self.container = container
        self.key = key
        self.path = path


def rewrite(value: object, rules: Rules, path: str = "") -> None:
    """Replace every value that a rule names by what the rule returns, parents before children."""
    if isinstance(value, Map):
        for key in list(value):
            node = rules.at(key)
            if node is not None:
                below = f"{path}.{key}" if path else key
                if node.rule is not None:
                    value[key] = node.rule(value[key], Place(value, key, below))
                if node.below:
                    rewrite(value[key], node, below)
    elif isinstance(value, Seq):
        node = rules.at("*")
        if node is not None:
            for index in range(len(value)):
                below = f"{path}[{index}]"
                if node.rule is not None:
                    value[index] = node.rule(value[index], Place(value, index, below))
                if node.below:
                    rewrite(value[index], node, below)
