"""docs/backends.md is what the backends declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from envkit.backend.features import BY_ID, FEATURES, Feature, check, find
from envkit.backend.select import declarations
from envkit.diagnostics import Severity
from envkit.values import replace
from envkit.views.capabilities import BEGIN, page
from tests.support.environments import environment, resource

PAGE = Path(__file__).parents[3] / "docs" / "backends.md"
LIMITS = [(item, key) for item in declarations() for key in item.limits]


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text()
    assert page(text) == text, "python -m envkit.views.capabilities docs/backends.md"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        page(f"{BEGIN} and no end")


def test_every_row_has_an_id_of_its_own() -> None:
    assert len(BY_ID) == len(FEATURES)
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.id)
def test_an_example_asks_for_its_row(feature: Feature) -> None:
    assert list(find(feature, feature.example))


@pytest.mark.parametrize(("backend", "key"), LIMITS, ids=[f"{item.backend} {key}" for item, key in LIMITS])
def test_a_limit_is_said_with_its_place_and_a_way_out_of_an_error(backend: object, key: str) -> None:
    declaration: object = backend
    feature, limit = BY_ID[key], declaration.limits[key]  # type: ignore[attr-defined]
    written = environment(resource(f"{feature.kind}.it", {"image": "a", **feature.example}))
    desired = replace(written, hardened=False)
    said = [
        item for item in check(declaration, desired, version=lambda: (1, 41))  # type: ignore[arg-type]
        if limit.why in item.detail and feature.name in item.detail
    ]  # fmt: skip
    assert said, "nothing is said"
    assert said[0].severity is limit.severity
    assert said[0].source is not None
    if limit.since is not None:
        later = check(declaration, desired, version=lambda: (1, 99))  # type: ignore[arg-type]
        assert not [item for item in later if limit.why in item.detail and feature.name in item.detail]


def test_an_error_names_a_way_out() -> None:
    without = [
        f"{item.backend} {key}" for item, key in LIMITS
        if item.limits[key].severity is Severity.ERROR and not item.limits[key].hint
    ]  # fmt: skip
    assert without == []
