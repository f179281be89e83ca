"""Services whose images lie at a registry: planned, pulled, renewed, pinned, pushed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from envkit.host.home import Home
from envkit.image.push import push
from envkit.image.store import Store
from tests.support.images import busybox_layer
from tests.support.project import Project
from tests.support.registry import Registry, Wire

pytestmark = pytest.mark.root

Make = Callable[[Mapping[str, str]], Project]
Publish = Callable[[str, str], str]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    made = Registry(tmp_path_factory.mktemp("registry"))
    yield made
    made.stop()


@pytest.fixture
def publish(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Publish:
    """publish(NAME, VERSION): let the registry have an image of that name whose VERSION variable says so."""
    store = Store(Home(str(tmp_path_factory.mktemp("publisher"))))

    def work(name: str, version: str) -> str:
        layer = store.add_layer(io.BytesIO(busybox_layer()))
        process = {"Cmd": ["/bin/sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"],
                   "Env": ["PATH=/bin", f"VERSION={version}"]}  # fmt: skip
        digest = store.add_image({"config": process}, [layer], f"{registry.host}/{name}")
        push(store, f"{registry.host}/{name}")
        return digest

    return work


def compose(image: str, more: str = "") -> dict[str, str]:
    return {"compose.yaml": f"services:\n  web:\n    image: {image}\n{more}"}


def version(project: Project) -> str:
    return project.run("exec", "-T", "web", "sh", "-c", "echo $VERSION").assert_success().stdout.strip()


def test_a_missing_image_is_pulled(project: Make, registry: Registry, publish: Publish) -> None:
    publish("app:1", "one")
    there = project(compose(f"{registry.host}/app:1"))
    there.run("plan").assert_success().assert_text("not here yet: will be pulled", "3 to create")
    there.run("up", "-d").assert_success()
    assert version(there) == "one"
    there.run("plan", "--expect-no-changes").assert_success()
    publish("app:1", "two")
    there.run("plan", "--expect-no-changes").assert_success()  # pull_policy is `missing`: nobody was asked
    there.run("up", "-d", "--pull", "always").assert_success().assert_text("service.web replaced")
    assert version(there) == "two"
    there.run("plan", "--expect-no-changes").assert_success()


def test_pull_policy_always(project: Make, registry: Registry, publish: Publish) -> None:
    publish("always:1", "one")
    there = project(compose(f"{registry.host}/always:1", "    pull_policy: always\n"))
    there.run("up", "-d").assert_success()
    there.run("plan", "--expect-no-changes").assert_success()
    digest = publish("always:1", "two")
    planned = there.run("plan", "--json").assert_success()
    changes = {item["address"]: item for item in json.loads(planned.stdout)["changes"]}
    assert changes[f"image.{registry.host}/always:1"]["attributes"][0]["after"] == digest
    assert changes["service.web"]["action"] == "replace"
    there.run("up", "-d").assert_success()
    assert version(there) == "two"
    there.run("plan", "--expect-no-changes").assert_success()


def test_pull_policy_never(project: Make) -> None:
    there = project(compose("127.0.0.1:9/own:1", "    pull_policy: never\n"))
    there.run("plan").assert_failure("compose.yaml:3:12", "its pull_policy is 'never'", "envkit image load")
    there.write(compose("box:1", "    pull_policy: never\n    command: sleep 100\n"))
    there.run("plan").assert_success()


def test_unreachable_registries(project: Make) -> None:
    there = project({"compose.yaml": """
        services:
          web:
            image: 127.0.0.1:9/web:1
          db:
            image: registry.invalid/db:1
        """})  # fmt: skip
    began = time.monotonic()
    failed = there.run("up", "-d").assert_failure(
        "the registry does not accept connections", "service web at ", "compose.yaml:3:12",
        "the registry's name is not known", "service db at ", "compose.yaml:5:12",
    )  # fmt: skip
    assert time.monotonic() - began < 5
    assert failed.stderr.count("error: ") == 2
    there.run("pull").assert_failure("service web at ", "service db at ")
    there.run("pull", "--ignore-pull-failures").assert_success().assert_text("warning")
    there.run("pull", "nobody").assert_failure("nobody")


def test_the_lock_pins_what_a_tag_means(project: Make, registry: Registry, publish: Publish) -> None:
    first = publish("locked:1", "one")
    there = project(compose(f"{registry.host}/locked:1", "    pull_policy: always\n"))
    there.run("lock", "--frozen").assert_failure("does not cover", "locked:1")
    there.run("lock").assert_success().assert_text(first)
    there.run("lock", "--frozen").assert_success()
    second = publish("locked:1", "two")
    there.run("up", "-d").assert_success()
    assert version(there) == "one"
    there.run("lock").assert_success().assert_text("none has changed")
    there.run("lock", "--update").assert_success().assert_text(second)
    there.run("plan").assert_success().assert_text("its registry or envkit.lock has another one now")
    there.run("up", "-d").assert_success()
    assert version(there) == "two"
    there.run("plan", "--expect-no-changes").assert_success()


def test_the_lock_pins_what_a_dockerfile_starts_from(project: Make, registry: Registry, publish: Publish) -> None:
    first, tools = publish("start:1", "one"), publish("tools:1", "t")
    there = project({
        "compose.yaml": "services:\n  web:\n    build: .\n",
        "Dockerfile": f"""\
            ARG HOST={registry.host}
            FROM nowhere.example/not:needed AS unused
            FROM $HOST/start:1 AS it
            COPY --from={registry.host}/tools:1 /bin/sh /tool
            FROM it
        """.replace("            ", ""),
    })  # fmt: skip
    there.run("lock", "--frozen").assert_failure("does not cover", "start:1", "tools:1")
    there.run("lock", "--no-build").assert_success().assert_text(first, tools)
    publish("start:1", "two")
    there.run("up", "-d", "--frozen").assert_success()
    assert version(there) == "one"
    there.run("plan", "--expect-no-changes").assert_success()


def test_a_built_image_is_pushed_and_pulled(project: Make, registry: Registry, publish: Publish) -> None:
    publish("base:1", "one")
    name = f"{registry.host}/built:1"
    there = project({
        "compose.yaml": f"services:\n  web:\n    image: {name}\n    build: .\n  helper:\n    build: .\n",
        "Dockerfile": f"FROM {registry.host}/base:1\nENV MADE=here\n",
    })  # fmt: skip
    there.run("build", "web").assert_success()
    there.run("push", "-q").assert_success()
    assert (registry.folder / "data/docker/registry/v2/repositories/built").is_dir()
    store = Store(Home(there.home))
    digest = store.resolve(name)
    store.untag(name)
    there.run("pull", "--ignore-buildable").assert_success().assert_text("Nothing to pull")
    there.run("image", "pull", name).assert_success()
    assert Store(Home(there.home)).resolve(name) == digest
    events = there.run("pull", "--json").assert_success().stdout.splitlines()
    assert json.loads(events[-1])["digests"] == {name: digest}
    there.run("image", "push", name, "--to", f"{registry.host}/copy:2").assert_success()
    there.run("image", "pull", f"{registry.host}/copy:2", f"{registry.host}/nothing:1").assert_failure("no such image")
    assert Path(store.blob_path(digest or "")).exists()


def test_a_build_whose_policy_wants_the_registry_first(project: Make, registry: Registry) -> None:
    there = project({
        "compose.yaml": "services:\n  web:\n    image: 127.0.0.1:9/x:1\n    build: .\n    pull_policy: missing\n",
        "Dockerfile": "FROM box:1\nCMD trap exit TERM; while :; do sleep 0.1; done\n",
    })  # fmt: skip
    there.run("up", "-d").assert_success().assert_text("it is built instead")
    there.run("plan", "--expect-no-changes").assert_success()


def test_an_interrupt_ends_a_pull_at_once(registry: Registry, tmp_path: Path) -> None:
    store = Store(Home(str(tmp_path / "publisher")))
    layer = store.add_layer(io.BytesIO(busybox_layer()))
    store.add_image({"config": {}}, [layer], f"{registry.host}/slow:1")
    push(store, f"{registry.host}/slow:1")
    wire = Wire(registry.host, rate=100_000)
    environ = {**os.environ, "ENVKIT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "envkit.cli.main", "image", "pull", f"{wire.host}/slow:1"]
    victim = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while wire.brought < 50_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        victim.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = victim.communicate(timeout=15)
        assert time.monotonic() - began < 3
        assert victim.returncode == 130
        assert b"Interrupted" in said
        assert b"Traceback" not in said
    finally:
        victim.kill()
        wire.close()
