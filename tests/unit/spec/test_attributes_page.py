"""docs/compose-attributes.md names every attribute of the schema, and none that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "compose-attributes.md").read_text()
SCHEMA = json.loads((ROOT / "schemas" / "compose.schema.json").read_text())
SECTIONS = {
    "Document": "", "Services": "services.*.", "Networks": "networks.*.", "Volumes": "volumes.*.",
    "Secrets": "secrets.*.", "Configs": "configs.*.",
}  # fmt: skip
WORDS = {"honoured", "warned", "refused", "kept"}


def resolved(node: Any) -> Any:
    while isinstance(node, Mapping) and "$ref" in node:
        node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]]
    return node


def attributes(node: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    """services.*.volumes[].bind.selinux: every key that the schema knows."""
    node = resolved(node)
    if not isinstance(node, Mapping) or depth > 8:
        return
    for key in ("oneOf", "anyOf", "allOf"):
        for branch in node.get(key, ()):
            yield from attributes(branch, path, depth)
    for name, value in (node.get("properties") or {}).items():
        below = f"{path}.{name}" if path else name
        yield below
        yield from attributes(value, below, depth + 1)
    for pattern, value in (node.get("patternProperties") or {}).items():
        if pattern != "^x-":
            yield from attributes(value, f"{path}.*", depth + 1)
    if isinstance(node.get("additionalProperties"), Mapping):
        yield from attributes(node["additionalProperties"], f"{path}.*", depth + 1)
    if isinstance(node.get("items"), Mapping):
        yield from attributes(node["items"], f"{path}[]", depth + 1)


def rows() -> Iterator[tuple[str, str]]:
    """(attribute or all below it, what becomes of it) of the page."""
    prefix = ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            prefix = SECTIONS[line[3:]]
        elif match := re.match(r"\| (`.+`) \| (\w+) \|", line):
            for name in re.findall(r"`([^`]+)`", match[1]):
                yield prefix + name, match[2]


def covers(row: str, attribute: str) -> bool:
    return attribute == row or (row.endswith(".*") and attribute.startswith(row[:-1]))


def test_every_attribute_is_on_the_page() -> None:
    named = [row for row, _ in rows()]
    missing = sorted({item for item in attributes(SCHEMA) if not any(covers(row, item) for row in named)})
    assert not missing, "docs/compose-attributes.md does not say what becomes of these"


def test_the_page_names_nothing_else() -> None:
    known = set(attributes(SCHEMA))
    assert not [row for row, _ in rows() if not any(covers(row, item) for item in known)]
    assert {word for _, word in rows()} <= WORDS
    assert len({row for row, _ in rows()}) == len(list(rows())), "an attribute is there twice"
