"""The JSON schemas: up to date, well-formed, equal in judgement to the models and to Compose's own schema."""

from __future__ import annotations

import json
import random
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from envkit.config.validate import check
from envkit.resources import schema_text
from envkit.spec.environment_file import ComposeFile, EnvironmentFile
from envkit.spec.schema import NAMES, render
from tests.support.documents import Documents


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_schema_is_the_generated_one(name: str) -> None:
    assert schema_text(name) == render(name), "run: python -m envkit.spec.schema schemas"


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_uses_oneof_and_every_key_is_explained(name: str) -> None:
    def walk(node: Any, path: str) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item, path)
        elif isinstance(node, dict):
            assert "oneOf" not in node, path
            for key, item in node.get("properties", {}).items():
                assert "$ref" in item or item.get("description"), f"{path}.{key}"
            for key, item in node.items():
                if key not in ("examples", "default", "enum"):
                    walk(item, f"{path}.{key}")

    walk(json.loads(schema_text(name)), name)


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_valid(name: str) -> None:
    root = json.loads(schema_text(name))

    def walk(node: Any, path: str) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item, path)
        elif isinstance(node, dict):
            validator = jsonschema.Draft7Validator({**node, "definitions": root["definitions"]})
            for example in node.get("examples", ()):
                assert not list(validator.iter_errors(example)), f"{path}: {example}"
            for key, item in node.items():
                if key not in ("examples", "default", "enum"):
                    walk(item, f"{path}.{key}")

    walk(root, name)


def judgements(document: Any) -> dict[str, bool]:
    """Who accepts a document, formats aside."""
    reported = [item for item in check(document, {}, "compose") if ", not a " not in item.detail]
    draft7 = jsonschema.Draft7Validator(json.loads(schema_text("compose")))
    return {"walker": not reported, "jsonschema": draft7.is_valid(document)}


@cache
def composes_own_schema() -> dict[str, Any]:
    """The schema inside the docker-compose program that this environment has for comparison."""
    content = Path(sys.executable).with_name("docker-compose").read_bytes()
    begin = content.rfind(b"{\n", 0, content.index(b"The Compose file is a YAML"))
    text = content[begin : begin + 400_000].decode("utf-8", "replace")
    schema: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return schema


@pytest.mark.parametrize("seed", range(4))
def test_we_accept_and_refuse_what_compose_does(seed: int) -> None:
    oracle = composes_own_schema()
    validator = jsonschema.Draft202012Validator(oracle)
    documents = Documents(oracle, random.Random(seed))
    accepted = 0
    for _ in range(150):
        document = documents.document()
        verdict = validator.is_valid(document)
        accepted += verdict
        assert judgements(document) == {"walker": verdict, "jsonschema": verdict}, document
    assert accepted > 10


@pytest.mark.parametrize("seed", range(2))
def test_the_models_accept_and_refuse_what_the_schema_does(seed: int) -> None:
    documents = Documents(composes_own_schema(), random.Random(1000 + seed))
    for _ in range(100):
        document = documents.document()
        verdict = judgements(document)["walker"]
        for model in (ComposeFile, EnvironmentFile):
            try:
                model.model_validate(document)
            except ValueError:
                assert not verdict, document
            else:
                assert verdict, document
