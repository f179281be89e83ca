"""The journal, the generations, and the commit that they name."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from envkit.address import Address
from envkit.backend.memory.backend import Memory
from envkit.errors import NotFoundError
from envkit.host.home import Home
from envkit.plan.destroy import make_destroy_plan
from envkit.plan.planner import make_plan
from envkit.reconcile import generations
from envkit.reconcile.apply import apply_plan
from envkit.reconcile.commit import commit_of
from envkit.reconcile.journal import append_entry, last_generation, path_of, read_journal
from envkit.spec.environment import Environment
from tests.support.environments import KeyedMaterials, environment, resource

SECRET = b"correct horse battery staple"


@pytest.fixture(name="home")
def _home(tmp_path: Any) -> Home:
    return Home(str(tmp_path / "home"))


def shop(level: str = "info", directory: str = "/srv/shop") -> Environment:
    spec = {
        "image": "app", "environment": {"LEVEL": level}, "secret_digests": {"password": "hmac:1"},
        "secrets": [{"source": "password", "target": "/run/secrets/p"}],
    }  # fmt: skip
    return environment(
        resource("image.app", {"base": {"debian": "bookworm"}}), resource("volume.data", {}),
        resource("secret.password", {"file": "/srv/shop/password"}), resource("service.web", spec), directory=directory,
    )  # fmt: skip


def apply(memory: Memory, desired: Environment, home: Home) -> Any:
    plan = make_plan(desired, memory.observe(desired), memory.capabilities())
    return apply_plan(plan, memory, desired, materials=KeyedMaterials({"password": SECRET}), home=home)


def test_an_entry_per_apply(home: Home) -> None:
    memory = Memory()
    assert apply(memory, shop(), home).generation == 1
    assert apply(memory, shop(), home).generation == 0
    assert apply(memory, shop("debug"), home).generation == 2
    first, second = read_journal(home, "shop")
    assert (first["generation"], first["summary"], first["result"]) == (1, "3 to create", "done")
    assert second["predicted"] == {"create": 0, "update": 0, "replace": 1, "delete": 0}
    assert second["changes"] == [
        {"address": "service.web", "action": "replace", "result": "done",
         "reason": "replaced because environment.LEVEL changed (envkit.yaml:13:7)"},
    ]  # fmt: skip
    assert last_generation(home, "shop") == 2


def test_a_torn_line_costs_nothing_but_itself(home: Home) -> None:
    append_entry(home, "shop", {"generation": 1})
    with open(path_of(home, "shop"), "ab") as file:
        file.write(b'{"generation": 2, "resu')
    assert last_generation(home, "shop") == 1
    append_entry(home, "shop", {"generation": 3})
    with open(path_of(home, "shop"), "ab") as file:
        file.write(b"\xff\xfe\nnull\n[1]\n{}\n")
    assert [entry["generation"] for entry in read_journal(home, "shop")] == [1, 3]
    assert last_generation(home, "shop") == 3
    assert os.stat(path_of(home, "shop")).st_mode & 0o777 == 0o600


def test_a_generation_can_be_read_again(home: Home) -> None:
    memory = Memory()
    apply(memory, shop(), home)
    kept, images = generations.read_generation(home, "shop", 1)
    assert kept == shop()
    assert images == {"app": memory.world.images["app"]}
    assert kept.resources[Address("service", "web")].origin("environment.LEVEL") == "envkit.yaml:13:7"
    with pytest.raises(NotFoundError) as caught:
        generations.read_generation(home, "shop", 7)
    assert caught.value.hint == "kept are: 1"


def test_only_the_latest_are_kept(home: Home) -> None:
    for number in range(1, 25):
        generations.write_generation(home, number, shop(), {})
    assert generations.list_generations(home, "shop") == list(range(5, 25))


def test_no_secret_is_on_the_disk(home: Home) -> None:
    memory = Memory()
    apply(memory, shop(), home)
    for directory, _, names in os.walk(home.root):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                assert SECRET not in file.read()


def test_down_takes_the_journal_along(home: Home) -> None:
    memory = Memory()
    apply(memory, shop(), home)
    plan = make_destroy_plan(memory.observe(shop()))
    apply_plan(plan, memory, shop(), materials=KeyedMaterials({}), home=home)
    assert not os.path.exists(home.environment("shop"))


def test_the_commit_is_read_without_git(tmp_path: Any) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()

    below = tmp_path / "deploy"
    below.mkdir()
    git("init", "-q", "-b", "main")
    assert commit_of(str(below)) is None
    git("commit", "-q", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")
    assert commit_of(str(below)) == head
    git("pack-refs", "--all")
    assert commit_of(str(below)) == head
    git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    assert commit_of(str(tmp_path / "other")) == head
    git("checkout", "-q", "--detach")
    assert commit_of(str(below)) == head
    (tmp_path / ".git/HEAD").write_bytes(b"\xff\xff")
    assert commit_of(str(below)) is None
