"""The command line against a Swarm of three real nodes. The long ones are run by `pytest -m apps`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envkit.errors import EnvkitError
from envkit.host.home import Home
from envkit.image.store import Store
from tests.support.images import busybox_image
from tests.support.project import Project
from tests.support.swarm import Swarm, swarm

pytestmark = [pytest.mark.root, pytest.mark.dockerd, pytest.mark.long]

LOOP = "trap 'exit 0' TERM; echo begun; while :; do sleep 0.05; done"
FILE = """\
name: {name}
services:
  web:
    image: busybox:one
    command: [sh, -c, "{loop}"]
    environment: {{LEVEL: "${{LEVEL:-info}}"}}
    init: true
    stop_grace_period: 1s
    expose: ["80"]
{more}
targets:
  cluster:
    backend: swarm
    host: {manager}
    nodes: {nodes}
  manager: {{backend: swarm, host: "{manager}"}}
"""
QUICK = "    deploy: {{replicas: {replicas}, update_config: {{monitor: 500ms{more}}}}}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Swarm]:
    """With a registry that the nodes trust."""
    with swarm() as made:
        made.start_registry()
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A state directory whose store has the images."""
    place = str(tmp_path_factory.mktemp("swarm") / "home")
    store = Store(Home(place))
    busybox_image(store, "busybox:one")
    busybox_image(store, "busybox:bad", {"Env": ["PATH=/bin", "BAD=1"], "Entrypoint": ["/bin/false"]})
    return place


class Place(Project):
    """A project on the cluster, taken down at last."""

    def __init__(self, cluster: Swarm, directory: Path, home: str, more: str, name: str = "shop") -> None:
        self.cluster, self.name = cluster, name
        super().__init__(directory, {}, home)
        self.say(more)

    def say(self, more: str) -> None:
        """Write the file: more is the rest of the service and what follows it."""
        nodes = json.dumps([node.url for node in self.cluster.nodes[1:]])
        self.write({"envkit.yaml": FILE.format(
            name=self.name, loop=LOOP, more=more, manager=self.cluster.manager.url, nodes=nodes
        )})  # fmt: skip

    def on(self, *words: str, **options: Any) -> Any:
        return self.run("--target", "cluster", *words, **options)

    def apply(self, *words: str) -> Any:
        done = self.on("apply", "--yes", *words)
        if done.code == 0:
            self.on("plan").assert_success().assert_text("No changes.")
        return done

    def __exit__(self, *_: object) -> None:
        self.on("down", "--volumes", "--yes")


def nodes_of(place: Place, service: str = "web") -> list[str]:
    rows = place.on("ps", "--json").assert_success().json
    return sorted(row["node"] for row in rows if row["service"] == service)


def test_a_day_with_a_cluster(cluster: Swarm, home: str, tmp_path: Path) -> None:
    more = QUICK.format(replicas=3, more="") + "\n    secrets: [password]\nsecrets: {password: {file: ./password}}"
    with Place(cluster, tmp_path, home, more) as place:
        place.write({"password": "correct horse"})
        plan = place.on("plan").assert_success().assert_text("+ service.web").assert_no_text("correct horse")
        assert "+ network.default" in plan.stdout
        place.apply().assert_success().assert_no_text("correct horse")
        assert nodes_of(place) == ["node1", "node2", "node3"]
        assert place.on("logs", "web").assert_success().stdout.count("begun") == 3
        said = place.on("exec", "-T", "web[2]", "sh", "-c", "cat /run/secrets/password; hostname; exit 7")
        assert said.code == 7 and said.stdout.startswith("correct horse"), said
        place.write({"note": "hello\n"})
        place.on("cp", "./note", "web[3]:/tmp/").assert_success()
        assert place.on("exec", "-T", "web[3]", "cat", "/tmp/note").stdout == "hello\n"
        place.on("cp", "web[3]:/tmp/note", "back").assert_success()
        assert Path(place.directory, "back").read_text() == "hello\n"
        assert len(place.on("stats", "--no-stream", "--json").assert_success().stdout) > 10
        assert place.on("run", "-T", "web", "sh", "-c", "echo once; exit 3").assert_code(3).stdout == "once\n"

        assert place.on("history", "--json").assert_success().json[-1]["result"] == "done"
        assert not os.path.exists(os.path.join(home, "environments", "shop"))  # that is for what runs on this machine

        before = secrets(cluster)
        place.write({"password": "battery staple"})
        place.apply().assert_success()
        after = secrets(cluster)
        assert len(before) == len(after) == 1 and before != after
        assert place.on("exec", "-T", "web", "cat", "/run/secrets/password").stdout == "battery staple"
        alone = place.run("ps", "--target", "manager", "--json").assert_success().json
        number = next(row["replica"] for row in alone if row["node"] != "node1")
        away = "web" if number == 1 else f"web[{number}]"
        refused = place.run("--target", "manager", "exec", "-T", away, "true")
        refused.assert_failure("The engine of a node cannot be reached", "nodes:")
    assert cluster.manager.docker("service", "ls", "-q") == ""
    assert secrets(cluster) == []
    assert "shop" not in cluster.manager.docker("network", "ls", "--format", "{{.Name}}")


def secrets(cluster: Swarm) -> list[str]:
    return cluster.manager.docker("secret", "ls", "--format", "{{.Name}}").split()


MUTATIONS = {
    "scale": (["service", "scale", "-d", "shop_web=3"], "replicas", 1, 3),
    "memory": (["service", "update", "-d", "--limit-memory", "64m", "shop_web"], "limits.memory", None, 64 << 20),
    "variable": (["service", "update", "-d", "--env-add", "ODD=1", "shop_web"], "environment.ODD", None, "1"),
    "variable gone": (["service", "update", "-d", "--env-rm", "LEVEL", "shop_web"], "environment.LEVEL", "info", None),
    "label": (["service", "update", "-d", "--label-add", "team=b", "shop_web"], "deploy_labels.team", None, "b"),
    "constraint": (["service", "update", "-d", "--constraint-add", "node.role==worker", "shop_web"],
                   "placement.constraints", None, ["node.role==worker"]),
    "restart": (["service", "update", "-d", "--restart-condition", "any", "shop_web"], "restart.policy", "on-failure",
                "any"),
    "port": (["service", "update", "-d", "--publish-add", "mode=host,published=8099,target=80", "shop_web"],
             "published.80/tcp", None, "8099 (host)"),
}  # fmt: skip


@pytest.mark.apps
def test_what_others_change_is_named_and_mended(cluster: Swarm, home: str, tmp_path: Path) -> None:
    with Place(cluster, tmp_path, home, QUICK.format(replicas=1, more="")) as place:
        place.apply().assert_success()
        for words, path, before, after in MUTATIONS.values():
            cluster.manager.docker(*words)
            (drift,) = place.on("plan", "--json").assert_success().json["drift"]
            (found,) = [item for item in drift["attributes"] if item["path"] not in ("state", "rollout")]
            assert (found["path"], found["before"], found["after"]) == (path, before, after)
            place.apply().assert_success()


@pytest.mark.apps
def test_a_network_is_made_anew_below_its_services(cluster: Swarm, home: str, tmp_path: Path) -> None:
    def joined(network: str) -> str:
        return QUICK.format(replicas=1, more="") + f"\n    networks: [inner]\nnetworks: {{inner: {{{network}}}}}"

    with Place(cluster, tmp_path, home, joined("")) as place:
        place.apply().assert_success()
        for change in ("attachable: true", "attachable: true, driver_opts: {encrypted: ''}", "internal: true"):
            place.say(joined(change))
            place.apply().assert_success()
        (network,) = cluster.manager.docker("network", "ls", "-q", "--filter", "name=shop_inner").split()
        found = json.loads(cluster.manager.docker("network", "inspect", "--verbose", network))[0]
        assert found["Internal"] and not found["Attachable"] and "shop_web" in found["Services"]


def test_a_bad_image_is_rolled_back_and_named(cluster: Swarm, home: str, tmp_path: Path) -> None:
    quick = QUICK.format(replicas=2, more=", failure_action: rollback, parallelism: 1")
    with Place(cluster, tmp_path, home, quick) as place:
        place.apply().assert_success()
        before = nodes_of(place)
        good = Path(place.directory, "envkit.yaml").read_text()
        Path(place.directory, "envkit.yaml").write_text(good.replace("busybox:one", "busybox:bad"))
        failed = place.on("apply", "--yes").assert_code(1)
        failed.assert_text("service.web", "rolled back", "non-zero exit")
        assert len(nodes_of(place)) == len(before)
        forced = "{{.Spec.TaskTemplate.ForceUpdate}}"
        assert cluster.manager.docker("service", "inspect", "shop_web", "--format", forced) == "0"
        place.on("plan").assert_success().assert_text("service.web")
        Path(place.directory, "envkit.yaml").write_text(good)
        place.apply().assert_success()


@pytest.mark.apps
def test_a_failed_update_pauses_and_the_next_one_goes_on(cluster: Swarm, home: str, tmp_path: Path) -> None:
    with Place(cluster, tmp_path, home, QUICK.format(replicas=2, more=", order: start-first")) as place:
        place.apply().assert_success()
        good = Path(place.directory, "envkit.yaml").read_text()
        Path(place.directory, "envkit.yaml").write_text(good.replace("busybox:one", "busybox:bad"))
        place.on("plan").assert_text("+/- service.web")
        failed = place.on("apply", "--yes").assert_code(1)
        failed.assert_text("service.web", "paused the update", "non-zero exit")
        Path(place.directory, "envkit.yaml").write_text(good)
        place.apply().assert_success()


def test_what_a_cluster_cannot_do_is_said_with_its_place(cluster: Swarm, home: str, tmp_path: Path) -> None:
    with Place(cluster, tmp_path, home, "    privileged: true\n    mem_swappiness: 5\n    ports: ['8080:80']") as place:
        refused = place.on("plan", "--json")
        rows = refused.json["diagnostics"]
        found = {item["code"]: (item["severity"], (item["source"] or "").rpartition("/")[2]) for item in rows}
        assert found["unsupported-privileged"] == ("error", "envkit.yaml:10:17")
        assert found["unsupported-limits-memory-swappiness"] == ("warning", "envkit.yaml:11:21")
        assert found["unsupported-ports-host-ip"][0] == "error"
        place.on("apply", "--yes").assert_code(1)
    assert cluster.manager.docker("service", "ls", "-q") == ""


def test_images_go_to_the_registry_of_the_target(cluster: Swarm, home: str, tmp_path: Path) -> None:
    host = cluster.registry
    with Place(cluster, tmp_path, home, "    deploy: {replicas: 2, update_config: {monitor: 500ms}}") as place:
        place.write({
            "registries.conf": f'[[registry]]\nlocation = "{host}"\ninsecure = true\n',
            "envkit.override.yaml": f'targets: {{cluster: {{registry: "{host}/team"}}}}\n',
        })  # fmt: skip
        options: Any = {
            "prefix": cluster.inside(),
            "variables": {"CONTAINERS_REGISTRIES_CONF": f"{place.directory}/registries.conf"},
        }
        place.on("apply", "--yes", **options).assert_success()
        image = cluster.manager.docker(
            "service", "inspect", "shop_web", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"
        )
        assert image.startswith(f"{host}/team/busybox:one@sha256:"), image
        place.on("plan", **options).assert_success().assert_text("No changes.")
        assert len(nodes_of(place)) == 2


def test_thirty_services_converge(cluster: Swarm, home: str, tmp_path: Path) -> None:
    services = "\n".join(
        f"  s{number}:\n    image: busybox:one\n    command: [sleep, '1000']\n    init: true\n    expose: ['80']\n"
        "    stop_grace_period: 1s" for number in range(29)
    )  # fmt: skip
    with Place(cluster, tmp_path, home, services) as place:
        place.apply().assert_success()
        rows = place.on("ps", "--json").assert_success().json
        assert len(rows) == 30 and {row["state"] for row in rows} == {"running"}
        assert len({row["node"] for row in rows}) == 3


@pytest.mark.apps
def test_an_update_survives_the_loss_of_a_worker(home: str, tmp_path: Path) -> None:
    with swarm() as cluster, Place(cluster, tmp_path, home, QUICK.format(replicas=6, more=", delay: 1s")) as place:
        place.apply().assert_success()
        words = [sys.executable, "-m", "envkit.cli.main", "apply", "--yes", "--target", "cluster"]
        with subprocess.Popen(
            words, cwd=place.directory, env=place.environ({"LEVEL": "debug"}), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            time.sleep(4)
            cluster.nodes[2].kill()
            said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert "node3 is down" in said
        rows = place.on("ps", "--json", variables={"LEVEL": "debug"}).assert_success().json
        assert len(rows) == 6 and {row["state"] for row in rows} == {"running"}
        assert "node3" not in {row["node"] for row in rows}
        place.on("plan", variables={"LEVEL": "debug"}).assert_success().assert_text("No changes.")
        value = place.on("exec", "-T", "web", "sh", "-c", "echo $LEVEL").stdout
        assert value == "debug\n"


def is_led(cluster: Swarm) -> bool:
    """Whether the managers answer."""
    try:
        cluster.manager.engine.get("/nodes", timeout=90)
    except EnvkitError:
        return False
    return True


@pytest.mark.apps
def test_a_minority_of_managers_says_so(home: str, tmp_path: Path) -> None:
    with swarm(managers=3) as cluster:
        place = Place(cluster, tmp_path, home, QUICK.format(replicas=1, more=""))
        place.apply().assert_success()
        for node in cluster.nodes[1:]:
            node.kill()
        cluster.until(lambda: not is_led(cluster), "the manager knows that it is alone", 150)
        begun = time.monotonic()
        refused = place.run("plan", "--target", "manager", timeout=240)
        refused.assert_failure("The Swarm has no majority of its managers", "--force-new-cluster")
        assert time.monotonic() - begun < 200


def test_an_engine_that_is_no_manager_says_so(cluster: Swarm, home: str, tmp_path: Path) -> None:
    with Place(cluster, tmp_path, home, "") as place:
        variables = {"DOCKER_HOST": cluster.nodes[1].url}
        refused = place.run("plan", "--backend", "swarm", variables=variables)
        refused.assert_failure("The engine is no manager of its Swarm", cluster.manager.address)
        assert not os.path.exists(os.path.join(home, "environments", "shop"))
