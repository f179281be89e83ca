"""The contract of the port (envkit.backend.base), the same for every backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from envkit.address import Address
from envkit.errors import ConflictError, NotFoundError
from envkit.events import EventKind
from envkit.observed.state import InstanceState
from envkit.plan.model import Action
from envkit.values import replace
from tests.contract.rig import Rig, embedded_rig, memory_rig, resource
from tests.support.isolation import isolated

HEALTHY = {"test": ["CMD", "true"], "interval": 0.2, "start_interval": 0.1, "start_period": 1.0}
contract: list[Callable[[Rig], None]] = []


def holds(test: Callable[[Rig], None]) -> Callable[[Rig], None]:
    contract.append(test)
    return test


@holds
def what_is_applied_is_there(rig: Rig) -> None:
    desired = rig.environment(
        resource("network.default", {}), resource("volume.data", {}),
        rig.service("db", networks={"default": {}}, mounts=[{"type": "volume", "source": "data", "target": "/data"}]),
        rig.service("web", {"service.db": "started"}, networks={"default": {}}, replicas=2),
    )  # fmt: skip
    assert rig.plan(desired).count("create") == 5 - (not rig.expands)
    assert rig.instances() == {}
    rig.settle(desired)
    rows = rig.instances()
    assert sorted(rows) == ["service.db", "service.web", "service.web[2]"]
    assert {row.state for row in rows.values()} == {InstanceState.RUNNING}
    assert len({row.name for row in rows.values()}) == 3
    if rig.expands:
        assert {row.name for row in rows.values()} == {"contract-db-1", "contract-web-1", "contract-web-2"}
    assert rig.backend.environments() == ["contract"]
    volumes = [(row.name, row.key, row.used_by) for row in rig.backend.volumes("contract")]
    assert [(name, used) for name, _, used in volumes] == [("shop_data", ("contract/service.db",))]


@holds
def observing_finds_what_was_applied(rig: Rig) -> None:
    desired = rig.environment(resource("network.default", {}), rig.service("a", networks={"default": {}}))
    rig.settle(desired)
    observed = rig.backend.observe(desired)
    for address, item in desired.resources.items():
        assert dict(observed.resources[address].spec) == dict(item.spec)
        assert observed.resources[address].fingerprint == item.fingerprint
        assert observed.resources[address].complete


@holds
def applying_twice_is_applying_once(rig: Rig) -> None:
    desired = rig.environment(rig.service("a"))
    plan = rig.plan(desired)
    rig.settle(desired, plan)
    before = rig.instances()
    assert rig.apply(desired, plan).done == []
    assert rig.instances() == before


@holds
def a_call_is_about_the_state_afterwards(rig: Rig) -> None:
    desired = rig.environment(resource("network.default", {}), rig.service("a", networks={"default": {}}))
    rig.settle(desired)
    observed = rig.backend.observe(desired)
    deletions = [
        replace(change, action=Action.DELETE, resource=None, observed=observed.resources[change.address])
        for change in reversed(rig.plan(desired).changes)
    ]
    done: list[Any] = []
    with rig.backend.session(
        desired, materials=rig.materials, emit=rig.events.append, parallel=2, lock_timeout=20
    ) as session:
        for change in (*deletions, *deletions):
            session.apply([change], lambda change, error: done.append(error))
    assert done == [None] * 4
    assert rig.instances() == {}


@holds
def only_what_changed_is_touched(rig: Rig) -> None:
    def desired(level: str) -> Any:
        return rig.environment(rig.service("a", environment={"LEVEL": level}), rig.service("b"))

    rig.settle(desired("info"))
    before = rig.instances()
    assert rig.settle(desired("debug")) == ["replace service.a"]
    after = rig.instances()
    assert after["service.b"] == before["service.b"]
    assert after["service.a"].id != before["service.a"].id


@holds
def what_can_change_in_place_does(rig: Rig) -> None:
    def desired(number: int) -> Any:
        return rig.environment(rig.service("a", **rig.in_place(number)))

    rig.settle(desired(1))
    before = rig.instances()["service.a"]
    assert rig.settle(desired(2)) == ["update service.a"]
    after = rig.instances()["service.a"]
    assert (after.id, after.pid, after.started_at) == (before.id, before.pid, before.started_at)


@holds
def start_first_keeps_the_old_one_until_the_new_one_is_good(rig: Rig) -> None:
    update = {"order": "start-first", "monitor": 0.3}

    def desired(level: str, **spec: Any) -> Any:
        return rig.environment(rig.service("a", environment={"LEVEL": level}, update=update, **spec))

    rig.settle(desired("info"))
    before = rig.instances()["service.a"]
    bad = desired("debug", command=["false"], restart={"policy": "no"})
    assert [change.action for change in rig.plan(bad).effective] == [Action.REPLACE_START_FIRST]
    outcome = rig.apply(bad)
    assert [error.address for error in outcome.errors] == ["service.a"]  # type: ignore[attr-defined]
    assert rig.instances() == {"service.a": before}
    assert [change.action for change in rig.plan(bad).effective] == [Action.REPLACE_START_FIRST]
    assert rig.plan(desired("info")).is_empty
    assert rig.settle(desired("debug")) == ["replace service.a"]
    assert rig.instances()["service.a"].id != before.id


@holds
def a_failed_update_pauses_or_goes_back(rig: Rig) -> None:
    def desired(level: str, action: str, **spec: Any) -> Any:
        update = {"failure_action": action, "monitor": 0.1}
        return rig.environment(rig.service("a", replicas=2, environment={"LEVEL": level}, update=update, **spec))

    rig.settle(desired("info", "pause"))
    before = {address: row.id for address, row in rig.instances().items()}
    bad = {"command": ["false"], "restart": {"policy": "no"}}
    outcome = rig.apply(desired("debug", "pause", **bad))
    assert [str(address) for address in outcome.failed] == ["service.a[2]"]
    assert outcome.skipped == {Address("service", "a"): "the update is paused: service.a[2] failed"}
    assert rig.instances()["service.a"].id == before["service.a"]
    rig.settle(desired("info", "rollback"))
    outcome = rig.apply(desired("debug", "rollback", **bad))
    assert [str(address) for address in outcome.failed] == ["service.a[2]"]
    assert not outcome.done
    assert rig.plan(desired("info", "rollback")).is_empty
    assert rig.instances()["service.a"].id == before["service.a"]


@holds
def what_stopped_is_seen_and_started_again(rig: Rig) -> None:
    desired = rig.environment(rig.service("a", restart={"policy": "no"}), rig.service("b"))
    rig.settle(desired)
    before = rig.instances()
    for verb in ("kill", "stop"):
        rig.control("service.a", verb)
        plan = rig.plan(desired)
        assert [str(change.address) for change in plan.drift] == ["service.a"]
        assert rig.settle(desired, plan) == ["update service.a"]
    after = rig.instances()
    assert after["service.a"].state is InstanceState.RUNNING
    assert (after["service.a"].id == before["service.a"].id) is rig.restarts_in_place
    assert after["service.b"] == before["service.b"]


@holds
def scaling_leaves_the_others_alone(rig: Rig) -> None:
    def desired(replicas: int) -> Any:
        return rig.environment(rig.service("a", replicas=replicas))

    rig.settle(desired(1))
    first = rig.instances()["service.a"]
    more = ["create service.a[2]", "create service.a[3]"]
    assert rig.settle(desired(3)) == (more if rig.expands else ["update service.a"])
    three = rig.instances()
    assert three["service.a"] == first
    assert rig.settle(desired(2)) == (["delete service.a[3]"] if rig.expands else ["update service.a"])
    assert {row.id for row in rig.instances().values()} < {row.id for row in three.values()}
    assert not rig.expands or rig.instances()["service.a"] == first
    rig.settle(desired(0))
    assert rig.instances() == {}


@holds
def what_left_the_file_goes(rig: Rig) -> None:
    rig.settle(rig.environment(rig.service("a"), rig.service("b"), resource("volume.data", {})))
    assert rig.settle(rig.environment(rig.service("a"))) == ["delete service.b"]
    assert [row.name for row in rig.backend.volumes("contract")] == ["shop_data"]


@holds
def a_job_that_is_done_stays_done(rig: Rig) -> None:
    job = rig.service("job", command=["true"], restart={"policy": "no"}, expose=None)
    desired = rig.environment(job, rig.service("a", {"service.job": "completed"}))
    rig.settle(desired)
    assert rig.instances()["service.job"].state is InstanceState.EXITED
    assert rig.instances()["service.job"].exit_code == 0


@holds
def a_job_that_fails_is_named(rig: Rig) -> None:
    job = rig.service("job", command=["false"], restart={"policy": "no"}, expose=None)
    desired = rig.environment(job, rig.service("a", {"service.job": "completed"}), rig.service("b"))
    outcome = rig.apply(desired)
    assert [error.address for error in outcome.errors] == ["service.job"]  # type: ignore[attr-defined]
    assert outcome.skipped == {Address("service", "a"): "service.job failed"}
    assert sorted(rig.instances()) == ["service.b", "service.job"]
    mended = rig.environment(
        rig.service("job", command=["true"], restart={"policy": "no"}, expose=None),
        rig.service("a", {"service.job": "completed"}), rig.service("b"),
    )  # fmt: skip
    assert rig.settle(mended) == ["create service.a", "replace service.job"]


@holds
def health_is_waited_for(rig: Rig) -> None:
    desired = rig.environment(
        rig.service("db", healthcheck=HEALTHY), rig.service("web", {"service.db": {"condition": "healthy"}})
    )
    rig.settle(desired)
    waits = [event for event in rig.events if event.kind is EventKind.WAITING]
    assert waits[0].message == "waiting for service.db to become healthy"
    assert rig.instances()["service.db"].health == "healthy"


@holds
def a_dependency_that_is_replaced_restarts_its_dependents(rig: Rig) -> None:
    def desired(level: str) -> Any:
        return rig.environment(
            rig.service("db", environment={"LEVEL": level}), rig.service("web", {"service.db": {"restart": True}})
        )

    rig.settle(desired("info"))
    before = rig.instances()
    assert rig.settle(desired("debug")) == ["replace service.db", "update service.web"]
    after = rig.instances()
    assert (after["service.web"].id == before["service.web"].id) is rig.restarts_in_place


@holds
def a_secret_reaches_its_service_and_nothing_else(rig: Rig) -> None:
    desired = rig.environment(rig.service("a", **rig.secret("password", b"correct horse")))
    rig.settle(desired)
    assert rig.read("service.a", "/run/secrets/password") == b"correct horse"
    assert "correct horse" not in repr(rig.backend.observe(desired)) + repr(rig.plan(desired))
    changed = rig.environment(rig.service("a", **rig.secret("password", b"battery staple")))
    plan = rig.plan(changed)
    assert "sha256" not in repr(plan.effective[0].attributes)
    assert rig.settle(changed, plan) == ["replace service.a"]
    assert rig.read("service.a", "/run/secrets/password") == b"battery staple"


@holds
def a_failure_leaves_nothing_half_done(rig: Rig) -> None:
    spec = rig.secret("password", b"x")
    rig.materials.contents.clear()

    def gone(name: str) -> bytes:
        raise NotFoundError("A secret's source is gone", name)

    rig.materials.secret = gone  # type: ignore[method-assign]
    outcome = rig.apply(rig.environment(rig.service("a", **spec), rig.service("b")))
    assert [error.address for error in outcome.errors] == ["service.a"]  # type: ignore[attr-defined]
    assert sorted(rig.instances()) == ["service.b"]


@holds
def volumes_outlive_everything_but_the_users_word(rig: Rig) -> None:
    mounts = [{"type": "volume", "source": "data", "target": "/data"}]
    desired = rig.environment(resource("volume.data", {}), rig.service("a", mounts=mounts))
    rig.settle(desired)
    with pytest.raises(ConflictError):
        rig.backend.remove_volume("shop_data")
    assert rig.down(desired) == ["service.a"]
    assert [row.name for row in rig.backend.volumes()] == ["shop_data"]
    assert rig.settle(desired) == ["create service.a"]
    assert rig.down(desired, volumes=True) == ["service.a", "volume.data"]
    assert rig.backend.volumes() == []
    with pytest.raises(NotFoundError):
        rig.backend.remove_volume("shop_data")


@holds
def down_leaves_nothing(rig: Rig) -> None:
    joined = rig.service("a", networks={"default": {}})
    desired = rig.environment(resource("network.default", {}), joined, rig.service("b", {"service.a": "started"}))
    rig.settle(desired)
    assert rig.down(desired) == ["network.default", "service.a", "service.b"]
    assert rig.down(desired) == []
    assert rig.backend.observe(desired).resources == {}
    assert rig.instances() == {}
    assert rig.backend.environments() == []


@holds
def environments_do_not_see_one_another(rig: Rig) -> None:
    one, other = rig.environment(rig.service("a"), name="one"), rig.environment(rig.service("a"), name="other")
    rig.settle(one)
    rig.settle(other)
    before = rig.instances("one")
    rig.down(other)
    assert rig.instances("one") == before
    assert rig.instances("other") == {}
    assert rig.plan(one).is_empty


@holds
def the_lock_keeps_a_second_writer_out(rig: Rig) -> None:
    desired = rig.environment(rig.service("a"))
    options: Any = {"materials": rig.materials, "emit": rig.events.append, "parallel": 1}
    with rig.backend.session(desired, lock_timeout=5, **options):
        with pytest.raises(ConflictError), rig.backend.session(desired, lock_timeout=0.05, **options):
            raise AssertionError
        assert rig.plan(desired).count("create") == 1


@holds
def a_wait_that_is_cancelled_returns(rig: Rig) -> None:
    desired = rig.environment(rig.service("a"))
    rig.settle(desired)
    cancelled = threading.Event()
    cancelled.set()
    with rig.backend.session(
        desired, materials=rig.materials, emit=rig.events.append, parallel=1, lock_timeout=5
    ) as session:
        session.wait(Address("service", "a"), "completed", cancelled)


@holds
def control_of_what_is_not_there_says_so(rig: Rig) -> None:
    rig.settle(rig.environment(rig.service("a")))
    with pytest.raises(NotFoundError):
        rig.control("service.nobody", "stop")


@holds
def files_go_in_and_out(rig: Rig) -> None:
    rig.settle(rig.environment(rig.service("a")))
    rig.write("service.a", "/tmp/note", b"hello\n")
    assert rig.read("service.a", "/tmp/note") == b"hello\n"
    with pytest.raises(NotFoundError):
        rig.read("service.a", "/tmp/nothing")


NAMES = [test.__name__.replace("_", " ") for test in contract]


@pytest.mark.parametrize("test", contract, ids=NAMES)
def test_memory(test: Callable[[Rig], None], tmp_path: Any) -> None:
    with memory_rig(str(tmp_path / "home")) as rig:
        test(rig)


@pytest.mark.root
@pytest.mark.parametrize("test", contract, ids=NAMES)
@isolated
def test_embedded(test: Callable[[Rig], None], tmp_path: Any) -> None:
    with embedded_rig(str(tmp_path / "home")) as rig:
        test(rig)
