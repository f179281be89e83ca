"""What a container's root user does to get at the files of the host and of other containers, and what comes of it."""

from __future__ import annotations

import os

import pytest

from tests.support.boxes import LOOP
from tests.support.project import Project

pytestmark = pytest.mark.root

ENVIRONMENT = rf"""
name: reach
x-box: &box
  image: "box:1"
  command: [/bin/sh, -c, {LOOP!r}]
  stop_grace_period: 1s
services:
  victim:
    <<: *box
    read_only: false
    command: [/bin/sh, -c, "echo of-the-victim > /root/file; echo of-the-victim > /private/file; {LOOP}"]
    volumes: ["private:/private", "both:/both"]
    secrets: [token]
    environment: {{TOKEN: in-the-environment}}
  thief:
    <<: *box
    read_only: false
    volumes: ["own:/own", "both:/both", "./bound:/bound"]
  mighty:
    <<: *box
    read_only: false
    cap_add: [SYS_ADMIN, SYS_PTRACE, DAC_READ_SEARCH]
    security_opt: [seccomp:unconfined]
    volumes: ["both:/both", "./bound:/bound"]
volumes: {{private: {{}}, own: {{}}, both: {{}}}}
secrets: {{token: {{file: ./token}}}}
"""
SUBPATH = """
name: subpath
services:
  app:
    image: "box:1"
    command: [sleep, "99"]
    volumes: [{type: volume, source: data, target: /part, volume: {subpath: part}}]
volumes: {data: {external: true, name: reach_own}}
"""
FILES = {"envkit.yaml": ENVIRONMENT, "token": "of-the-secret\n", "bound/file": "bound\n", "host/kept": "of-the-host\n"}
HIDDEN = ("of-the-victim", "of-the-secret", "of-the-host", "in-the-environment")


@pytest.fixture(scope="module")
def there(tmp_path_factory, home):
    with Project(tmp_path_factory.mktemp("reach"), FILES, home) as project:
        project.run("apply").assert_success()
        yield project
        assert os.listdir(os.path.join(project.directory, "host")) == ["kept"]
        project.run("down", "--volumes", "--yes").assert_success()


def said(there: Project, service: str, script: str) -> str:
    """What the script prints in the service, errors included, however it ends."""
    outcome = there.run("exec", "-T", service, "sh", "-c", f"exec 2>&1; {script}")
    return outcome.stdout + outcome.stderr


def pid(there: Project, service: str) -> int:
    return next(row["pid"] for row in there.run("ps", "--json").json if row["service"] == service)


@pytest.mark.parametrize("service", ["thief", "mighty"])
def test_proc_shows_ones_own_alone(there, service):
    seen = said(there, service, """
        for p in /proc/[0-9]*; do
            cat $p/environ $p/cmdline; ls $p/cwd/ $p/root/ $p/fd/; cat $p/root/root/file $p/root/private/file
            cat $p/root/run/secrets/token; cat $p/mountinfo; cat $p/maps
        done
        ls /proc/sys /proc/fs; cat /proc/kcore | head -c 64; cat /proc/keys /proc/sched_debug /proc/timer_list
    """)  # fmt: skip
    for text in HIDDEN:
        assert text not in seen, seen
    assert "No such file" in said(there, service, f"ls -d /proc/{pid(there, 'victim')}")


def test_mount_tables_name_no_way_out(there):
    """The tables name directories of the host, which cannot be reached by these names."""
    words = said(there, "thief", "cat /proc/self/mountinfo").split()
    named = {word for word in words if word.startswith(os.path.dirname(there.home))} | {there.home, there.directory}
    seen = said(there, "thief", f"ls -d {' '.join(named)}").splitlines()
    assert len(seen) == len(named) and all("No such file" in line for line in seen), seen


def test_mounts_of_a_container_stay_in_it(there):
    """Even one that may mount: neither the host nor those who share the volume see what it mounts there."""
    done = said(there, "mighty", "mkdir -p /both/place /bound/place && mount -t tmpfs none /both/place && "
                                 "mount -t tmpfs none /bound/place && echo hidden > /both/place/x && "
                                 "echo hidden > /bound/place/x && ls /both/place /bound/place")  # fmt: skip
    assert done.split().count("x") == 2, done
    assert said(there, "thief", "ls /both/place /bound/place").split() == ["/both/place:", "/bound/place:"]
    assert os.listdir(os.path.join(there.directory, "bound", "place")) == []
    with open("/proc/self/mountinfo") as file:
        assert not [line for line in file if f"{there.directory}/bound" in line]
    said(there, "mighty", "umount /both/place /bound/place; rmdir /both/place /bound/place")


def test_links_in_a_volume_lead_into_the_readers_own_root(there):
    said(there, "thief", f"""
        cd /both; ln -s /root/file root; ln -s /proc/1/root/private proc
        ln -s ../../../../../..{there.directory}/host up
        ln -s {there.directory}/host abs; ln -s /proc/self/root/root/file magic; ln -s /run/secrets/token token
    """)
    there.run("cp", "thief:/both/root", "./taken").assert_success()
    assert os.readlink(os.path.join(there.directory, "taken")) == "/root/file", "a link is copied as one"
    for name in ("root", "magic", "up", "abs", "proc", "token", "up/kept", "abs/kept", "proc/file"):
        there.run("cp", "-L", f"thief:/both/{name}", "./followed").assert_code(1)
    assert not os.path.lexists(os.path.join(there.directory, "followed"))


def test_cp_into_a_container_lands_in_it(there):
    there.write({"gift": "a gift"})
    for name in ("up", "abs"):
        there.run("cp", "./gift", f"thief:/both/{name}/kept").assert_code(1)
    said(there, "thief", f"mkdir -p {there.directory}/host")
    there.run("cp", "./gift", "thief:/both/abs/kept").assert_success()
    assert said(there, "thief", f"cat {there.directory}/host/kept") == "a gift"
    with open(os.path.join(there.directory, "host/kept")) as file:
        assert file.read() == "of-the-host\n"
    there.run("cp", "./gift", "thief:/proc/1/root/tmp/gift").assert_code(1)


def test_cp_out_of_a_container_writes_below_the_destination(there):
    said(there, "thief", f"mkdir -p /own/tree/sub; ln -s {there.directory}/host /own/tree/way")
    there.run("cp", "thief:/own/tree", "./out").assert_success()
    assert os.readlink(os.path.join(there.directory, "out/way")) == f"{there.directory}/host"
    said(there, "thief", "rm /own/tree/way; mkdir /own/tree/way; echo planted > /own/tree/way/kept")
    os.rename(os.path.join(there.directory, "out"), os.path.join(there.directory, "tree"))
    there.run("cp", "thief:/own/tree", ".").assert_success()
    assert os.path.isdir(os.path.join(there.directory, "tree/way")), "the link was replaced"
    with open(os.path.join(there.directory, "host/kept")) as file:
        assert file.read() == "of-the-host\n"


def test_a_part_of_a_volume_is_a_part_of_it(there, project):
    reader = project({"envkit.yaml": SUBPATH})
    for target in ("../../reach_private", "/proc/1/root", "../../../.."):
        said(there, "thief", f"rm -f /own/part; ln -s {target} /own/part; touch /own/of-the-thief")
        outcome = reader.run("apply")
        if target == "../../../..":  # above a volume there is the volume
            outcome.assert_success()
            assert "of-the-thief" in said(reader, "app", "ls /part")
        else:
            outcome.assert_code(1)
            assert reader.run("ps", "--json").json == []
