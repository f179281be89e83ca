"""Generated environments and what can befall them, for the laws."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from envkit.spec.environment import Environment
from tests.support.environments import environment, resource

SERVICES = ("a", "b", "c", "d", "e")
NETWORKS = ("front", "back")
VOLUMES = ("data", "logs")
IMAGES = ("app", "tool")

HEALTHCHECK = {"test": ["CMD", "true"]}


@st.composite
def environments(draw: Any) -> Environment:
    """Up to five services with images, networks, volumes, replicas, jobs, conditions and restarts."""
    suites = st.sampled_from(["bookworm", "trixie"])
    made = [resource(f"image.{name}", {"base": {"debian": draw(suites)}}) for name in IMAGES]
    if draw(st.booleans()):
        made[1] = resource("image.tool", {"base": {"image": "app"}})
    networks = [name for name in NETWORKS if draw(st.booleans())]
    volumes = [name for name in VOLUMES if draw(st.booleans())]
    made += [resource(f"network.{name}", draw(_network)) for name in networks]
    made += [resource(f"volume.{name}", draw(_volume)) for name in volumes]
    specs: dict[str, dict[str, Any]] = {}
    for name in SERVICES:
        if not draw(st.integers(0, 3)):
            continue
        spec = specs[name] = draw(_service(networks, volumes))
        needs = {}
        for earlier, other in list(specs.items())[:-1]:
            if not draw(st.integers(0, 2)):
                needs[f"service.{earlier}"] = {"condition": draw(_condition(other)), "restart": draw(st.booleans())}
        guests = [earlier for earlier in specs if f"service.{earlier}" in needs]
        if guests and not networks and draw(st.booleans()):
            spec["network_mode"] = f"service:{guests[0]}"
        made.append(resource(f"service.{name}", spec, needs))
    plain = environment(*made)
    return Sample(plain.name, plain.directory, plain.files, plain.hardened, plain.resources)


class Sample(Environment):
    """An environment that a failure report shows in a few lines."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = []
        for address, item in self.resources.items():
            needs = [f"{need.address}:{need.condition}{'!' * need.restart}" for need in item.depends_on]
            lines.append(f"    {address} {item.spec} <- {' '.join(needs)}")
        return "\n" + "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


_network = st.fixed_dictionaries({}, optional={"internal": st.just(True), "labels": st.just({"a": "b"})})
_protect = st.fixed_dictionaries({"snapshot": st.just(True), "keep": st.integers(1, 3)})
_volume = st.fixed_dictionaries({}, optional={"labels": st.just({"a": "b"}), "protect": _protect})


@st.composite
def _service(draw: Any, networks: list[str], volumes: list[str]) -> dict[str, Any]:
    spec: dict[str, Any] = {"image": draw(st.sampled_from([*IMAGES, "elsewhere:1"]))}
    job = not draw(st.integers(0, 3))
    if job:
        spec |= {"command": ["true"], "restart": {"policy": draw(st.sampled_from(["no", "on-failure"]))}}
    else:
        spec |= {"command": ["serve"], "expose": ["80"]}
        if draw(st.booleans()):
            spec["healthcheck"] = HEALTHCHECK
    spec["environment"] = {"LEVEL": draw(st.sampled_from(["info", "debug"]))}
    if joined := [name for name in networks if draw(st.booleans())]:
        spec["networks"] = {name: {} for name in joined}
    if mounted := [name for name in volumes if draw(st.booleans())]:
        spec["mounts"] = [{"type": "volume", "source": name, "target": f"/{name}"} for name in mounted]
    if draw(st.booleans()):
        spec["limits"] = {"memory": draw(st.sampled_from([1 << 20, 1 << 30]))}
    if not job and draw(st.booleans()):
        published = draw(st.sampled_from(["8000", "8001"]))
        spec["ports"] = [{"target": 80, "published": published, "protocol": "tcp", "host_ip": ""}]
    if draw(st.booleans()):
        spec["replicas"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        spec["update"] = draw(st.sampled_from([{"order": "start-first"}, {"parallelism": 1}]))
    return spec


def _condition(spec: dict[str, Any]) -> Any:
    fitting = ["started"]
    if "healthcheck" in spec:
        fitting.append("healthy")
    if spec["command"] == ["true"]:
        fitting.append("completed")
    return st.sampled_from(fitting)


ACCIDENTS = ("exit", "stop", "pause", "vanish", "limit", "unpublish", "no network", "no volume", "no image", "cut off")
accidents = st.lists(st.tuples(st.sampled_from(ACCIDENTS), st.integers(0, 20)), max_size=4)
