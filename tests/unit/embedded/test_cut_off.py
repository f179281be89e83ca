"""Killed at one of many moments of an apply or a down: the next one finishes the work."""

from __future__ import annotations

import os

import pytest

from envkit.host.home import Home
from envkit.observed.state import InstanceState
from tests.support.instances import assert_nothing_left
from tests.support.isolation import apart, isolated
from tests.support.stage import LOOP, Stage, Supply, seeded_image

pytestmark = pytest.mark.root

STEPS = (
    "services.recorded", "rootfs.shared", "rootfs.private", "instance.create:2", "instance.start:2",
    "services.started:2", "materials.write", "volume.create", "volume.filled", "write_atomic.rename:3",
)  # fmt: skip


@isolated
@pytest.mark.parametrize("step", STEPS)
def test_killed_in_the_middle_the_next_apply_converges(tmp_path, step):
    stage = Stage(Home(str(tmp_path / "home")))
    seeded_image(stage.home)
    stage.supply = Supply({"key": b"x"})
    mount = {"type": "volume", "source": "data", "target": "/srv/seed"}
    spec = {"image": "seeded:test", "command": LOOP, "mounts": [mount], "secrets": [{"source": "key", "target": "/k"}]}
    services = {f"s{n}": {**spec, "read_only": n % 2 == 0} for n in range(3)}
    environment = stage.environment(services, volumes={"data": {}})

    def apply():
        return [str(error) for error in stage.apply(environment).failed.values()]

    def cut_off():
        from envkit.host import steps

        steps._active = True
        steps._fail_name, _, steps._fail_count = step.partition(":")
        return apply()

    assert apart(cut_off) == -9
    assert apart(apply) == []
    assert apart(lambda: stage.plan(environment).is_empty)
    assert {row.state for row in stage.ps().values()} == {InstanceState.RUNNING}
    assert len(os.listdir(f"{stage.home.run}/runtime")) == 3
    assert apart(lambda: [str(e) for e in stage.down(environment, timeout=0).failed.values()]) == []
    assert sorted(os.listdir(f"{stage.home.volumes}/stage_data/data")) == ["deep", "index.html"]
    assert_nothing_left(stage)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        assert str(tmp_path) not in file.read()


@isolated
def test_killed_while_going_down_the_next_down_finishes(tmp_path):
    stage = Stage(Home(str(tmp_path / "home")))
    stage.image()
    environment = stage.environment({f"s{n}": {"command": LOOP, "read_only": n == 0} for n in range(3)})
    for step in (
        "instance.detach", "cgroup.remove:2", "unmount:2", "instance.remove", "remove_tree:6", "environment.remove"
    ):  # fmt: skip
        assert apart(lambda: len(stage.apply(environment).failed)) == 0

        def cut_off(step=step):
            from envkit.host import steps

            steps._active = True
            steps._fail_name, _, steps._fail_count = step.partition(":")
            stage.down(environment, timeout=0)

        assert apart(cut_off) == -9, step
        assert apart(lambda: len(stage.down(environment, timeout=0).failed)) == 0, step
        apart(lambda: stage.backend.maintain(stage.name))
        assert_nothing_left(stage)
