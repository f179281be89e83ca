"""envkit.host.cgroups: the real ones of this machine, and version 2 on a directory that looks like one."""

from __future__ import annotations

import os
import subprocess

import pytest

from envkit.errors import HostError, UnsupportedError
from envkit.host import cgroups
from envkit.host.cgroups import Cgroups, cpu_set
from envkit.host.cgroups_v1 import CgroupsV1
from envkit.host.cgroups_v2 import CgroupsV2, shares, weight
from envkit.host.home import Home


@pytest.mark.parametrize(("text", "expected"), [("0,1,2", "0-2"), ("3,0-1", "0-1,3"), ("1", "1"), ("0-0", "0")])
def test_cpu_set_is_the_kernels_form(text, expected):
    assert cpu_set(text) == expected


def test_weight_is_what_runtimes_write():
    assert [weight(2), weight(1024), weight(262144)] == [1, 39, 10000]
    assert weight(shares(500)) == 500
    with pytest.raises(HostError):
        weight(1)


def test_none_says_so(tmp_path):
    none = Cgroups(Home(str(tmp_path)))
    assert (none.version, none.path_for("e", "i"), none.supported) == ("none", "", frozenset())
    assert none.read_limits("", {"memory": 1}) == none.effective({"memory": 1}) == {}
    assert none.usage("") is None
    none.remove("")
    for call in (lambda: none.freeze(""), lambda: none.write_limits("", {})):
        with pytest.raises(UnsupportedError):
            call()


@pytest.fixture
def real(tmp_path):
    """This machine's control groups, whichever version they are of, and the path of a container's that exists."""
    groups = Cgroups.probe(Home(str(tmp_path)))
    assert groups.version in ("v1", "v2"), "there is no writable control group"
    if isinstance(groups, CgroupsV2):
        groups = CgroupsV2(Home(str(tmp_path)), systemd=False)
    groups.prepare("shop")
    path = groups.path_for("shop", "abc")
    for directory in groups.directories(path):
        os.makedirs(directory)
    if isinstance(groups, CgroupsV1):
        base = groups.controllers["cpuset"]
        for part in (groups.parent, f"{groups.parent}/shop", path):  # as crun does it
            for name in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{base}/{name}") as source, open(f"{base}{part}/{name}", "w") as target:
                    target.write(source.read())
    yield groups, path
    groups.remove(path)
    groups.remove_environment("shop")
    assert not any(os.path.exists(top + groups.parent) for top in groups.tops)


def joined(path, groups, pid):
    for directory in groups.directories(path):
        with open(f"{directory}/cgroup.procs", "w") as file:
            file.write(str(pid))


@pytest.mark.root
def test_limits_round_trip(real):
    groups, path = real
    assert {"memory", "cpus", "pids", "cpuset", "memory_swap", "cpu_shares"} <= groups.supported
    wanted = {"memory": 20_000_001, "cpus": 0.5, "pids": 64, "cpuset": "0", "cpu_shares": 512,
              "memory_reservation": 10 << 20}  # fmt: skip
    groups.write_limits(path, wanted)
    assert groups.read_limits(path, wanted) == groups.effective(wanted)
    assert groups.effective(wanted)["memory"] == 20_000_001 // 4096 * 4096
    more = {"memory": 200 << 20, "cpus": 1.25, "pids": -1}
    groups.write_limits(path, more, wanted)
    assert groups.read_limits(path, more) == {"memory": 200 << 20, "memory_swap": 400 << 20, "cpus": 1.25, "pids": -1}
    less = {"memory": 30 << 20, "memory_swap": 30 << 20}
    groups.write_limits(path, less, more)
    assert groups.read_limits(path, more) == {"memory": 30 << 20, "memory_swap": 30 << 20, "cpus": -1, "pids": -1}
    groups.write_limits(path, {}, less)
    assert groups.read_limits(path, more) == {"memory": -1, "memory_swap": -1, "cpus": -1, "pids": -1}


@pytest.mark.root
def test_processes_freeze_usage_and_oom(real):
    groups, path = real
    child = subprocess.Popen(["sleep", "60"])
    try:
        joined(path, groups, child.pid)
        assert groups.processes(path) == [child.pid]
        assert not groups.is_frozen(path)
        groups.freeze(path)
        assert groups.is_frozen(path)
        groups.thaw(path)
        assert not groups.is_frozen(path)
        usage = groups.usage(path)
        assert usage.pids == 1
        assert usage.memory_limit == 0
        with pytest.raises(HostError, match="cannot be removed"):
            cgroups._remove(groups.directories(path)[0], 0)
    finally:
        child.kill()
        child.wait()
    groups.write_limits(path, {"memory": 20 << 20, "memory_swap": 20 << 20})
    (memory, *_) = (item for item in groups.directories(path) if os.path.exists(f"{item}/memory.stat"))
    code = f"open('{memory}/cgroup.procs', 'w').write('0'); x = b'x' * (60 << 20)"
    assert subprocess.run(["python3", "-c", code], check=False).returncode == -9
    assert groups.oom_kills(path) == 1


@pytest.mark.root
def test_adopts_monitors_and_removes_nested_groups(real):
    groups, path = real
    child = subprocess.Popen(["sleep", "60"])
    try:
        groups.adopt("shop", child.pid)
        with open(f"/proc/{child.pid}/cgroup") as file:
            lines = file.read().splitlines()
        assert len([line for line in lines if line.endswith(f"{groups.parent}/shop/monitors")]) == len(
            groups.monitors("shop")
        )
    finally:
        child.kill()
        child.wait()
    groups.adopt("shop", child.pid)  # it has ended
    os.makedirs(groups.directories(path)[0] + "/a/b")
    groups.remove(path)
    groups.remove(path)
    assert not any(os.path.exists(directory) for directory in groups.directories(path))
    assert groups.read_limits(path, {"memory": 1 << 20}) == {}
    assert groups.oom_kills(path) == 0
    assert groups.usage(path) is None


@pytest.fixture
def v2(tmp_path):
    """A directory with version 2's files: enough to see what is read and written."""
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    (root / "cgroup.subtree_control").write_text("memory\n")
    (root / "cgroup.procs").write_text("1\n")
    return CgroupsV2(Home(str(tmp_path)), str(root), systemd=False), root


def fill(directory, **values):
    directory.mkdir(parents=True)
    for name, value in values.items():
        (directory / name.replace("__", ".")).write_text(value)


def test_v2_limits(v2):
    groups, root = v2
    path = groups.path_for("shop", "abc")
    directory = root / path.lstrip("/")
    fill(
        directory,
        memory__max="max\n", memory__swap__max="max", memory__low="0", memory__current="9000",
        memory__events="low 0\noom 2\noom_kill 1\n", memory__stat="anon 1\ninactive_file 1000\n",
        cpu__max="max 100000", cpu__weight="100", cpu__stat="usage_usec 1500\nuser_usec 1\n", cpuset__cpus="",
        pids__max="max", pids__current="2", cgroup__procs="7\n9\n", cgroup__freeze="0\n",
        io__stat="8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
    )  # fmt: skip
    wanted = {"memory": 10 << 20, "memory_swap": 15 << 20, "cpus": 0.5, "pids": 9, "cpuset": "0,1", "cpu_shares": 1024}
    groups.write_limits(path, wanted)
    assert groups.read_limits(path, wanted) == groups.effective(wanted)
    assert (directory / "memory.swap.max").read_text().strip() == str(5 << 20)
    assert (directory / "cpu.max").read_text().strip() == "50000 100000"
    assert (directory / "cpu.weight").read_text().strip() == "39"
    groups.write_limits(path, {"memory": 10 << 20, "memory_swap": -1}, wanted)
    assert groups.read_limits(path, wanted) == {
        "memory": 10 << 20, "memory_swap": -1, "cpus": -1, "pids": -1, "cpu_shares": shares(100)}  # fmt: skip
    assert groups.oom_kills(path) == 1
    assert groups.processes(path) == [7, 9]
    assert groups.usage(path) == cgroups.Usage(1_500_000, 8000, 10 << 20, 2, 11, 22)
    assert not groups.is_frozen(path)


def test_v2_controllers_are_honest(v2, tmp_path):
    groups, root = v2
    assert {"memory", "cpus", "pids", "cpuset"} <= groups.supported
    (root / "cgroup.type").write_text("domain\n")  # not the real root, and it has processes
    again = CgroupsV2(Home(str(tmp_path)), str(root), systemd=False)
    assert again.supported == {"memory", "memory_swap", "memory_reservation"}


def test_v2_below_systemd(tmp_path, monkeypatch):
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    groups = CgroupsV2(Home("/x"), str(tmp_path), systemd=True)
    path = groups.path_for("my-shop", "abc")
    assert path == f"envkit-{groups.tag}.slice:envkit-{groups.tag}:abc"
    assert groups.runtime_flags == ("--systemd-cgroup",)
    expected = f"{tmp_path}/envkit.slice/envkit-{groups.tag}.slice/envkit-{groups.tag}-abc.scope"
    assert groups.directories(path) == [expected]
    calls = []
    monkeypatch.setattr("envkit.host.process.run", lambda argv, **_: calls.append(argv))
    groups.adopt("my-shop", 42)
    assert calls[0][:2] == ["busctl", "call"]
    unit = f"envkit-{groups.tag}-monitors.scope fail 3 PIDs au 1 42 Slice s envkit-{groups.tag}.slice Delegate b true 0"
    assert calls[0][7:] == unit.split()


def test_where_a_path_lies(tmp_path, v2):
    groups, _ = v2
    assert groups.location("/envkit-x/shop/abc") == "/envkit-x/shop/abc"
    below = CgroupsV2(Home("/x"), str(tmp_path), systemd=True)
    expected = f"/envkit.slice/envkit-{below.tag}.slice/envkit-{below.tag}-abc.scope"
    assert below.location(below.path_for("shop", "abc")) == expected
