"""An `envkit apply` that finds nothing to do loads next to nothing: that is what makes it as quick as it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.boxes import LOOP

pytestmark = pytest.mark.root

HEAVY = {
    "argparse", "ast", "asyncio", "base64", "bz2", "calendar", "collections", "concurrent", "contextlib", "copy",
    "ctypes", "dataclasses", "difflib", "email", "enum", "fnmatch", "functools", "gettext", "hashlib", "http",
    "inspect", "ipaddress", "json", "locale", "logging", "lzma", "multiprocessing", "pathlib", "pickle", "platform",
    "pydantic", "random", "re", "requests", "rich", "ruamel", "selectors", "shlex", "shutil", "signal", "socket",
    "ssl", "subprocess", "tarfile", "tempfile", "threading", "tokenize", "tomllib", "types", "typing", "urllib",
    "uuid", "warnings", "watchdog", "zipfile", "zlib",
}  # fmt: skip
"""Each costs from half a millisecond up to fifty."""

OWN = (
    "envkit.backend.embedded.bundl", "envkit.backend.embedded.instance", "envkit.backend.embedded.prepare",
    "envkit.backend.embedded.seccomp", "envkit.backend.embedded.services", "envkit.backend.embedded.session",
    "envkit.backend.embedded.supervised", "envkit.backend.embedded.supervisor", "envkit.backend.embedded.users",
    "envkit.backend.memory", "envkit.cli.parser", "envkit.config.compile", "envkit.config.load",
    "envkit.config.parse", "envkit.host.mounts", "envkit.host.namespace", "envkit.host.netlink.",
    "envkit.host.syscalls", "envkit.image.build", "envkit.image.pull", "envkit.image.tar", "envkit.reconcile",
    "envkit.spec.vocabulary", "envkit.views.progress",
)  # fmt: skip
"""Prefixes of envkit's modules that work is done with."""

SCRIPT = """
import sys
before = set(sys.modules)
from envkit.cli.main import main
code = main(sys.argv[1:])
print(" ".join(sorted(set(sys.modules) - before)))
sys.exit(code)
"""

FILES = {
    "compose.yaml": f"""
        services:
          web:
            image: box:1
            command: ["sh", "-c", "{LOOP}"]
            ports: ["127.0.0.1:0:80"]
            volumes: ["data:/data"]
            deploy: {{resources: {{limits: {{pids: 50}}}}}}
          worker: {{image: box:1, command: ["sh", "-c", "{LOOP}"], depends_on: [web]}}
        volumes: {{data: {{}}}}
        """,
}


@pytest.fixture
def applied(project):
    there = project(FILES)
    there.run("apply").assert_success()
    there.run("-f", "compose.yaml", "apply").assert_success()  # its files are named, and so compiled once more
    return there


def loaded(there, *words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=there.directory, env=there.environ(), capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    said, modules = done.stdout.splitlines()
    assert said == "No changes. The environment matches compose.yaml.", done.stdout
    return set(modules.split())


@pytest.mark.parametrize("words", [("apply",), ("up", "-d"), ("-f", "compose.yaml", "apply", "--yes")])
def test_nothing_to_do_loads_nothing_heavy(applied, words):
    modules = loaded(applied, *words)
    heavy = {name for name in modules if name.split(".")[0] in HEAVY}
    assert not heavy, f"on the path of a plan without changes: {', '.join(sorted(heavy))}"
    own = {name for name in modules if name.startswith(OWN)}
    assert not own, f"on the path of a plan without changes: {', '.join(sorted(own))}"


def test_a_command_that_needs_explaining_is_explained(applied):
    applied.run("apply", "--nonsense").assert_code(125).assert_text("--nonsense", "envkit apply --help")
    assert json.loads(applied.run("plan", "--json").assert_success().stdout)


def test_what_acts_does_without_the_costliest(applied):
    applied.write({"compose.yaml": FILES["compose.yaml"].replace("pids: 50", "pids: 60")})
    for words in (("apply",), ("down", "--volumes", "--yes"), ("apply",)):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words], cwd=applied.directory, env=applied.environ(), capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        costly = {"typing", "_hashlib", "shutil", "lzma", "socket", "argparse", "dataclasses", "inspect"}
        assert not costly & set(done.stdout.splitlines()[-1].split()), f"on the path of {' '.join(words)}"
