"""Volumes: snapshots, restoring, export and import, `protect`, and what a plan says of data that would be lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile

import pytest

from tests.support.instances import until
from tests.support.project import Project

pytestmark = pytest.mark.root

WRITER = (
    "trap 'exit 0' TERM; [ -e /data/a ] || echo 0 > /data/a; n=0; "
    "while :; do n=$((n+1)); echo $n > /data/a; echo $n > /data/b; done"
)


def files(volume: str = "{}", command: str = "trap 'exit 0' TERM; while :; do sleep 0.1; done", more: str = "") -> str:
    return f"""
        name: keep
        services:
          db:
            image: box:1
            command: [/bin/sh, -c, {json.dumps(command)}]
            restart: "no"
            volumes: ["data:/data"{more}]
        volumes: {{data: {volume}}}
        """


@pytest.fixture
def keep(project):
    """A function that applies an environment with one service that has a volume."""

    def make(*arguments: str, **named: str) -> Project:
        there: Project = project({"envkit.yaml": files(*arguments, **named)})
        there.run("apply").assert_success()
        return there

    return make


def data(there: Project, name: str = "") -> str:
    return os.path.join(there.home, "volumes/keep_data/data", name)


def put(there: Project, text: str, name: str = "file") -> None:
    with open(data(there, name), "w", encoding="utf-8") as file:
        file.write(text)


def held(there: Project, name: str = "file") -> str:
    return there.run("exec", "-T", "db", "cat", f"/data/{name}").assert_success().stdout


def snapshots(there: Project) -> list[str]:
    return [row["name"] for row in there.run("volume", "snapshots", "--json").assert_success().json]


def forget(there: Project) -> None:
    """Leave no snapshot behind."""
    there.run("down", "--volumes", "--yes", "-t", "0").assert_success()
    if names := there.run("volume", "snapshots", "-q").assert_success().stdout.split():
        there.run("volume", "rm", "--yes", *names).assert_success()
    assert os.listdir(os.path.join(there.home, "volumes")) == []
    assert os.listdir(os.path.join(there.home, "environments")) == []


def test_back_and_forth(keep):
    there = keep()
    put(there, "first")
    there.run("volume", "snapshot", "data", "--name", "one").assert_success().assert_text("keep_data@one", "in 1 file")
    put(there, "second")
    there.run("volume", "restore", "data", "one").assert_failure("in use", "keep/service.db", "--stop")
    assert held(there) == "second"
    filled = there.run("volume", "restore", "data", "one", "--stop", "--json").assert_success().json
    assert (filled["files"], filled["bytes"], filled["restarted"]) == (1, 5, ["service.db"])
    assert held(there) == "first"
    there.run("plan").assert_one_line("No changes. The environment matches envkit.yaml.")
    former = filled["former"]["name"]
    assert snapshots(there) == ["one", former]
    there.run("volume", "restore", "data", former, "--stop").assert_success()
    assert held(there) == "second"
    there.run("volume", "rm", "data@one", "--yes").assert_success()
    assert "one" not in snapshots(there)
    there.run("volume", "restore", "data", "one").assert_failure("'one'", "there is", former)
    there.run("volume", "restore", "data@x", "one").assert_code(125)
    there.run("volume", "snapshot", "nothing").assert_failure("nothing", "volume ls")
    forget(there)


def test_writers_stand_still_for_a_snapshot(keep):
    """They write the same number to two files; and they go on, whatever becomes of the one who stopped them."""
    there = keep("{}", WRITER)
    until(lambda: os.path.exists(data(there, "b")))
    for number in range(3):
        there.run("volume", "snapshot", "data", "--pause", "--name", f"s{number}").assert_success()
        place = os.path.join(there.home, f"volumes/.snapshots/keep_data/s{number}/data")
        numbers = []
        for name in ("a", "b"):
            with open(os.path.join(place, name), encoding="ascii") as file:
                numbers.append(int(file.read().strip() or -1))
        assert numbers[0] in (numbers[1], numbers[1] + 1, -1), numbers  # at most one write apart
        assert there.run("ps", "--json").json[0]["state"] == "running"
    killed = there.run("volume", "snapshot", "data", "--pause", variables={"ENVKIT_FAIL_AT": "frozen"})
    assert killed.code == -9
    until(lambda: there.run("ps", "--json").json[0]["state"] == "running")
    there.run("plan").assert_one_line("No changes. The environment matches envkit.yaml.")
    assert snapshots(there) == ["s0", "s1", "s2"]
    there.run("gc").assert_success()
    forget(there)


def test_out_and_in(keep, tmp_path):
    there = keep()
    put(there, "first")
    os.chown(data(there, "file"), 1234, 4321)
    archive = str(tmp_path / "data.tar.zst")
    there.run("volume", "export", "data", archive).assert_success()
    plain = subprocess.run(["zstd", "-dc", archive], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        found = {item.name: (item.uid, item.gid, item.uname) for item in tar}
    assert found["file"] == (1234, 4321, "")
    put(there, "second")
    there.run("volume", "import", "data", archive).assert_failure("in use")
    there.run("volume", "import", "data", archive, "--stop").assert_success().assert_text("before-import-")
    assert held(there) == "first"
    with open(archive, "wb") as file:
        file.write(b"no archive")
    there.run("volume", "import", "data", archive, "--stop").assert_failure("cannot be filled")
    there.run("volume", "export", "data", "x.zip").assert_code(125).assert_text(".tar.zst")
    assert held(there) == "first"
    assert there.run("ps", "--json").json[0]["state"] == "running"
    forget(there)


def test_a_plan_counts_what_it_loses(keep):
    there = keep(more=", /scratch")
    put(there, "x" * 2048)
    put(there, "y", "other")
    asked = there.run("down", "--volumes").assert_code(125)
    asked.assert_text("volume.data  LOSES DATA: 2.0 KiB in 2 files", "anonymous, of service.db at /scratch", "--yes",
                      "2 would lose data: 2.0 KiB in 2 files")  # fmt: skip
    there.write({"envkit.yaml": files("{driver_opts: {type: tmpfs, device: tmpfs, o: size=1m}}")})
    plan = there.run("plan", "--json").assert_success().json
    lost = next(row for row in plan["changes"] if row["address"] == "volume.data")
    assert (lost["action"], lost["loses_data"], lost["data"]) == ("replace", True, {"bytes": 2049, "files": 2})
    there.run("apply").assert_code(125).assert_text("LOSES DATA", "2 files", "--yes")
    there.run("plan", "-o", "saved.json").assert_success()
    there.run("apply", "saved.json").assert_code(125).assert_text("LOSES DATA", "2 files", "--yes")
    assert held(there, "other") == "y"
    there.run("apply", "saved.json", "--yes").assert_success()
    there.run("exec", "-T", "db", "cat", "/data/other").assert_code(1)
    forget(there)


def test_protected_data_is_kept(keep):
    there = keep("{protect: {keep: 2}}")
    for number in range(3):
        put(there, str(number))
        plan = there.run("down", "--volumes", "--dry-run").assert_success()
        plan.assert_text("KEEPS ITS DATA AS A SNAPSHOT: 1 B in 1 file").assert_no_text("LOSES DATA")
        there.run("down", "--volumes").assert_success().assert_text("kept as its snapshot auto-")
        there.run("apply").assert_success()
    kept = snapshots(there)
    assert len(kept) == 2
    there.run("volume", "restore", "data", kept[0], "--stop").assert_success()
    assert held(there) == "1"
    there.run("down").assert_success()
    there.run("volume", "rm", "data", "--yes").assert_success().assert_text("is protected", "@auto-")
    there.run("apply").assert_success()
    there.write({"envkit.yaml": files("{protect: true, driver_opts: {type: tmpfs, device: tmpfs}}")})
    put(there, "last")
    there.run("apply").assert_success().assert_text("KEEPS ITS DATA", "kept as its snapshot")
    forget(there)


def test_data_that_must_not_go(keep):
    there = keep("{protect: {snapshot: false}}")
    put(there, "precious")
    there.run("down", "--volumes", "--yes").assert_failure("protected", "volume.data", "envkit.yaml:")
    there.run("volume", "rm", "data", "--yes").assert_failure("in use")
    there.run("down").assert_success()
    there.run("volume", "rm", "data", "--yes").assert_failure("protected")
    there.write({"envkit.yaml": files("{protect: {snapshot: false}, driver_opts: {type: tmpfs, device: tmpfs}}")})
    there.run("apply", "--yes").assert_failure("protected", "made anew")
    there.write({"envkit.yaml": files("{protect: {snapshot: false, keep: 0}}")})
    there.run("validate").assert_failure("keep")
    there.write({"envkit.yaml": files()})
    there.run("apply").assert_success()
    assert held(there) == "precious"
    forget(there)


@pytest.mark.parametrize("moment", ["snapshot.kept", "volume.removed"])
def test_killed_while_protected_data_goes(keep, moment):
    there = keep("{protect: true}")
    put(there, "precious")
    assert there.run("down", "--volumes", variables={"ENVKIT_FAIL_AT": moment}).code == -9
    there.run("down", "--volumes").assert_success()
    there.run("gc").assert_success()
    assert len(snapshots(there)) == 1
    there.run("apply").assert_success()
    there.run("volume", "restore", "data", snapshots(there)[0], "--stop").assert_success()
    assert held(there) == "precious"
    forget(there)


def test_a_part_of_a_volume_is_the_restored_one(project):
    there = project({
        "envkit.yaml": """
            name: keep
            services:
              db:
                image: box:1
                command: [/bin/sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
                restart: "no"
                volumes:
                  - data:/data
                  - {type: volume, source: data, target: /part, volume: {subpath: part}}
            volumes: {data: {}}
            """,
    })  # fmt: skip
    there.run("create").assert_failure("part")
    os.makedirs(data(there, "part"))
    put(there, "first", "part/file")
    there.run("apply").assert_success()
    there.run("volume", "snapshot", "data", "--name", "one").assert_success()
    put(there, "second", "part/file")
    there.run("volume", "restore", "data", "one", "--stop").assert_success()
    assert there.run("exec", "-T", "db", "cat", "/part/file").assert_success().stdout == "first"
    there.run("plan").assert_one_line("No changes. The environment matches envkit.yaml.")
    forget(there)
