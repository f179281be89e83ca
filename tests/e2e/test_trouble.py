"""What goes wrong on the machine: each failure names its culprit and the way out, and leaves nothing half done."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile

import pytest

from tests.support.boxes import LOOP, box_home
from tests.support.project import Outcome, Project

pytestmark = pytest.mark.root


def one(service: str, name: str = "trouble", more: str = "") -> dict[str, str]:
    """An envkit.yaml with one service of box:1."""
    return {"envkit.yaml": f"name: {name}\nservices:\n  web: {{image: 'box:1', {service}}}\n{more}"}


def refused(outcome: Outcome, *texts: str) -> None:
    """It failed as a user may see it: the texts, a way out, no traceback."""
    outcome.assert_failure(*texts).assert_no_text("bug in envkit")
    assert "help:" in outcome.stderr, f"no way out\n{outcome}"


def command(text: str) -> str:
    return f"command: [/bin/sh, -c, {text!r}]"


@contextlib.contextmanager
def listening(port: int):
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        yield


def test_a_port_that_a_stranger_holds(project):
    there = project(one(f"{command(LOOP)}, ports: ['18471:80']"))
    with listening(18471):
        refused(there.run("apply"), "service.web", "18471", "envkit.yaml:3", f"process {os.getpid()}")
    assert there.run("ps", "--json").json == []
    there.run("apply").assert_success()


def test_a_port_that_another_environment_holds(project):
    spec = f"{command(LOOP)}, ports: ['18472:80']"
    first, second = project(one(spec, "first"), "a"), project(one(spec, "second"), "b")
    first.run("apply").assert_success()
    refused(second.run("apply"), "18472", "first")
    assert second.run("ps", "--json").json == []
    assert len(first.run("ps", "--json").json) == 1


def test_a_command_that_does_not_exist(project):
    there = project(one("command: [/bin/nothing-like-it]"))
    refused(there.run("apply"), "service.web", "/bin/nothing-like-it", "envkit.yaml:3")
    assert there.run("ps", "--json").json == []


def test_a_user_that_does_not_exist(project):
    there = project(one(f"{command(LOOP)}, user: ghost"))
    refused(there.run("apply"), "service.web", "ghost", "envkit.yaml:3")
    assert there.run("ps", "--json").json == []


def test_a_directory_to_work_in_that_is_a_file(project):
    there = project(one(f"{command(LOOP)}, working_dir: /bin/sh"))
    refused(there.run("apply"), "service.web", "/bin/sh")


DEPENDENT = """
name: trouble
services:
  web: {{image: "box:1", {loop}, depends_on: {{db: {{condition: {condition}}}}}}}
  db:
    image: "box:1"
    {db}
    restart: "no"
"""


def dependent(condition: str, db: str, healthcheck: str = "") -> dict[str, str]:
    more = f"{command(db)}\n    {healthcheck}" if healthcheck else command(db)
    return {"envkit.yaml": DEPENDENT.format(loop=command(LOOP), condition=condition, db=more)}


FAILING = "healthcheck: {test: [CMD, 'false'], interval: 100ms, retries: 2, timeout: 1s}"


def test_a_dependency_that_ends_at_once(project):
    there = project(dependent("service_healthy", "for i in $$(seq 30); do echo line $$i; done; exit 3", FAILING))
    outcome = there.run("apply")
    refused(outcome, "service.db", "3", "line 11", "line 30")
    outcome.assert_no_text("line 10\n")
    assert [row["service"] for row in there.run("ps", "--json").json] == ["db"]


def test_a_dependency_that_never_gets_healthy(project):
    there = project(dependent("service_healthy", f"echo I am not well; {LOOP}", FAILING))
    refused(there.run("apply"), "service.db", "healthy", "I am not well", "envkit.yaml:")
    assert [row["service"] for row in there.run("ps", "--json").json] == ["db"]


def test_a_job_that_fails(project):
    there = project(dependent("service_completed_successfully", "echo migration broke; exit 9"))
    refused(there.run("apply"), "service.db", "9", "migration broke")


@pytest.mark.parametrize(
    ("absent", "package"), [("crun runc", "crun"), ("conmon", "conmon"), ("nft", "nftables")], ids=lambda item: item
)
def test_a_missing_tool(tmp_path, absent, package):
    """As on a machine without it: what is bound over a program cannot be executed."""
    home = box_home(str(tmp_path))
    there = Project(tmp_path, one(f"{command(LOOP)}, ports: ['18473:80']"), home)
    hidden = "".join(f"mount --bind /dev/null {path}; " for path in map(shutil.which, absent.split()) if path)

    def without(*words: str) -> Outcome:
        script = f'{hidden}exec "$@"'
        return there.run(*words, prefix=("unshare", "--mount", "sh", "-ec", script, "sh"))

    refused(without("apply"), absent.split()[0], package)
    assert without("ps", "--json").json == []
    without("doctor").assert_code(1).assert_text(absent.split()[0], package)
    there.run("down").assert_success()


def test_not_root(project, tmp_path):
    there = project(one(command(LOOP)))
    os.chmod(tmp_path, 0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "envkit.cli.main",
         "apply"],
        cwd=there.directory, env=there.environ({"ENVKIT_HOME": str(tmp_path / "elsewhere")}), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    refused(Outcome(("apply",), there.directory, done.returncode, done.stdout, done.stderr), "root")


@contextlib.contextmanager
def disk(path, options: str):
    os.makedirs(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_no_space_left(tmp_path):
    big = {"big": "x" * 3_000_000, "envkit.yaml": """
        name: trouble
        images: {app: {from: scratch, layers: [{copy: ./big, to: /big}]}}
        services: {web: {image: app, command: [/big]}}
        """}
    with disk(tmp_path / "home", "size=2m"):
        there = Project(tmp_path, big)
        refused(there.run("apply"), "space", "envkit gc")
        assert there.run("image", "ls", "--json").json == []
        there.run("down").assert_success()


def test_an_installation_that_is_read_only(tmp_path):
    with disk(tmp_path / "home", "size=1m,ro"):
        there = Project(tmp_path, one(command(LOOP)))
        refused(there.run("apply"), str(tmp_path / "home"), "Read-only", "ENVKIT_HOME")
        there.run("ps", "--json").assert_success()


def test_a_file_that_is_not_text(project):
    there = project({"notes.txt": ""})
    with open(os.path.join(there.directory, "envkit.yaml"), "wb") as file:
        file.write(b"name: trouble\nservices: {web: {image: \xff\xfe}}\n")
    refused(there.run("apply"), "envkit.yaml:2:25", "UTF-8")


def archive(path, *members: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))


def test_an_archive_that_leaves_its_place(project, home):
    there = project({"notes.txt": ""})
    member = tarfile.TarInfo("../../../../tmp/envkit-was-here")
    member.size = 1
    archive(os.path.join(there.directory, "bad.tar"), member)
    refused(there.run("image", "load", "bad.tar"), "bad.tar")
    assert not os.path.exists("/tmp/envkit-was-here")


def test_a_damaged_store(tmp_path):
    home = box_home(str(tmp_path))
    blobs = os.path.join(home, "images", "blobs", "sha256")
    with Project(tmp_path, one(command(LOOP)), home) as there:
        digest = there.run("image", "inspect", "box:1", "--json").json["digest"]
        with open(os.path.join(blobs, digest.removeprefix("sha256:")), "wb") as file:
            file.write(b"{}")
        refused(there.run("apply"), "box:1")
        assert there.run("ps", "--json").json == []


def test_a_saved_plan_that_is_stale(project):
    there = project(one(command(LOOP)))
    there.run("plan", "-o", "saved.json").assert_success()
    there.run("apply").assert_success()
    before = there.run("ps", "--json").json[0]["id"]
    refused(there.run("apply", "saved.json"), "stale", "envkit plan")
    assert there.run("ps", "--json").json[0]["id"] == before


def test_a_lock_that_somebody_holds(project, home):
    there = project(one(command(LOOP)))
    there.run("apply").assert_success()
    with open(os.path.join(home, "environments", "trouble", "lock"), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(there.run("down", "--lock-timeout", "0.5"), "lock", "--lock-timeout")
    assert len(there.run("ps", "--json").json) == 1


def test_things_that_are_not_running(project):
    there = project(one(f"{command(LOOP)}, read_only: true, volumes: ['data:/data']", more="volumes: {data: {}}\n"))
    there.run("apply").assert_success()
    refused(there.run("exec", "wbe", "true"), "wbe", "web")
    refused(there.run("cp", "envkit.yaml", "web:/bin/x"), "/bin", "read-only")
    refused(there.run("cp", "web:/gone", "."), "/gone")
    refused(there.run("cp", "gone", "web:/data/"), "gone")
    refused(there.run("volume", "rm", "--yes", "data"), "trouble_data", "service.web", "down")
    refused(there.run("image", "rm", "box:1"), "box:1", "trouble")
    there.run("exec", "web", "nothing-like-it").assert_code(127).assert_text("nothing-like-it")
    there.run("exec", "web", "sh", "-c", "exit 42").assert_code(42)
    there.run("stop", "-t", "1").assert_success()
    refused(there.run("exec", "web", "true"), "web", "envkit start")
    refused(there.run("port", "web", "81"), "81")


def test_losing_data_needs_two_words(project):
    there = project(one(f"{command(LOOP)}, volumes: ['data:/data', /scratch]", more="volumes: {data: {}}\n"))
    there.run("apply").assert_success()
    there.run("down", "--volumes").assert_code(125).assert_text("--yes", "volume.data", "trouble_web-1", "LOSES DATA")
    assert len(there.run("ps", "--json").json) == 1
    there.run("down", "--volumes", "--yes").assert_success()
    assert there.run("volume", "ls", "--json").json == []
