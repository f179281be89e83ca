"""Start-first: the old instance serves until the new one has shown that it can; cut off anywhere, one is left."""

from __future__ import annotations

import contextlib
import glob
import os

import pytest

from envkit.backend.embedded import record as records
from envkit.backend.embedded.network_state import load
from envkit.host.home import Home
from envkit.observed.state import InstanceState
from envkit.plan.model import Action
from tests.support.instances import assert_nothing_left, staged
from tests.support.isolation import apart, isolated
from tests.support.stage import LOOP, Stage, service

pytestmark = pytest.mark.root

SERVER = {"command": ["httpd", "-f", "-p", "80", "-h", "/tmp"], "stop_signal": "SIGKILL"}
APP = service("app", {}).address
PORT = {"target": 80, "published": "18611", "protocol": "tcp", "host_ip": ""}
BESIDE = {"order": "start-first", "monitor": 0.1}


def desired(stage, version, **spec):
    """One service, start-first. version: whatever makes it another one."""
    full = {"update": BESIDE, "environment": {"VERSION": version}, "networks": {"default": {}}, **spec}
    return stage.environment({"app": full}, networks={"default": {}})


def settle(stage, environment):
    outcome = stage.apply(environment)
    assert not outcome.failed, [str(error) for error in outcome.errors]
    assert not outcome.differs, outcome.differs
    assert stage.plan(environment).is_empty, stage.plan(environment).effective


def failure(stage, environment):
    outcome = stage.apply(environment)
    assert list(outcome.failed) == [APP]
    return outcome.failed[APP]


def instance(stage):
    record = records.find(stage.home, stage.name, APP)
    assert record is not None
    return record


def places(stage):
    return sorted(os.listdir(stage.home.instances(stage.name)))


def assert_one(stage):
    """One instance, known by its names, its port leading to it, nothing beside it."""
    record = instance(stage)
    assert places(stage) == [record.key]
    assert os.listdir(f"{stage.home.run}/runtime") == [record.id]
    assert os.listdir(f"{stage.home.run}/netns") == [record.id]
    groups = glob.glob(f"/sys/fs/cgroup/*/envkit-{stage.home.tag}/{stage.name}/*/")
    assert {os.path.basename(path[:-1]) for path in groups} <= {record.id, "monitors"}
    state = load(stage.home, stage.name)
    assert list(state.members) == [record.id]
    assert state.members[record.id].live and state.members[record.id].published == bool(record.ports)
    assert [row.state for row in stage.ps().values()] == [InstanceState.RUNNING]
    return record


@isolated
def test_the_new_one_takes_the_free_place_and_the_old_one_goes(tmp_path):
    with staged(tmp_path) as stage:
        settle(stage, desired(stage, "0", **SERVER, ports=[PORT]))
        seen = {instance(stage).id}
        for version, place in (("1", "app.1.b"), ("2", "app.1"), ("3", "app.1.b")):
            environment = desired(stage, version, **SERVER, ports=[PORT])
            plan = stage.plan(environment)
            assert [change.action for change in plan.effective] == [Action.REPLACE_START_FIRST]
            settle(stage, environment)
            record = assert_one(stage)
            assert (record.key, record.id in seen) == (place, False)
            seen.add(record.id)
            assert stage.ps()["app"].ports == ("18611->80/tcp",)
        settle(stage, stage.environment(  # and stop-first again, from the other place
            {"app": {"networks": {"default": {}}, "environment": {"VERSION": "4"}}}, networks={"default": {}},
        ))  # fmt: skip
        assert assert_one(stage).key == "app.1"
        stage.down(environment)
        assert_nothing_left(stage)


BAD = {
    "it ends": (
        {"command": ["/bin/sh", "-c", "echo bad news; exit 3"], "restart": {"policy": "always"}}, "exit code 3"),
    "it is unhealthy": (
        {"command": ["/bin/sh", "-c", f"echo bad news; {LOOP[2]}"],
         "healthcheck": {"test": ["CMD", "false"], "interval": 0.1, "retries": 1}}, "probe"),
    "its image has no such command": ({"command": ["/bin/nothing"]}, "/bin/nothing"),
    "its secret is gone": ({"secrets": [{"source": "key", "target": "/k"}]}, "key"),
    "a hook fails": ({"post_start": [{"command": ["/bin/sh", "-c", "echo bad news; exit 1"]}]}, "post_start"),
}  # fmt: skip


@isolated
def test_a_new_one_that_fails_leaves_nothing_and_the_old_one_serves(tmp_path):
    with staged(tmp_path) as stage:
        settle(stage, desired(stage, "0", ports=[PORT]))
        before = assert_one(stage)
        for name, (spec, words) in BAD.items():
            environment = desired(stage, "1", ports=[PORT], **spec)
            error = failure(stage, environment)
            assert words in str(error), name
            assert "goes on serving" in error.hint or name not in ("it ends", "it is unhealthy"), name
            if "bad news" in str(spec):
                assert "bad news" in error.log, name
            assert assert_one(stage).id == before.id, name
            assert [change.action for change in stage.plan(environment).effective] == [Action.REPLACE_START_FIRST]
        assert stage.plan(desired(stage, "0", ports=[PORT])).is_empty
        stage.down(environment)
        assert_nothing_left(stage)


@isolated
def test_what_is_healthy_late_is_waited_for(tmp_path):
    ready = ["/bin/sh", "-c", f"(sleep 0.6; touch /tmp/ready) & {LOOP[2]}"]
    with staged(tmp_path) as stage:
        settle(stage, desired(stage, "0"))
        check = {"test": ["CMD", "test", "-e", "/tmp/ready"], "interval": 0.1, "retries": 100}
        settle(stage, desired(stage, "1", command=ready, healthcheck=check))
        assert stage.ps()["app"].health == "healthy"
        stage.down(desired(stage, "1"))
        assert_nothing_left(stage)


@contextlib.contextmanager
def staged_apart(tmp_path):
    """A stage whose commands run in processes of their own; afterwards nothing of it is left."""
    stage = Stage(Home(str(tmp_path / "home")))
    stage.image()
    try:
        yield stage
    finally:
        assert apart(lambda: len(stage.down(stage.environment({}), timeout=0).failed)) == 0
    assert_nothing_left(stage)


STEPS = (
    "services.recorded", "services.started", "succession.commit", "succession.take-over", "succession.stop",
    "instance.remove",
)  # fmt: skip


@isolated
def test_killed_anywhere_one_is_left(tmp_path):
    """Whoever serves at that moment goes on; the next apply ends with one, and what the files say."""
    with staged_apart(tmp_path) as stage:
        _kill_at_every_step(stage)


def _kill_at_every_step(stage):
    def applied(environment):
        return [str(error) for error in stage.apply(environment).failed.values()]

    assert apart(lambda: applied(desired(stage, "0", **SERVER, ports=[PORT]))) == []
    for number, step in enumerate(STEPS, 1):

        def cut_off(number=number, step=step):
            from envkit.host import steps

            steps._active = True
            steps._fail_name, _, steps._fail_count = step.partition(":")
            applied(desired(stage, str(number), **SERVER, ports=[PORT]))

        before = instance(stage).id
        assert apart(cut_off) == -9, step
        serving = {row.id: row.state for row in stage.backend.instances(stage.name)}[instance(stage).id]
        assert instance(stage).complete and serving is InstanceState.RUNNING, step
        committed = instance(stage).id != before
        wanted = desired(stage, str(number if number % 2 else number - 1), **SERVER, ports=[PORT])
        if not committed and not number % 2:
            wanted = desired(stage, instance(stage).spec["environment"]["VERSION"], **SERVER, ports=[PORT])
        assert not stage.plan(wanted).is_empty, step  # two instances are seen, whatever the files say
        assert apart(lambda wanted=wanted: applied(wanted)) == [], step
        assert stage.plan(wanted).is_empty, step
        assert_one(stage)
