"""The JSON schemas of compose.yaml and envkit.yaml, generated from the models.

    python -m envkit.spec.schema DIRECTORY      writes environment.schema.json and compose.schema.json

JSON Schema draft 7, in a form that editors report well: a union of types is one schema with a list of types (the
keywords of each concern that type alone), a choice between mappings is a chain of if/then on the key that decides, and
nothing uses oneOf, whose errors land on the parent. `config/validate.py` reads the same files.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envkit.spec.vocabulary import Section

Schema = dict[str, Any]
NAMES = ("compose", "environment")
_DROPPED = ("title", "nullable", "$defs", "discriminator")
_SHARED_FROM = 160  # characters of JSON from which a schema that occurs twice becomes a definition


def generate(name: str) -> Schema:
    """The schema called name (one of NAMES), as JSON data with its keys in a fixed order."""
    from envkit.spec.environment_file import ComposeFile, EnvironmentFile

    model: type[Section] = EnvironmentFile if name == "environment" else ComposeFile
    raw = model.model_json_schema(by_alias=True)
    body = _Normaliser(raw.get("$defs", {})).schema(raw)
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": raw["title"]}
    return _share({**head, **body})


def render(name: str) -> str:
    """The schema as the text of its file."""
    return json.dumps(generate(name), indent=1, ensure_ascii=False) + "\n"


class _Normaliser:
    """pydantic's schema -> one without $ref, title, anyOf and null defaults."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self.definitions = definitions

    def schema(self, node: Schema) -> Schema:
        """A schema anywhere but directly below `properties`."""
        if "$ref" in node:
            rest = {name: value for name, value in node.items() if name != "$ref"}
            return self.schema({**self.definitions[node["$ref"].rpartition("/")[2]], **rest})
        if "anyOf" in node and any(set(option) != {"required"} for option in node["anyOf"]):
            return self._union(node)
        made: Schema = {}
        for name, value in node.items():
            if name in _DROPPED or (name == "default" and value is None):
                continue
            if name == "properties":
                made[name] = {each: self._property(item) for each, item in value.items()}
            elif name in ("patternProperties",):
                made[name] = {each: self.schema(item) for each, item in value.items()}
                if not value.get("^x-"):
                    made.setdefault("additionalProperties", False)
            elif name in ("items", "additionalProperties") and isinstance(value, dict):
                made[name] = self.schema(value)
            elif name == "const":
                made["enum"] = [value]
            else:
                made[name] = value
        return made

    def _property(self, node: Schema) -> Schema:
        """A key's schema: null is no value of its own, unless the key says so."""
        if "anyOf" in node and not node.get("nullable"):
            options = [option for option in node["anyOf"] if option != {"type": "null"}]
            rest = {name: value for name, value in node.items() if name != "anyOf"}
            node = {**options[0], **rest} if len(options) == 1 else {**rest, "anyOf": options}
        made = self.schema(node)
        order = ("description", "default", "examples", "deprecated")
        return {**{name: made[name] for name in order if name in made}, **made}

    def _union(self, node: Schema) -> Schema:
        """Options of different types as one schema, mappings that a key tells apart as a chain of if/then."""
        rest = {name: self.schema({name: value})[name] for name, value in node.items()
                if name not in ("anyOf", "kinds", *_DROPPED) and not (name == "default" and value is None)}  # fmt: skip
        options = [self.schema(option) for option in node["anyOf"]]
        if kinds := node.get("kinds"):
            return {**choice(options, kinds), **rest}
        made: Schema = {"type": []}
        for option in options:
            types = option["type"] if isinstance(option["type"], list) else [option["type"]]
            if set(types) & set(made["type"]):
                raise TypeError(f"two options of one type cannot be told apart: {options}")
            made["type"] += types
            if "enum" in option:
                made["if"], made["then"] = {"type": types[0]}, {"enum": option["enum"]}
            made |= {name: value for name, value in option.items()
                     if name not in ("type", "enum", "description", "examples") and (name != "default")}  # fmt: skip
            if "description" in option and "description" not in rest:
                rest["description"] = option["description"]
        if {"integer", "number"} <= set(made["type"]):
            made["type"].remove("integer")
        if len(made["type"]) == 1:
            made["type"] = made["type"][0]
        return {**made, **rest}


def choice(options: list[Schema], kinds: list[str] | tuple[str, ...]) -> Schema:
    """One mapping schema: the first of kinds that is present selects the option that requires it."""
    by_kind = {kind: next(item for item in options if item["required"][0] == kind) for kind in kinds}
    offered: Schema = {}
    for kind, option in by_kind.items():
        offered.setdefault(kind, option["properties"][kind])
    for option in options:
        for name, item in option["properties"].items():
            offered.setdefault(name, {"description": item.get("description", "")})
    described = {name: {"description": item.get("description", "")} for name, item in offered.items()}
    chain: Schema = {
        "anyOf": [{"required": [kind]} for kind in kinds], "properties": described, "additionalProperties": False,
    }  # fmt: skip
    for kind, option in reversed(by_kind.items()):
        branch = {name: value for name, value in option.items() if name != "type"}
        chain = {"if": {"required": [kind]}, "then": branch, "else": chain}
    return {
        "type": "object",
        "properties": described,
        **chain,
    }


def _share(root: Schema) -> Schema:
    """Move every key's schema that occurs more than once to `definitions`."""
    seen: Counter[str] = Counter()

    def count(node: Any) -> None:
        if isinstance(node, dict):
            for item in node.get("properties", {}).values():
                seen[_text(item)] += 1
            for item in node.values():
                count(item)
        elif isinstance(node, list):
            for item in node:
                count(item)

    count(root)
    names: dict[str, str] = {}
    definitions: Schema = {}

    def move(node: Any) -> Any:
        if isinstance(node, list):
            return [move(item) for item in node]
        if not isinstance(node, dict):
            return node
        made = {name: move(item) for name, item in node.items() if name != "properties"}
        if "properties" in node:
            made["properties"] = {name: named(name, item) for name, item in node["properties"].items()}
            made = {name: made[name] for name in node}
        return made

    def named(name: str, item: Schema) -> Schema:
        text = _text(item)
        if seen[text] < 2 or len(text) < _SHARED_FROM:
            made: Schema = move(item)
            return made
        if text not in names:
            number = 1
            while (chosen := name if number == 1 else f"{name}_{number}") in definitions:
                number += 1
            names[text] = chosen
            definitions[chosen] = {}
            definitions[chosen] = move(item)
        return {"$ref": f"#/definitions/{names[text]}"}

    body: Schema = move(root)
    return {**body, "definitions": dict(sorted(definitions.items()))}


def _text(item: Any) -> str:
    return json.dumps(item, sort_keys=True)


def main(directory: str) -> None:
    """Write every schema's file below directory."""
    for name in NAMES:
        with open(f"{directory}/{name}.schema.json", "w", encoding="utf-8") as file:
            file.write(render(name))


if __name__ == "__main__":
    main(sys.argv[1])
