"""`protect` on the way of a plan that would lose data, and anonymous volumes in one that takes everything down."""

from __future__ import annotations

import pytest

from envkit.address import Address
from envkit.backend.base import Capabilities
from envkit.observed.state import ObservedResource, ObservedState
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.encode import plan_json
from envkit.plan.model import Action, Change, Plan
from envkit.plan.planner import make_plan
from envkit.spec.environment import Environment
from envkit.values import replace
from envkit.views.plan import render_plan
from envkit.views.terminal import Style
from tests.support.environments import environment, resource

ANYTHING = Capabilities("test")
KEEP = {"protect": {"snapshot": True, "keep": 5}}
REFUSE = {"protect": {"snapshot": False, "keep": 3}}
MEMORY = {"driver_opts": {"type": "tmpfs"}}
DATA = Address("volume", "data")


def observed(desired: Environment, *more: ObservedResource) -> ObservedState:
    rows = [ObservedResource(item.address, item.spec, item.fingerprint) for item in desired.resources.values()]
    return ObservedState("shop", {item.address: item for item in (*rows, *more)})


def of_volume(plan: Plan) -> Change:
    return next(change for change in plan.changes if change.address == DATA)


@pytest.mark.parametrize(
    ("spec", "loses", "snapshot", "errors"), [({}, True, 0, 0), (KEEP, False, 5, 0), (REFUSE, True, 0, 1)]
)
def test_what_becomes_of_a_volume_that_goes_or_is_made_anew(spec, loses, snapshot, errors):
    before, after = environment(resource("volume.data", spec)), environment(resource("volume.data", {**spec, **MEMORY}))
    for plan in (
        make_destroy_plan(observed(before), volumes=True, environment=before),
        make_destroy_plan(observed(before), volumes=True),  # by what was applied, without the files
        make_plan(after, observed(before), ANYTHING),
    ):
        change = of_volume(plan)
        assert change.action in (Action.DELETE, Action.REPLACE)
        assert (change.loses_data, change.snapshot) == (loses, snapshot)
        assert [item.code for item in plan.diagnostics] == ["protected"] * errors
        assert plan_json(plan)["changes"][0].get("snapshot", False) == bool(snapshot)


def test_what_the_files_say_now_counts():
    before, now = environment(resource("volume.data", REFUSE)), environment(resource("volume.data", KEEP))
    assert of_volume(make_destroy_plan(observed(before), volumes=True, environment=now)).snapshot == 5
    refused = make_destroy_plan(observed(now), volumes=True, environment=before).diagnostics[0]
    assert refused.source is not None
    assert "volume.data" in refused.detail


@pytest.mark.parametrize("spec", [MEMORY, {"driver_opts": {"type": "none", "o": "bind", "device": "/srv"}}])
def test_what_is_not_in_envkits_keeping_is_not_lost(spec):
    desired = environment(resource("volume.data", {**spec, **REFUSE}))
    plan = make_destroy_plan(observed(desired), volumes=True, environment=desired)
    assert not of_volume(plan).loses_data
    assert not plan.diagnostics


def test_a_change_of_protect_itself_is_in_place():
    plan = make_plan(
        environment(resource("volume.data", KEEP)), observed(environment(resource("volume.data", {}))), ANYTHING
    )
    assert of_volume(plan).action is Action.UPDATE


def test_anonymous_volumes_go_after_those_that_have_them():
    desired = environment(
        resource("service.web", {"image": "x:1"}), resource("service.twin", {"image": "x:1", "volumes_from": ["web"]}),
        resource("service.other", {"image": "x:1"}),
    )  # fmt: skip
    name = "shop_web-1-ad861404"
    anonymous = ObservedResource(
        Address("volume", name), {"name": name}, "", attributes={"name": name, "owner": "service.web /scratch"}
    )
    state = observed(desired, anonymous)
    plan = make_destroy_plan(state, volumes=True, environment=desired)
    change = next(change for change in plan.changes if change.address.name == name)
    assert (change.loses_data, change.reason) == (True, "anonymous, of service.web at /scratch")
    assert {str(item.address) for item in change.requires} == {"service.web", "service.twin"}
    assert all(item.address.kind != "volume" for item in make_plan(desired, state, ANYTHING).changes)
    assert make_destroy_plan(state).count("delete") == 3


def test_bytes_and_files_are_shown():
    desired = environment(resource("volume.data", {}))
    plan = make_destroy_plan(observed(desired), volumes=True)
    there = plan.changes[0].observed
    assert there is not None
    counted = replace(plan.changes[0], observed=replace(there, attributes={"bytes": 5000, "files": 3}))
    text = render_plan(replace(plan, changes=(counted,)), Style(False))
    assert "volume.data  LOSES DATA: 4.9 KiB in 3 files" in text
    assert text.endswith("1 would lose data: 4.9 KiB in 3 files.")
    assert plan_json(replace(plan, changes=(counted,)))["changes"][0]["data"] == {"bytes": 5000, "files": 3}
