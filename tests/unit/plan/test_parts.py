"""The planner's parts on their own."""

from __future__ import annotations

import time

import pytest

from envkit.address import Address
from envkit.backend.base import Capabilities
from envkit.errors import ConflictError, EnvkitError, NotFoundError
from envkit.observed.state import ObservedResource, ObservedState
from envkit.plan.compare import compare
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.effects import Effects, globs
from envkit.plan.encode import plan_json
from envkit.plan.model import Action, Effect
from envkit.plan.order import reaches, topological
from envkit.plan.planner import make_plan
from envkit.plan.saved import check_saved, decode_saved, encode_saved
from envkit.plan.sensitive import SENSITIVE
from envkit.spec.environment import Environment
from tests.support.environments import environment, resource

ANYTHING = Capabilities("test")


def test_order_keeps_what_is_free_and_survives_circles() -> None:
    assert topological(["c", "b", "a"], {}) == ["c", "b", "a"]
    assert topological(["c", "b", "a"], {"c": ["a"]}) == ["b", "a", "c"]
    assert topological(["a", "b", "c"], {"a": ["b"], "b": ["a"], "c": ["elsewhere"]}) == ["c", "a", "b"]
    assert reaches("a", "c", {"a": ["b"], "b": ["c", "a"]})
    assert not reaches("c", "a", {"a": ["b"], "b": ["c", "a"]})


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("limits", "limits.memory", True), ("limits", "limits", True), ("limits", "limitless", False),
        ("networks.*.aliases", "networks.default.aliases", True), ("networks.*.aliases", "networks.default", False),
        ("ports", "ports[80/tcp].published", True), ("mounts[[]*", "mounts", False), ("*", "anything.at[all]", True),
    ],
)  # fmt: skip
def test_globs_mean_the_path_and_all_below(pattern: str, path: str, matches: bool) -> None:
    assert bool(globs([pattern])(path)) is matches


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("environment.DB_PASSWORD", "x", SENSITIVE), ("environment.API_KEY", "x", SENSITIVE),
        ("environment.GITHUB_TOKEN", "x", SENSITIVE), ("environment.SECRET_KEY_BASE", "x", SENSITIVE),
        ("environment.DB_PASSWORD_FILE", "/run/secrets/x", "/run/secrets/x"), ("environment.KEYBOARD", "de", "de"),
        ("environment.MONKEY", "x", "x"), ("environment.URL", "postgres://u:p@db/x", SENSITIVE),
        ("environment.URL", "postgres://db/x", "postgres://db/x"), ("environment.OPTS", "user=a,password=b", SENSITIVE),
        ("driver_opts.o", "addr=1.2.3.4,password=b", SENSITIVE), ("secret_digests.db", "hmac:1", SENSITIVE),
        ("working_dir", "/srv/password", "/srv/password"), ("command", ["redis-server", "--a", "secret=1"], SENSITIVE),
        ("labels.auth", "x", SENSITIVE),
    ],
)  # fmt: skip
def test_what_is_masked(path: str, value: object, shown: object) -> None:
    name, _, key = path.partition(".")
    spec = {name: {key: value}} if key else {name: value}
    (change,) = compare({}, spec, lambda path: Effect.NONE, lambda path: "")
    assert (change.path, change.before, change.after) == (path, None, shown)


def test_a_masked_value_that_appears_is_masked_on_both_sides() -> None:
    before, after = {"environment": {"URL": "x://a:b@c"}}, {"environment": {"URL": "x://c"}}
    (change,) = compare(before, after, lambda path: Effect.NONE, lambda path: "")
    assert (change.before, change.after) == (SENSITIVE, SENSITIVE)


def test_the_order_of_a_keyed_list_is_a_change_of_the_whole() -> None:
    one, two = {"type": "tmpfs", "target": "/a"}, {"type": "tmpfs", "target": "/b"}
    (change,) = compare({"mounts": [one, two]}, {"mounts": [two, one]}, lambda path: Effect.NONE, lambda path: path)
    assert (change.path, change.before, change.after, change.source) == ("mounts", [one, two], [two, one], "mounts")


def test_where_a_list_item_is_written_is_asked_by_its_position() -> None:
    before = {"ports": [{"target": 80, "published": "1", "protocol": "tcp", "host_ip": ""}]}
    after = {"ports": [{"target": 81, "published": "2", "protocol": "tcp", "host_ip": ""},
                       {"target": 80, "published": "3", "protocol": "tcp", "host_ip": ""}]}  # fmt: skip
    changes = compare(before, after, lambda path: Effect.NONE, lambda path: path)
    assert {item.path: item.source for item in changes} == {
        "ports[80/tcp].published": "ports[1].published", "ports[81/tcp]": "ports[0]",
    }  # fmt: skip


def test_replicas_concern_an_instance_only_where_the_backend_expands_them() -> None:
    assert Effects(Capabilities("x")).of("replicas") is Effect.NONE
    assert Effects(Capabilities("x", expands_replicas=False)).of("replicas") is Effect.REPLACE
    in_place = Capabilities("x", expands_replicas=False, in_place=frozenset({"replicas"}))
    assert Effects(in_place).of("replicas") is Effect.IN_PLACE


# -- saved plans


def shop(level: str = "info", **more: object) -> Environment:
    return environment(
        resource("network.default", {}),
        resource("service.db", {"image": "x:1", "networks": {"default": {}}}),
        resource("service.web", {"image": "x:1", "environment": {"LEVEL": level}}, {"service.db": "started"}),
        **more,
    )


def applied(desired: Environment) -> ObservedState:
    facts = {"state": "running"}
    found = {
        address: ObservedResource(address, item.spec, item.fingerprint, facts, dict(facts))
        for address, item in desired.resources.items()
    }
    return ObservedState(desired.name, found)


def test_a_saved_plan_is_that_plan_or_none() -> None:
    desired, observed = shop("debug"), applied(shop())
    plan = make_plan(desired, observed, ANYTHING)
    data = encode_saved(plan)
    saved = decode_saved(data, "p.json")
    assert check_saved(saved, desired, observed, ANYTHING) == plan
    with pytest.raises(ConflictError, match=r"the files have changed since: service\.web"):
        check_saved(saved, shop("trace"), observed, ANYTHING)
    with pytest.raises(ConflictError, match=r"the environment has changed since: service\.web"):
        check_saved(saved, desired, applied(desired), ANYTHING)
    with pytest.raises(ConflictError, match="another environment"):
        check_saved(saved, shop("debug", name="other"), observed, ANYTHING)
    assert b"LEVEL" in data


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b'{"format_version": 1}'])
def test_what_is_no_saved_plan_says_so(data: bytes) -> None:
    with pytest.raises(EnvkitError, match=r"not a saved plan: p\.json"):
        decode_saved(data, "p.json")


def test_a_saved_plan_of_another_format_says_so() -> None:
    data = encode_saved(make_plan(shop(), applied(shop()), ANYTHING)).replace(b'"1.0"', b'"2.0"')
    with pytest.raises(EnvkitError, match="another format"):
        decode_saved(data, "p.json")


def test_a_partial_saved_plan_stays_partial() -> None:
    desired, observed = shop("debug"), applied(shop())
    plan = make_plan(desired, observed, ANYTHING, only=["service.db"], replace=["service.db"])
    again = check_saved(decode_saved(encode_saved(plan), "p"), desired, observed, ANYTHING)
    assert [str(change.address) for change in again.effective] == ["service.db"]


# -- the whole


def test_unknown_addresses_get_the_nearest_name() -> None:
    with pytest.raises(NotFoundError) as caught:
        make_plan(shop(), applied(shop()), ANYTHING, only=["service.wep"])
    assert caught.value.hint == "did you mean service.web?"
    with pytest.raises(NotFoundError):
        make_plan(shop(), applied(shop()), ANYTHING, replace=["no.such"])


def test_json_form() -> None:
    plan = make_plan(shop("debug"), applied(shop()), ANYTHING)
    assert plan_json(plan) == {
        "format_version": "1.0",
        "environment": "shop",
        "changes": [
            {
                "address": "service.web",
                "action": "replace",
                "reason": "replaced because environment.LEVEL changed (envkit.yaml:13:7)",
                "attributes": [
                    {"path": "environment.LEVEL", "before": "info", "after": "debug", "source": "envkit.yaml:13:7",
                     "effect": "replace"},
                ],
                "order": "stop-first",
            }
        ],
        "drift": [],
        "summary": {"create": 0, "update": 0, "replace": 1, "delete": 0, "noop": 2, "drift": 0},
        "loses_data": False,
        "partial": [],
        "diagnostics": [],
    }  # fmt: skip


def test_a_creation_shows_its_spec_in_json() -> None:
    changes = plan_json(make_plan(shop(), ObservedState("shop"), ANYTHING))["changes"]
    assert [item["path"] for item in changes[-1]["attributes"]] == ["image", "environment.LEVEL"]


def test_down_takes_things_in_reverse() -> None:
    plan = make_destroy_plan(applied(shop()), environment=shop(), timeout=3)
    assert [str(change.address) for change in plan.changes] == ["service.web", "service.db", "network.default"]
    assert {change.action for change in plan.changes} == {Action.DELETE}
    assert [change.timeout for change in plan.changes] == [3, 3, None]
    assert all(change.resource is None for change in plan.changes)


def test_down_knows_the_order_without_the_files() -> None:
    observed = applied(shop())
    web = observed.resources[Address("service", "web")]
    facts = ObservedResource(web.address, web.spec, web.fingerprint, attributes={"depends_on": ["db"]})
    observed = ObservedState("shop", {**observed.resources, web.address: facts})
    db = next(change for change in make_destroy_plan(observed).changes if change.address.name == "db")
    assert [str(item.address) for item in db.requires] == ["service.web"]


def test_volumes_go_only_on_demand_and_external_ones_never() -> None:
    desired = environment(resource("volume.data", {}), resource("volume.corp", {"external": True, "name": "corp"}))
    assert make_destroy_plan(applied(desired)).is_empty
    plan = make_destroy_plan(applied(desired), volumes=True)
    assert [(str(change.address), change.loses_data) for change in plan.changes] == [("volume.data", True)]


def test_ten_thousand_services_take_time_in_proportion() -> None:
    def spent(count: int) -> float:
        services = [resource(f"service.s{number}", {"image": "x:1"}) for number in range(count)]
        desired = environment(*services)
        start = time.process_time()
        make_plan(desired, applied(desired), ANYTHING)
        make_plan(desired, ObservedState("shop"), ANYTHING)
        return time.process_time() - start

    spent(100)
    assert spent(8000) < 30 * max(spent(1000), 0.02)
