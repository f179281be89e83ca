"""The first run where something is missing: at most five lines that say what is wrong and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.project import Outcome, Project

pytestmark = pytest.mark.root
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
FILE = {"envkit.yaml": "services: {web: {image: 'box:1', command: [/bin/sleep, '9'], ports: ['18491:80']}}\n"}
ON_MACOS = """
import os, select, signal, socket, sys
sys.platform = "darwin"
LINUX = {os: ("O_PATH", "O_TMPFILE", "pidfd_open", "memfd_create", "eventfd", "splice", "copy_file_range", "getxattr",
              "setxattr", "listxattr", "removexattr", "sched_getaffinity", "posix_fallocate"),
         select: ("epoll",), signal: ("pidfd_send_signal", "sigwaitinfo", "sigtimedwait"),
         socket: ("AF_NETLINK", "AF_PACKET", "SO_PEERCRED", "SOCK_CLOEXEC", "SOCK_NONBLOCK")}
for module, names in LINUX.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
from envkit.cli.main import run
run()
"""


def block(outcome: Outcome, *texts: str, code: int = 1) -> None:
    """It ends with a block of at most five lines that names the trouble and the way out."""
    outcome.assert_code(code).assert_no_text("Traceback", "bug in envkit", "\x1b")
    lines = outcome.stderr.splitlines()
    begins = max((at for at, line in enumerate(lines) if line.startswith("error")), default=-1)
    assert begins >= 0, str(outcome)
    ends = next((at for at in range(begins, len(lines)) if "help:" in lines[at]), None)
    assert ends is not None, str(outcome)
    said = [line for line in lines[begins : ends + 1] if "-->" not in line and " | " not in line]
    assert 2 <= len(said) <= 5, str(outcome)
    for text in texts:
        assert text in "\n".join(said), str(outcome)


def on_macos(there: Project, *words: str, **variables: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-c", ON_MACOS, *words], cwd=there.directory, env=there.environ(variables),
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Outcome(words, there.directory, done.returncode, done.stdout, done.stderr)


@pytest.fixture
def there(tmp_path: Path) -> Project:
    for path in (tmp_path, *tmp_path.parents):
        if path.parent == path or os.stat(path).st_mode & 0o1000:  # the place for everybody's
            break
        os.chmod(path, 0o755)
    made = Project(tmp_path, FILE)
    os.makedirs(made.home)
    os.chown(made.home, 65534, 65534)
    return made


@pytest.mark.parametrize("words", [("apply",), ("up", "-d"), ("run", "web", "true")], ids=" ".join)
def test_without_root(there: Project, words: Sequence[str]):
    block(there.run(*words, prefix=NOBODY), "needs root", "sudo", "--backend docker")


def test_without_root_one_may_look(there: Project):
    for words in (("plan",), ("ps",), ("down",), ("image", "ls"), ("--help",)):
        there.run(*words, prefix=NOBODY).assert_success().assert_no_text("Traceback")
    there.run("doctor", prefix=NOBODY).assert_code(1).assert_text("root", "sudo")


@pytest.mark.parametrize("words", [("apply",), ("build",)], ids=" ".join)
def test_a_home_that_cannot_be_made(there: Project, words: Sequence[str]):
    home = os.path.join(os.path.dirname(there.directory), "closed", "home")
    os.makedirs(os.path.dirname(home), mode=0o755)
    block(there.run(*words, prefix=NOBODY, variables={"ENVKIT_HOME": home}), home, "ENVKIT_HOME", "sudo")


@pytest.mark.parametrize("home", ["/proc/envkit", "/dev/null/envkit"])
def test_a_home_where_none_can_be(there: Project, home: str):
    block(there.run("apply", variables={"ENVKIT_HOME": home}), home, "ENVKIT_HOME")


def test_without_a_network(there: Project):
    block(there.run("apply", prefix=("unshare", "--net"), variables={"ENVKIT_HOME": there.home + "2"}), "box:1")
    there.run("down", variables={"ENVKIT_HOME": there.home + "2"}).assert_success()


@pytest.mark.parametrize("words", [("apply",), ("plan",), ("ps",), ("up",), ("down",), ("volume", "ls")], ids=" ".join)
def test_on_macos(there: Project, words: Sequence[str]):
    block(on_macos(there, *words), "needs Linux", "macOS", "--backend docker", "--target")


def test_on_macos_one_may_work_with_files_and_engines(there: Project):
    for words in (("validate",), ("config", "--json"), ("fmt", "--check"), ("explain", "unknown-key"), ("--help",)):
        on_macos(there, *words).assert_success()
    block(on_macos(there, "plan", ENVKIT_BACKEND="docker", DOCKER_HOST="unix:///nowhere"), "DOCKER_HOST")
    on_macos(there, "doctor").assert_code(1).assert_text("--backend docker").assert_no_text("Traceback")


@pytest.mark.parametrize("word", ["plan", "apply", "ps", "watch", "down", "logs"])
def test_in_an_empty_directory(tmp_path: Path, word: str):
    block(Project(tmp_path, {}).run(word), "no-file", "envkit init", "-f")


def test_with_a_compose_file_alone(tmp_path: Path):
    there = Project(tmp_path, {"compose.yaml": "services: {web: {image: 'box:1'}}\n"})
    there.run("validate").assert_success().assert_text("compose.yaml: valid")
    there.run("plan").assert_success().assert_text("service.web", "To carry it out:")
