"""Random documents that nearly follow a JSON schema: most keys and types are right, some are not."""

from __future__ import annotations

import random
from typing import Any

SCALARS = [None, True, False, 0, 1, -1, 5, 1.5, 2000, "", "a", "x-y", "true", "80", "service_started", "bind", "all",
           "z", "10s", "1g", "always", "host", "/x", "A"]  # fmt: skip
ODD = [[], {}, [1], {"a": 1}, ["a", "a"], {"x-a": 1}, {"foo": "b"}]


class Documents:
    """schema: one with `services` and `$defs`; choose: the source of chance."""

    def __init__(self, schema: dict[str, Any], choose: random.Random) -> None:
        self.schema = schema
        self.choose = choose

    def document(self) -> dict[str, Any]:
        """A document; every third is made from the top, the others have one service."""
        if self.choose.random() < 0.3:
            made = self.value(self.schema)
            return made if isinstance(made, dict) else {}
        return {"services": {"a": self.value(self.schema["$defs"]["service"])}}

    def value(self, node: dict[str, Any]) -> Any:
        if self.choose.random() < 0.05:
            return self.choose.choice([*SCALARS, *ODD])
        if "$ref" in node:
            return self.value(self._target(node))
        if "oneOf" in node:
            return self.value(self.choose.choice(node["oneOf"]))
        if "enum" in node:
            return self.choose.choice(node["enum"])
        kind = node.get("type")
        kind = self.choose.choice(kind) if isinstance(kind, list) else kind
        if kind == "object" or "properties" in node or "allOf" in node:
            return self._mapping(node)
        if kind == "array":
            return [self.value(node["items"]) for _ in range(self.choose.choice([0, 1, 1, 2, 3]))]
        candidates = {"string": [item for item in SCALARS if isinstance(item, str)], "integer": [0, 1, 5, 100, -5],
                      "number": [0, 1, 2.5, 100], "boolean": [True, False]}  # fmt: skip
        return self.choose.choice(candidates.get(str(kind), [None]))

    def _target(self, node: dict[str, Any]) -> dict[str, Any]:
        target: dict[str, Any] = self.schema["$defs"][node["$ref"].rpartition("/")[2]]
        return target

    def _properties(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            return self._properties(self._target(node))
        found = dict(node.get("properties", {}))
        for part in node.get("allOf", ()):
            found.update(self._properties(part))
        return found

    def _mapping(self, node: dict[str, Any]) -> dict[str, Any]:
        known = self._properties(node)
        chance = 0.12 if len(known) > 20 else 0.5
        made = {name: self.value(item) for name, item in known.items()
                if name in node.get("required", ()) or self.choose.random() < chance}  # fmt: skip
        for pattern, item in node.get("patternProperties", {}).items():
            if self.choose.random() < 0.5:
                name = "x-own" if pattern == "^x-" else self.choose.choice(["abc", "def"])
                made[name] = self.value(item) if item else 1
        if self.choose.random() < 0.02:
            made["unheard_of"] = 1
        return made
