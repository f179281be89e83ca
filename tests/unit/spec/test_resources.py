"""Shipped data: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envkit import resources

ROOT = Path(__file__).parents[3]


def test_a_checkout_has_schemas_and_templates() -> None:
    assert json.loads(resources.schema_text("environment"))["title"] == "envkit environment"
    names = resources.template_names()
    assert len(names) >= 3
    assert all((Path(resources.template_dir(name)) / "envkit.yaml").is_file() for name in names)


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such"):
        resources.template_dir("no-such")
    monkeypatch.setattr(resources, "_PACKAGE", str(tmp_path / "envkit"))
    with pytest.raises(FileNotFoundError, match="not installed completely"):
        resources.schema_text("environment")


def test_the_data_inside_the_package_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "envkit/_data/schemas").mkdir(parents=True)
    (tmp_path / "envkit/_data/schemas/compose.schema.json").write_text("{}")
    monkeypatch.setattr(resources, "_PACKAGE", str(tmp_path / "envkit"))
    assert resources.schema_text("compose") == "{}"


FILES = sorted([*ROOT.glob("templates/*/envkit.yaml"), *ROOT.glob("examples/*/envkit.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_template_and_example_follows_the_schema(path: Path) -> None:
    from envkit.config.parse import parse
    from envkit.config.validate import check
    from envkit.diagnostics import Diagnostics

    found = Diagnostics()
    ((document, _),) = parse(path.read_bytes(), path.name, found)
    assert [*found, *check(document, {}, "environment")] == []
