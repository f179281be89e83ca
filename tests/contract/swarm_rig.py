"""A contract test's needs of a Swarm."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from envkit.host.home import Home
from envkit.spec.environment import Resource
from tests.contract.rig import IMAGE, Rig, resource


class SwarmRig(Rig):
    """A cluster, whose managers make tasks anew instead of starting them again."""

    restarts_in_place = False

    def in_place(self, number: int) -> dict[str, Any]:
        return {"deploy_labels": {"number": str(number)}}

    def service(self, name: str, depends_on: Mapping[str, Any] | None = None, **spec: Any) -> Resource:
        made = super().service(name, depends_on, **{"update": {"monitor": 0.5}, "init": True, **spec})
        if made.spec.get("network_mode") != "none":
            return made
        return resource(str(made.address), {k: v for k, v in made.spec.items() if k != "network_mode"}, depends_on)


@contextlib.contextmanager
def swarm_rig(place: Mapping[str, Any], directory: str) -> Iterator[Rig]:
    """A home of its own against a running cluster; afterwards nothing is left in the cluster."""
    from envkit.backend.swarm.backend import Swarm
    from envkit.image.store import Store
    from tests.support.images import busybox_image

    home = Home(directory)
    busybox_image(Store(home), IMAGE)
    rig = SwarmRig(Swarm(home, place), home)
    try:
        yield rig
    finally:
        for name in rig.backend.environments():
            rig.down(rig.environment(name=name), volumes=True)
