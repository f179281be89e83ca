"""docs/plan.md says of every attribute what changing it costs; the backend and the planner must agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envkit.backend.docker import update as docker
from envkit.backend.embedded.backend import IN_PLACE, RESTART
from envkit.backend.swarm import backend as swarm
from envkit.plan.effects import NO_INSTANCE, Effects
from envkit.spec.canonical import ServiceSpec

PAGE = (Path(__file__).parents[3] / "docs" / "plan.md").read_text(encoding="utf-8")
BACKENDS = {
    "embedded": (IN_PLACE, RESTART, True), "docker": (docker.IN_PLACE, frozenset(), True),
    "podman": (docker.PODMAN_IN_PLACE, frozenset(), True), "swarm": (swarm.IN_PLACE, swarm.RESTART, False),
}  # fmt: skip
"""What changes in place, what needs a restart, whether the planner plans each replica on its own."""
FACTS = frozenset({
    "published", "interfaces", "routes", "instances", "state", "monitor", "bundle", "process", "mounted", "etc",
    "depends_on",
})  # fmt: skip
"""What is observed and not written: the page has it in the table of drift."""


class Costs:
    """The part of a backend's capabilities that says what a change costs."""

    check, kinds, alone = staticmethod(lambda environment: ()), frozenset(), staticmethod(tuple)

    def __init__(self, in_place: frozenset[str], restart: frozenset[str], expands_replicas: bool) -> None:
        self.in_place, self.restart, self.expands_replicas = in_place, restart, expands_replicas


def said(backend: str) -> dict[str, set[str]]:
    """Effect -> the attributes that the page names for it."""
    section = PAGE.partition(f"### {backend}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| ([a-z ]+) \| (`.*) \|$", section, re.MULTILINE)
    return {effect.replace(" ", "-"): set(re.findall(r"`([a-z_.]+)`", cell)) for effect, cell in rows}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_attribute_is_where_it_belongs(backend: str) -> None:
    in_place, restart, expands = BACKENDS[backend]
    effects = Effects(Costs(in_place, restart, expands))
    keys = {*ServiceSpec.__annotations__, *(path for path in {*in_place, *restart} - FACTS if "." in path)}
    wanted: dict[str, set[str]] = {}
    for key in keys:
        wanted.setdefault(effects.of(key), set()).add(key)
    found = said(backend)
    if "replace" not in found:  # "everything else"
        del wanted["replace"]
    assert found == wanted


def test_what_is_no_attribute_is_known() -> None:
    unknown = {path.partition(".")[0] for path in IN_PLACE | RESTART} - {*ServiceSpec.__annotations__} - FACTS
    assert unknown == set()
    assert not NO_INSTANCE - {*ServiceSpec.__annotations__}
