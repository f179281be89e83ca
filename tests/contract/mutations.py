"""What people do to containers behind envkit's back, by the engine's own command, and what a plan must say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.contract.rig import Rig
from tests.support.environments import resource

Run = Callable[..., str]
"""docker(…) or podman(…): the words after the command; its output."""


class Mutation(NamedTuple):
    """commands: of the engine, {a}: the container; expected: (address, path, before, after) of all drift; changes: what
    the plan does about it."""

    name: str
    commands: tuple[str, ...]
    expected: tuple[tuple[str, str, Any, Any], ...]
    changes: tuple[str, ...]


GONE = ("state", "present", "gone")
MUTATIONS = (
    Mutation("memory", ("update --memory 48m --memory-swap 96m {a}",),
             (("service.a", "limits.memory", 64 << 20, 48 << 20),),
             ("update service.a",)),
    Mutation("cpu shares", ("update --cpu-shares 512 {a}",),
             (("service.a", "limits.cpu_shares", None, 512),), ("update service.a",)),
    Mutation("restart policy", ("update --restart always {a}",),
             (("service.a", "restart.policy", "unless-stopped", "always"),), ("update service.a",)),
    Mutation("disconnect", ("network disconnect shop_front {a}",),
             (("service.a", "networks.front", "attached", None),), ("update service.a",)),
    Mutation("connect", ("network connect elsewhere {a}",),
             (("service.a", "networks.(elsewhere)", None, "attached"),), ("update service.a",)),
    Mutation("stop", ("stop -t 0 {a}",), (("service.a", "state", "running", "exited"),), ("update service.a",)),
    Mutation("kill", ("kill {a}",), (("service.a", "state", "running", "exited"),), ("update service.a",)),
    Mutation("pause", ("pause {a}",), (("service.a", "state", "running", "paused"),), ("update service.a",)),
    Mutation("rename", ("rename {a} somebody",),
             (("service.a", "name", "contract-a-1", "somebody"),), ("update service.a",)),
    Mutation("remove", ("rm -f {a}",), (("service.a", *GONE),), ("create service.a",)),
    Mutation("remove the network", ("network disconnect -f shop_back {a}", "network rm shop_back"),
             (("network.back", *GONE), ("service.a", "networks.back", "attached", None)),
             ("create network.back", "update service.a")),
    Mutation("remove the volume", ("rm -f {a}", "volume rm shop_data"),
             (("volume.data", *GONE), ("service.a", *GONE)), ("create service.a", "create volume.data")),
    Mutation("disconnect everywhere", ("network disconnect shop_front {a}", "network disconnect shop_back {a}"),
             (("service.a", "networks.front", "attached", None), ("service.a", "networks.back", "attached", None)),
             ("update service.a",)),
    Mutation("stop and rename", ("stop -t 0 {a}", "rename {a} somebody"),
             (("service.a", "state", "running", "exited"), ("service.a", "name", "contract-a-1", "somebody")),
             ("update service.a",)),
    Mutation("retag the image", ("tag docker.io/library/busybox:other docker.io/library/busybox:test",), (),
             ("replace service.a",)),
)  # fmt: skip


def desired(rig: Rig) -> Any:
    """One service with something of everything."""
    return rig.environment(
        resource("network.front", {}), resource("network.back", {}), resource("volume.data", {}),
        rig.service(
            "a", networks={"front": {}, "back": {}}, restart={"policy": "unless-stopped"},
            limits={"memory": 64 << 20, "memory_swap": 128 << 20},
            mounts=[{"type": "volume", "source": "data", "target": "/data"}],
        ),
    )  # fmt: skip


def check(rig: Rig, run: Run, mutation: Mutation) -> None:
    """The mutation is reported as exactly what it is, is mended, and the plan is empty afterwards."""
    wanted = desired(rig)
    rig.settle(wanted)
    for command in mutation.commands:
        run(*command.format(a="contract-a-1").split())
    plan = rig.plan(wanted)
    found = [
        (str(change.address), item.path, item.before, item.after) for change in plan.drift for item in change.attributes
    ]
    assert sorted(found, key=str) == sorted(mutation.expected, key=str), mutation.name
    assert rig.settle(wanted, plan) == list(mutation.changes)
