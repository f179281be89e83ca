"""A plan's price: the same for every service, however many there are. Counted in CPU time of this process."""

from __future__ import annotations

import gc
import time
from functools import cache

import pytest

from envkit.backend.memory.backend import Memory
from envkit.plan.planner import make_plan
from envkit.spec.environment import Environment
from tests.support.environments import environment, resource


def many(count: int, level: str) -> Environment:
    """Services in chains of ten, each in a network, with a volume, limits and a port."""
    made = [resource("network.default", {}), resource("volume.data", {})]
    for number in range(count):
        needs = {f"service.s{number - 1}": "started"} if number % 10 else {}
        spec = {
            "image": "elsewhere:1", "command": ["serve"], "environment": {"LEVEL": level, "NUMBER": str(number)},
            "networks": {"default": {}}, "mounts": [{"type": "volume", "source": "data", "target": "/data"}],
            "limits": {"memory": 1 << 30}, "expose": ["80"],
        }  # fmt: skip
        made.append(resource(f"service.s{number}", spec, needs))
    return environment(*made)


def world(desired: Environment) -> Memory:
    """A backend on which all of it runs."""
    memory = Memory()
    for address, item in desired.resources.items():
        if address.kind == "service":
            memory.world.create(desired.name, address, item, {})
        else:
            memory.world.make(desired.name, address, item)
    return memory


@cache
def running(count: int) -> Memory:
    return world(many(count, "info"))


@cache
def seconds(count: int, level: str) -> float:
    """CPU seconds of a plan of so many services that run at level info; the best of three. The garbage collector is
    as lazy as in a command (cli.main)."""
    memory, desired = running(count), many(count, level)
    observed, taken = memory.observe(desired), []
    thresholds = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        for _ in range(3):
            started = time.process_time()
            plan = make_plan(desired, observed, memory.capabilities())
            taken.append(time.process_time() - started)
            assert len(plan.effective) == (0 if level == "info" else count)
    finally:
        gc.set_threshold(*thresholds)
    return min(taken)


@pytest.mark.parametrize("level", ["info", "debug"], ids=["no changes", "all change"])
def test_ten_thousand_services(level: str) -> None:
    """In under two seconds, and each in the time that it takes among a hundred."""
    few, lots = seconds(100, level) / 100, seconds(10_000, level) / 10_000
    assert lots * 10_000 < 2
    assert lots < few * 3, f"{few * 1e6:.0f} and {lots * 1e6:.0f} µs"
