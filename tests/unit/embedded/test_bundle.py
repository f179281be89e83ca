"""The pure side of a bundle: users, capabilities, process, mounts, limits, namespaces, and config.json as a whole."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.backend.embedded import bundle, limits, mounts, namespaces, process, resolve, seccomp, users, volumes
from envkit.backend.embedded.capabilities import ALL, DEFAULT, capability_set, process_capabilities
from envkit.errors import EnvkitError, NotFoundError
from envkit.host.home import Home
from envkit.host.process import find

PASSWD = "root:x:0:0:root:/root:/bin/sh\n# c\napp:x:1000:1001::/home/app:/bin/sh\nbroken\nodd:x:n:1::/:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1001:\nmedia:x:44:app,odd\naudio:x:29:app\n"


@pytest.mark.parametrize(
    ("user", "add", "expected"),
    [
        ("", (), users.User(0, 0, (), "root", "/root")),
        ("app", (), users.User(1000, 1001, (29, 44), "app", "/home/app")),
        ("1000", (), users.User(1000, 1001, (29, 44), "app", "/home/app")),
        ("app:media", (), users.User(1000, 44, (), "app", "/home/app")),
        ("app:7", ("audio", "9"), users.User(1000, 7, (9, 29), "app", "/home/app")),
        ("4711", (), users.User(4711, 0, (), "", "/")),
        ("4711:4712", (), users.User(4711, 4712, (), "", "/")),
        (":44", (), users.User(0, 44, (), "root", "/root")),
    ],
)
def test_users(user, add, expected):
    assert users.resolve(user, PASSWD, GROUP, add) == expected


@pytest.mark.parametrize(("user", "add"), [("ghost", ()), ("app:ghost", ()), ("app", ("ghost",)), ("odd", ())])
def test_users_that_do_not_exist(user, add):
    with pytest.raises(NotFoundError):
        users.resolve(user, PASSWD, GROUP, add)


def test_a_root_without_passwd_has_root():
    assert users.resolve("0:0", "", "") == users.User(0, 0)
    assert users.owner("app", None, users.User(5, 6), PASSWD, GROUP) == (1000, 6)


def test_capability_sets():
    assert set(capability_set()) == {f"CAP_{name}" for name in DEFAULT}
    assert capability_set(drop=["ALL"], add=["net_bind_service", "CAP_CHOWN"]) == ("CAP_CHOWN", "CAP_NET_BIND_SERVICE")
    assert len(capability_set(add=["ALL"])) == len(ALL)
    assert "CAP_CHOWN" not in capability_set(add=["ALL"], drop=["CHOWN"])
    assert capability_set(privileged=True, available=0b101) == ("CAP_CHOWN", "CAP_DAC_READ_SEARCH")
    with pytest.raises(EnvkitError, match="does not exist"):
        capability_set(add=["FLY"])
    assert process_capabilities(("CAP_KILL",), 1000)["effective"] == []
    assert process_capabilities(("CAP_KILL",), 0)["effective"] == ["CAP_KILL"]


IMAGE = {"Entrypoint": ["/entry"], "Cmd": ["cmd", "arg"]}


@pytest.mark.parametrize(
    ("spec", "image", "expected"),
    [
        ({}, IMAGE, ["/entry", "cmd", "arg"]),
        ({"command": ["x"]}, IMAGE, ["/entry", "x"]),
        ({"command": []}, IMAGE, ["/entry"]),
        ({"entrypoint": ["/mine"]}, IMAGE, ["/mine"]),
        ({"entrypoint": [], "command": ["x"]}, IMAGE, ["x"]),
        ({"entrypoint": ["/mine"], "command": ["x"]}, IMAGE, ["/mine", "x"]),
        ({}, {"Cmd": ["only"]}, ["only"]),
        ({"command": ["x"]}, {}, ["x"]),
    ],
)
def test_arguments(spec, image, expected):
    assert process.arguments(spec, image) == expected


@pytest.mark.parametrize("spec", [{}, {"entrypoint": []}, {"command": [], "entrypoint": []}])
def test_nothing_to_run(spec):
    with pytest.raises(EnvkitError, match="nothing to run"):
        process.arguments(spec, {} if not spec else IMAGE)


def test_variables():
    image = {"Env": ["PATH=/opt/bin", "A=image", "B=image", "EMPTY="]}
    spec = {"environment": {"A": "mine", "B": None, "EQ": "x=y"}}
    assert process.variables(spec, image, hostname="h", home="/home/app", tty=False) == {
        "PATH": "/opt/bin", "HOSTNAME": "h", "A": "mine", "EMPTY": "", "HOME": "/home/app", "EQ": "x=y",
    }  # fmt: skip
    bare = process.variables({"environment": {"HOME": None}}, {}, hostname="h", home="/", tty=True)
    assert bare == {"PATH": process.PATH, "HOSTNAME": "h", "TERM": "xterm"}


def test_ulimits_are_clamped_and_said():
    rows, said = process.rlimits({"nofile": {"soft": 100, "hard": 5000}, "core": {"soft": -1, "hard": -1}},
                                 {"nofile": 1000, "core": process.UNLIMITED})  # fmt: skip
    assert rows == [
        {"type": "RLIMIT_CORE", "hard": process.UNLIMITED, "soft": process.UNLIMITED},
        {"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 100},
    ]
    assert len(said) == 1 and "nofile" in said[0] and "1000" in said[0]
    assert process.rlimits({"nofile": {"soft": 9, "hard": 9}}, {})[1] == []


def test_tmpfs_options():
    assert mounts.tmpfs({"target": "/t"})["options"] == ["nosuid", "nodev", "noexec", "rw", "mode=1777"]
    row = mounts.tmpfs({"target": "/t", "size": 1024, "mode": 0o700, "uid": 5, "options": ["exec", "nr_inodes=10"]})
    assert row["options"] == ["nosuid", "nodev", "rw", "mode=700", "size=1024", "uid=5", "exec", "nr_inodes=10"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["rbind", "rw", "rprivate"]),
        ({"read_only": True}, ["rbind", "rro", "rprivate"]),
        ({"read_only": True, "recursive": "writable"}, ["rbind", "ro", "rprivate"]),
        ({"recursive": "disabled", "read_only": True}, ["bind", "ro", "rprivate"]),
        ({"nosuid": True, "noexec": True, "propagation": "rslave"}, ["rbind", "rw", "nosuid", "noexec", "rslave"]),
    ],
)
def test_bind_options(spec, expected):
    assert mounts.bind({"target": "/t", **spec}, "/s")["options"] == expected


paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(paths, max_size=8))
def test_parents_are_mounted_before_children_and_the_later_wins(targets):
    rows = [mounts.mount(target, "bind", str(number)) for number, target in enumerate(targets)]
    done = mounts.ordered(rows)
    places = [row["destination"] for row in done]
    assert sorted(set(places)) == sorted(set(targets)) and len(places) == len(set(places))
    for number, place in enumerate(places):
        assert not any(other.startswith(place + "/") for other in places[:number])
        assert done[number]["source"] == str(max(n for n, target in enumerate(targets) if target == place))


def test_limits():
    everything = {
        "memory": 1 << 20, "cpus": 0.5, "pids": 10, "cpuset": "0-1", "blkio": {"weight": 10}, "memory_reservation": 5
    }  # fmt: skip
    supported = {"memory", "memory_swap", "cpus", "pids", "cpuset", "memory_reservation", "blkio.device"}
    kept = limits.kept(everything, supported)
    assert kept["memory_swap"] == 2 << 20 and "blkio" not in kept
    assert limits.resources(kept, lambda path: (8, 0)) == {
        "memory": {"limit": 1 << 20, "swap": 2 << 20, "reservation": 5},
        "cpu": {"quota": 50000, "period": 100000, "cpus": "0-1"}, "pids": {"limit": 10},
    }  # fmt: skip
    assert limits.kept({"memory": 5, "pids": 3}, {"pids"}) == {"pids": 3}
    assert limits.resources({"blkio": {"device_read_bps": [{"path": "/dev/x", "rate": 7}]}}, lambda path: (8, 1)) == {
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 7}]}
    }
    assert limits.device_rules(["c 13:* rwm"]) == [{"allow": True, "type": "c", "access": "rwm", "major": 13}]


def decide(spec, **options):
    usual = {"netns": "", "cgroup_v2": False, "shm_source": "", "find": lambda *_: None}
    return namespaces.decide(spec, **{**usual, **options})


def test_namespaces():
    assert decide({}).namespaces == {"mount": "", "network": "", "pid": "", "ipc": "", "uts": ""}
    assert decide({}).sysctls == namespaces.NETWORK_SYSCTLS
    host = decide({"network_mode": "host", "pid": "host", "ipc": "host", "uts": "host"})
    assert (host.namespaces, host.sysctls, host.shm_source) == ({"mount": ""}, {}, "/dev/shm")
    assert decide({}, netns="/run/n").namespaces["network"] == "/run/n"
    assert "cgroup" in decide({}, cgroup_v2=True).namespaces and "cgroup" in decide({"cgroup": "private"}).namespaces
    peer = namespaces.Peer(42, "h", "/rec", netns="/run/n", shm="/shm")
    spec = {"network_mode": "service:a", "pid": "container:b", "ipc": "service:a"}
    joined = decide(spec, find=lambda kind, name: peer)
    assert joined.namespaces["network"] == "/run/n" and joined.namespaces["pid"] == "/proc/42/ns/pid"
    assert (joined.shm_source, joined.network_peer, joined.sysctls) == ("/shm", peer, {})
    with pytest.raises(NotFoundError, match="not running"):
        decide({"pid": "service:gone"})


def test_healthcheck_inherits_and_can_be_switched_off():
    image = {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 2_000_000_000, "Retries": 4}}
    assert resolve.healthcheck({}, image) == {"test": ["CMD", "x"], "interval": 2.0, "retries": 4}
    assert resolve.healthcheck({"healthcheck": {"interval": 9.0}}, image)["interval"] == 9.0
    assert resolve.healthcheck({"healthcheck": {"test": ["NONE"]}}, image) is None
    assert resolve.healthcheck({}, {}) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a\nb", "é", "x" * 201])
def test_volume_names_stay_in_their_folder(name):
    with pytest.raises(EnvkitError):
        volumes.check_name(name)


# -- seccomp ---------------------------------------------------------------------------------------------------------


def test_a_profile_is_selected_by_capability_and_architecture():
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        ],
    }  # fmt: skip
    chosen = seccomp.select(profile, ["CAP_KILL"], "x86_64")
    assert chosen["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] and chosen["defaultErrnoRet"] == 38
    assert [(c["names"], c["action"]) for c in chosen["syscalls"]] == [
        (["read"], "SCMP_ACT_ALLOW"), (["mount"], "SCMP_ACT_ERRNO")
    ]  # fmt: skip
    assert seccomp.select(profile, ["CAP_SYS_ADMIN"], "x86_64")["syscalls"][1]["action"] == "SCMP_ACT_ALLOW"
    for broken in ({}, {"defaultAction": 1}, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 3}):
        with pytest.raises(EnvkitError, match="malformed"):
            seccomp.select(broken, [], "x86_64")


def test_programs_are_cached_and_a_damaged_entry_is_made_anew(tmp_path):
    home = Home(str(tmp_path))
    first = seccomp.program(home, seccomp.default_profile(), capability_set())
    (entry,) = (tmp_path / "cache/seccomp").iterdir()
    good = entry.read_bytes()
    entry.write_bytes(good[:-8])
    assert seccomp.program(home, seccomp.default_profile(), capability_set()) == first
    assert entry.read_bytes() == good
    assert seccomp.program(home, seccomp.default_profile(), capability_set(drop=["ALL"])) != first


# -- the runtimes judge ----------------------------------------------------------------------------------------------

SPEC = {
    "command": ["/bin/sh", "-c", "grep Seccomp: /proc/self/status; id -u; cat /proc/sys/net/core/somaxconn; pwd"],
    "read_only": False, "working_dir": "/tmp", "sysctls": {"net.core.somaxconn": "77"}, "domainname": "d.test",
    "limits": {"memory": 32 << 20, "pids": 20, "cpus": 0.5}, "mounts": [], "annotations": {"a.b": "c"},
}  # fmt: skip


@pytest.mark.root
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_both_runtimes_accept_the_bundle(tmp_path, runtime):
    path = find(runtime)
    assert path, f"{runtime} is not installed"
    root = tmp_path / "bundle/root"
    for name in ("bin", "tmp", "proc", "sys", "dev", "etc"):
        (root / name).mkdir(parents=True)
    for applet in ("sh", "grep", "id", "cat"):
        (root / "bin" / applet).hardlink_to(_busybox(root))
    capabilities = capability_set(drop=["ALL"], add=["CHOWN"])
    text = seccomp.default_profile()
    filtered = (
        seccomp.program(Home(str(tmp_path / "h")), text, capabilities) if runtime == "crun"
        else seccomp.document(text, capabilities)
    )  # fmt: skip
    facts = bundle.Facts(
        root=str(root), hostname="judge", user=users.User(1000, 1000, (44,)), capabilities=capabilities,
        namespaces={"mount": "", "pid": "", "network": "", "ipc": "", "uts": ""}, seccomp=filtered,
        volumes=[mounts.tmpfs({"target": "/tmp"})], sysctls=namespaces.NETWORK_SYSCTLS,
        rlimits=process.rlimits({"nofile": {"soft": 64, "hard": 64}}, {})[0],
        cgroup=f"/envkit-judge-{os.getpid()}-{runtime}", supported_limits={"memory", "memory_swap", "pids", "cpus"},
    )  # fmt: skip
    config = bundle.encode(SPEC, {}, facts)
    (tmp_path / "bundle/config.json").write_text(json.dumps(config))
    script = f"umount /sys/fs/cgroup/unified; exec {path} --root {tmp_path}/state run judge-{os.getpid()}"
    done = subprocess.run(["unshare", "-m", "--", "sh", "-c", script], cwd=tmp_path / "bundle", capture_output=True,
                          text=True, timeout=30, stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    assert done.stdout == "Seccomp:\t2\n1000\n77\n/tmp\n", done.stderr


def _busybox(root):
    import shutil

    target = root / "bin/busybox"
    if not target.exists():
        shutil.copy("/bin/busybox", target)
    return target


@pytest.mark.root
def test_our_program_is_the_one_that_crun_compiles(tmp_path):
    """crun leaves what it compiled from `linux.seccomp` in its state directory."""
    capabilities = capability_set()
    root = tmp_path / "root"
    for name in ("bin", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    (root / "bin/sh").hardlink_to(_busybox(root))
    facts = bundle.Facts(root=str(root), hostname="x", capabilities=capabilities, namespaces={"mount": "", "pid": ""},
                         seccomp=seccomp.document(seccomp.default_profile(), capabilities))  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(bundle.encode({"command": ["/bin/sh"]}, {}, facts)))
    crun = f"{find('crun')} --cgroup-manager=disabled --root {tmp_path}/state"
    name = f"cmp-{os.getpid()}"
    keep = f"cat {tmp_path}/state/{name}/seccomp.bpf > {tmp_path}/bpf"
    script = f"umount /sys/fs/cgroup/unified; {crun} create {name} && {keep}; {crun} delete -f {name}"
    subprocess.run(["unshare", "-m", "--", "sh", "-c", script], cwd=tmp_path, capture_output=True, timeout=30,
                   stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    ours = seccomp.compile_program(seccomp.document(seccomp.default_profile(), capabilities))
    assert (tmp_path / "bpf").read_bytes() == ours
