"""The reference of the YAML as a page of Markdown, from the JSON schema. Pure.

A section per mapping; a mapping that occurs at several places is written down at the first and linked from the others.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

_WORDS = {"object": "mapping", "array": "list", "string": "text", "integer": "number", "number": "number",
          "boolean": "yes or no", "null": "nothing"}  # fmt: skip
_LONGEST_EXAMPLE = 60


def yaml_page(schema: Node) -> str:
    """The whole page."""
    return "\n".join([
        "# The YAML", "",
        "Every key of an `envkit.yaml`, generated from its JSON schema (`envkit schema`). A `compose.yaml` has the "
        "same keys but for `images`, `targets`, `drift`, `services.NAME.allow` and `volumes.NAME.protect`. Keys that "
        "begin with `x-` are yours. `NAME` stands for a name that you choose, `[]` for each item of a list. What "
        "becomes of each key is in [attributes](../compose-attributes.md) and [backends](../backends.md).", "",
        *_Page(schema).lines(),
    ])  # fmt: skip


class _Page:
    def __init__(self, schema: Node) -> None:
        self.definitions: Node = schema.get("definitions", {})
        self.root = schema
        self.places: dict[str, str] = {}
        self.waiting: deque[tuple[str, Node]] = deque()

    def lines(self) -> Iterator[str]:
        """Each mapping, then those within it."""
        self.waiting.append(("", self.root))
        while self.waiting:
            path, node = self.waiting.popleft()
            before, self.waiting = self.waiting, deque()
            yield from self.section(path, node)
            self.waiting.extend(before)

    def section(self, path: str, node: Node) -> Iterator[str]:
        """A mapping's keys as a table, or a table per kind where a key decides which keys there are."""
        level = "##" if path.replace(".NAME", "").count(".") == 0 else "###"
        kinds = list(_kinds(node))
        yield f"{level} `{path}`" if path else "## The document"
        yield ""
        if said := self.said(node):
            yield f"{said}\n"
        for kind, branch in kinds or [("", node)]:
            if kind:
                yield f"With `{kind}`: {self.said(branch)}\n".replace(": \n", ":\n")
            yield "| Key | Type | Default | Meaning |\n|---|---|---|---|"
            for key, item in branch.get("properties", {}).items():
                yield self.row(path, key, self.resolved(item), key in branch.get("required", ()))
            yield ""

    def row(self, path: str, key: str, item: Node, required: bool) -> str:
        """One key. What lies below it is put on the list of sections."""
        link = self.below(f"{path}.{key}" if path else key, item)
        text = self.said(item)
        if item.get("deprecated"):
            text = f"Obsolete. {text}"
        if examples := item.get("examples"):
            shown = json.dumps(examples[0], ensure_ascii=False)
            text += f" For example `{_cell(shown)}`." if len(shown) <= _LONGEST_EXAMPLE else ""
        default = f"`{json.dumps(item['default'])}`" if "default" in item else "required" if required else ""
        name = f"[`{key}`](#{_anchor(link)})" if link else f"`{key}`"
        return f"| {name} | {self.type(item)} | {_cell(default)} | {_cell(text)} |"

    def below(self, path: str, node: Node) -> str:
        """The heading that describes the mapping at or below path; "" where there is none."""
        shape = next(((where, inner) for where, inner in self.inner(path, node)
                      if inner.get("properties") or list(_kinds(inner))), None)  # fmt: skip
        if shape is None:
            return ""
        where, inner = shape
        text = json.dumps([inner.get("properties"), inner.get("then")], sort_keys=True)
        if text not in self.places:
            self.places[text] = where
            self.waiting.append((where, inner))
        return self.places[text]

    def inner(self, path: str, node: Node) -> Iterator[tuple[str, Node]]:
        """The node itself, then what its items and its chosen names lead to."""
        yield path, node
        if isinstance(items := node.get("items"), dict):
            yield from self.inner(f"{path}[]", self.resolved(items))
        for value in _named(node):
            yield from self.inner(f"{path}.NAME", self.resolved(value))

    def resolved(self, node: Node) -> Node:
        if "$ref" not in node:
            return node
        found: Node = self.definitions[node["$ref"].rpartition("/")[2]]
        return {**found, **{key: value for key, value in node.items() if key != "$ref"}}

    def said(self, node: Node) -> str:
        return str(node.get("description", ""))

    def type(self, node: Node) -> str:
        """A short name of what may be written."""
        if enum := node.get("enum"):
            return " ".join(f"`{item}`" for item in enum)
        types = node.get("type", [])
        words = [_WORDS[item] for item in ([types] if isinstance(types, str) else types)]
        if "mapping" in words and list(_named(node)) and not node.get("properties"):
            words[words.index("mapping")] = "mapping of names"
        choice = node.get("then", {}).get("enum", []) if "string" in str(node.get("if", "")) else []
        words = [", ".join(f"`{item}`" for item in choice) if choice and word == "text" else word for word in words]
        return ", ".join(dict.fromkeys(words)) or "anything"


def _named(node: Node) -> Iterator[Node]:
    """The schemas of values below names that the user chooses."""
    for pattern, value in node.get("patternProperties", {}).items():
        if pattern != "^x-" and isinstance(value, dict):
            yield value
    if isinstance(other := node.get("additionalProperties"), dict):
        yield other


def _kinds(node: Node) -> Iterator[tuple[str, Node]]:
    """(the deciding key, the mapping that it asks for) of a chain of if/then/else."""
    while "then" in node and "required" in node.get("if", {}):
        yield node["if"]["required"][0], node["then"]
        node = node.get("else", {})


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
