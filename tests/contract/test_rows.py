"""Every row of docs/backends.md against a real engine: what a backend says that it honours changes what the engine is
told, and the engine has kept it."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from envkit.backend.docker import encode as docker_encode
from envkit.backend.docker import encode_network
from envkit.backend.docker.features import DOCKER
from envkit.backend.engine_api import Engine, EngineAddress
from envkit.backend.features import FEATURES, Declaration, Feature
from envkit.backend.swarm import encode as swarm_encode
from envkit.backend.swarm.facts import facts
from envkit.backend.swarm.features import SWARM
from tests.contract.rig import IMAGE, give_image
from tests.support.dockerd import Dockerd
from tests.support.swarm import swarm

pytestmark = [pytest.mark.root, pytest.mark.dockerd, pytest.mark.long]

BASE = {"image": IMAGE, "replicas": 1, "restart": {"policy": "always"}}


def honoured(declaration: Declaration, kind: str, elsewhere: Collection[str] = ()) -> list[Feature]:
    """The rows that say yes for every engine, without those of elsewhere (ids, or beginnings that end with a dot)."""
    beginnings = tuple(text for text in elsewhere if text.endswith("."))
    return [
        feature for feature in FEATURES
        if feature.kind == kind and feature.id not in declaration.limits
        and feature.id not in elsewhere and not feature.id.startswith(beginnings or ("-",))
    ]  # fmt: skip


# -- Swarm

SWARM_NEEDS_NOTHING = {"service.expose"}
"""Honoured by what a Swarm is: every port of a task can be reached by those in its networks."""


@pytest.fixture(scope="module")
def manager() -> Iterator[Engine]:
    with swarm(1) as cluster:
        yield cluster.manager.engine


@pytest.fixture(scope="module")
def network(manager: Engine) -> str:
    made = manager.post("/networks/create", swarm_encode.network("rows", {"name": "rows_net"}, {}))
    return str(made["Id"])


@pytest.mark.parametrize("feature", honoured(SWARM, "service", SWARM_NEEDS_NOTHING), ids=lambda feature: feature.id)
def test_a_swarm_keeps_what_it_honours(manager: Engine, network: str, feature: Feature) -> None:
    host = manager.get("/networks/host", scope="swarm")["Id"]
    place = swarm_encode.Place("rows", "busybox:1", networks={"net": network, "host": host}, version=manager.version)
    base: dict[str, Any] = {**BASE, "networks": {"net": {}}} if "networks" in feature.example else dict(BASE)
    sent = swarm_encode.service("row", {**base, **feature.example}, place)
    sent["Labels"] = dict(feature.example.get("deploy_labels") or {})
    usual = swarm_encode.service("row", base, place)
    assert sent != {**usual, "Labels": {}}, "it changes nothing of what is sent"
    if "Replicated" in sent["Mode"] and feature.path != "replicas":
        sent["Mode"] = {"Replicated": {"Replicas": 0}}  # nothing need run
    identity = manager.post("/services/create", sent)["ID"]
    try:
        kept = manager.get(f"/services/{identity}")["Spec"]
        names = {network: "net", host: "host"}
        assert facts(kept, names) == facts(sent, names)
    finally:
        manager.delete(f"/services/{identity}")


@pytest.mark.parametrize("feature", honoured(SWARM, "network"), ids=lambda feature: feature.id)
def test_a_swarm_keeps_networks(manager: Engine, feature: Feature) -> None:
    sent = swarm_encode.network("rows", {"name": "row", **feature.example}, {})
    identity = manager.post("/networks/create", sent)["Id"]
    try:
        deadline = time.monotonic() + 10
        while not (kept := manager.get(f"/networks/{identity}", scope="swarm"))["Driver"]:  # its allocator's to fill in
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert kept["Driver"] == "overlay"
        for key in ("Internal", "Attachable", "EnableIPv6"):
            assert kept[key] == sent[key], key
        assert sent["Options"].items() <= kept["Options"].items()
        subnets = {row["Subnet"] for row in kept["IPAM"]["Config"] or ()}
        assert {row["Subnet"] for row in (sent.get("IPAM") or {}).get("Config") or ()} <= subnets
    finally:
        manager.delete(f"/networks/{identity}")


# -- Docker

DOCKER_ELSEWHERE = {
    "service.replicas", "service.mode:global", "service.update.parallelism", "service.update.order",
    "service.update.delay", "service.update.monitor", "service.update.failure_action",
    "service.update.max_failure_ratio", "service.rollback", "service.deploy_labels", "service.pre_start",
    "service.post_start", "service.pre_stop", "service.platform", "service.container_name", "service.links",
    "service.external_links", "service.reservations.cpus", "service.reservations.generic_resources",
    "service.reservations.devices", "service.ports[].mode", "service.gpus", "service.networks.",
    "service.volumes_from", "service.runtime", "service.storage_opt", "service.cgroup", "service.limits.blkio",
}
"""Honoured by envkit itself (rollouts, hooks), in the query (names, platforms), by a call of its own (attachments),
without any key of a container, or as the machine's kernel and file system allow."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: Any) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("rows")
    made = Dockerd(folder / "engine")
    try:
        give_image(str(made.socket), str(folder / "images"))
        yield Engine(EngineAddress(f"unix://{made.socket}"))
    finally:
        made.stop()


def docker_body(spec: Mapping[str, Any], version: tuple[int, int]) -> dict[str, Any]:
    return docker_encode.container(
        spec, image=IMAGE, labels=dict(spec.get("labels") or {}), place=encode_network.Place(), file_volumes={},
        image_config={}, version=version, resolve=lambda text: "none" if text.startswith("service:") else text,
    )  # fmt: skip


def inspection(engine: Engine, body: Mapping[str, Any]) -> str:
    """What an engine says of a container that it has made, without what is new in every one."""
    identity = engine.post("/containers/create", body)["Id"]
    try:
        found = engine.get(f"/containers/{identity}/json")
    finally:
        engine.delete(f"/containers/{identity}", v=True)
    parts = {key: found[key] for key in ("Config", "HostConfig", "Mounts", "Path", "Args")}
    return json.dumps(parts, sort_keys=True).replace(identity, "").replace(identity[:12], "")


@pytest.mark.parametrize("feature", honoured(DOCKER, "service", DOCKER_ELSEWHERE), ids=lambda feature: feature.id)
def test_an_engine_keeps_what_it_honours(engine: Engine, feature: Feature) -> None:
    base: dict[str, Any] = {**BASE, "network_mode": "bridge"} if "network_mode" not in feature.example else dict(BASE)
    if feature.path == "network_mode" and feature.variant == "bridge":
        base["network_mode"] = "none"
    sent = docker_body({**base, **feature.example}, engine.version)
    usual = docker_body(base, engine.version)
    assert sent != usual, "it changes nothing of what is sent"
    assert inspection(engine, sent) != inspection(engine, usual), "the engine has dropped it"
