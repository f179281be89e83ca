"""What the flags of `up` do to a plan."""

from __future__ import annotations

from typing import Any

import pytest

from envkit.address import Address
from envkit.backend.base import Capabilities
from envkit.errors import NotFoundError
from envkit.observed.state import ObservedResource, ObservedState
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.manner import Manner, in_manner
from envkit.plan.model import Action, Plan
from envkit.plan.wishes import Wishes, closure, plan_wishes, scaled, wished
from envkit.spec.environment import Environment
from tests.support.environments import environment, resource

ABILITIES = Capabilities("memory", in_place=frozenset(), restart=frozenset({"state"}))
WEB = resource("service.web", {"image": "app"}, {"service.db": "healthy"})
DB = resource("service.db", {"image": "store"})
APP = resource("image.app", {"name": "app", "build": {"context": "/srv"}})
STORE = resource("image.store", {"name": "store", "reference": "store:1"})
SHOP = environment(APP, STORE, DB, WEB)


def there(of: Environment, **changed: dict[str, Any]) -> ObservedState:
    """Everything of an environment, running; changed: service -> its spec as it was applied."""
    found = {}
    for address, item in of.resources.items():
        spec = {**item.spec, **changed.get(address.name, {})}
        mark = "other" if address.name in changed else item.fingerprint
        state = {"state": "running"} if address.kind == "service" else {}
        found[address] = ObservedResource(address, spec, mark, state, state, image_digest="sha256:1")
    return ObservedState(of.name, found, {"app": "sha256:1", "store": "sha256:1"})


def planned(wishes: Wishes, observed: ObservedState, of: Environment = SHOP) -> tuple[Plan, list[str]]:
    plan, _, orphans = plan_wishes(wished(of, wishes), observed, ABILITIES, wishes)
    return plan, orphans


def actions(plan: Plan) -> dict[str, str]:
    return {str(change.address): change.action.word for change in plan.effective}


NOTHING = ObservedState("shop", {}, {"store": "sha256:1"})


@pytest.mark.parametrize(
    ("wishes", "observed", "expected"),
    [
        (Wishes(), there(SHOP), {}),
        (Wishes(force_recreate=True), there(SHOP), {"service.web": "replace", "service.db": "replace"}),
        (Wishes(("web",), force_recreate=True), there(SHOP), {"service.web": "replace"}),
        (Wishes(("web",), always_recreate_deps=True), there(SHOP), {"service.db": "replace"}),
        (Wishes(build=True), there(SHOP), {"image.app": "update", "service.web": "replace"}),
        (Wishes(no_recreate=True), there(SHOP, web={"user": "x"}), {}),
        (Wishes(), there(SHOP, web={"user": "x"}), {"service.web": "replace"}),
        (Wishes(("db",)), NOTHING, {"image.store": "create", "service.db": "create"}),
        (Wishes(("web",), no_deps=True), NOTHING, {"image.app": "create", "service.web": "create"}),
        (Wishes(scale={"db": 3}), there(SHOP), {"service.db[2]": "create", "service.db[3]": "create"}),
        (Wishes(scale={"db": 0}), there(SHOP), {"service.db": "delete"}),
        (Wishes(no_build=True), there(SHOP, app={"build": {"context": "/old"}}), {}),
    ],
    ids=lambda value: str(value) if isinstance(value, Wishes) else "",
)
def test_what_a_flag_plans(wishes: Wishes, observed: ObservedState, expected: dict[str, str]) -> None:
    assert actions(planned(wishes, observed)[0]) == expected


def test_without_dependencies_nothing_is_waited_for() -> None:
    plan, _ = planned(Wishes(("web",), no_deps=True), NOTHING)
    web = next(change for change in plan.effective if change.address.name == "web")
    assert {item.address.kind for item in web.requires} <= {"image"}


def test_orphans_stay_where_compose_keeps_them() -> None:
    with_more = environment(APP, STORE, DB, WEB, resource("service.old", {"image": "store"}))
    observed = there(with_more)
    plan, orphans = planned(Wishes(keep_orphans=True), observed)
    assert (actions(plan), orphans) == ({}, ["old"])
    plan, orphans = planned(Wishes(remove_orphans=True), observed)
    assert (actions(plan), orphans) == ({"service.old": "delete"}, [])
    plan, _ = planned(Wishes(("db",), remove_orphans=True, known=frozenset({"web", "db"})), observed)
    assert actions(plan) == {"service.old": "delete"}
    plan, _ = planned(Wishes(("db",), keep_orphans=True), observed)
    assert actions(plan) == {}


def test_no_build_needs_the_image() -> None:
    with pytest.raises(NotFoundError, match="not built"):
        planned(Wishes(no_build=True), NOTHING)


def test_names_are_checked() -> None:
    for wishes in (Wishes(("nobody",)), Wishes(scale={"nobody": 2})):
        with pytest.raises(NotFoundError, match="no such service"):
            wished(SHOP, wishes)
    with pytest.raises(ValueError, match="web:3"):
        scaled(["web:3"])
    assert scaled(["web=3", "db=0"]) == {"web": 3, "db": 0}
    assert closure(SHOP, ["web"]) == ["web", "db"]


def test_not_starting_waits_for_no_health_and_leaves_the_running_alone() -> None:
    plan, _ = planned(Wishes(), NOTHING)
    made = {change.address.name: change for change in in_manner(plan.changes, Manner(start=False))}
    assert made["web"].start is False
    assert {item.condition for item in made["web"].requires} == {"applied"}
    stopped = there(SHOP)
    web = Address("service", "web")
    resources = {**stopped.resources, web: ObservedResource(
        web, WEB.spec, WEB.fingerprint, {"state": "running"}, {"state": "exited"}, image_digest="sha256:1"
    )}  # fmt: skip
    plan, _ = planned(Wishes(), ObservedState("shop", resources, stopped.images))
    assert actions(plan) == {"service.web": "update"}
    assert all(change.action is Action.NOOP for change in in_manner(plan.changes, Manner(start=False)))


def test_only_some_are_taken_down() -> None:
    observed = there(SHOP)
    plan = make_destroy_plan(observed, environment=SHOP, only=[Address("service", "web")])
    assert actions(plan) == {"service.web": "delete"}
    assert plan.destroy
    assert plan.partial == ("service.web",)
    assert in_manner(plan.changes, Manner(timeout=3, drop_anonymous=True))[0].timeout == 3
