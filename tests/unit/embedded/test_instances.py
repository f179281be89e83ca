"""Real instances on crun and conmon: what a container sees, and that nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from envkit.address import Address
from envkit.backend.embedded import instance
from envkit.backend.embedded import record as records
from envkit.host import mounts, proc
from envkit.observed.state import InstanceState
from envkit.spec.environment import Dependency
from tests.support.instances import one, run, staged, until
from tests.support.isolation import isolated
from tests.support.stage import Supply, seeded_image, service

pytestmark = pytest.mark.root


@isolated
def test_a_service_runs_is_seen_and_goes(tmp_path):
    with staged(tmp_path) as stage:
        environment, record = one(stage, {"command": ["/bin/sh", "-c", "echo hello; echo oops >&2; exec sleep 100"]})
        row = stage.ps()["app"]
        assert (row.state, row.exit_code, row.name, row.image) == (
            InstanceState.RUNNING, None, "stage-app-1", "busybox:test"
        )  # fmt: skip
        assert stage.plan(environment).is_empty
        until(lambda: len(instance.last_lines(record, 20)) == 2)
        assert sorted(instance.last_lines(record, 20)) == ["hello", "oops"]
        assert not stage.down(environment, timeout=0).failed


@isolated
def test_read_only_root_is_truly_read_only_and_has_its_mount_points(tmp_path):
    with staged(tmp_path) as stage:
        seeded_image(stage.home)
        stage.supply = Supply({"key": b"s3cret"}, {"settings": b"a=1\n"})
        environment, record = one(
            stage,
            {
                "image": "seeded:test", "read_only": True, "working_dir": "/work/here",
                "mounts": [
                    {"type": "tmpfs", "target": "/var/run/app"}, {"type": "volume", "source": "data", "target": "/d"}
                ],
                "secrets": [{"source": "key", "target": "/run/secrets/key"}],
                "configs": [{"source": "settings", "target": "/etc/app/settings.ini"}],
            },
            volumes={"data": {}},
        )  # fmt: skip
        for path in ("/x", "/etc/hosts", "/work/here/y", "/bin/z"):
            code, said = run(record, "/bin/sh", "-c", f"echo > {path}")
            assert code != 0 and "Read-only file system" in said, (path, said)
        assert run(record, "/bin/sh", "-c", "pwd; cat /run/secrets/key /etc/app/settings.ini") == (
            0, "/work/here\ns3creta=1\n"
        )  # fmt: skip
        assert run(record, "/bin/sh", "-c", "echo ok > /d/f && echo ok > /var/run/app/f && cat /d/f /run/app/f")[0] == 0
        assert run(record, "/bin/sh", "-c", "echo > /run/secrets/key")[0] != 0
        assert stage.plan(environment).is_empty


@isolated
def test_secrets_are_the_users_and_nowhere_on_disk_or_in_the_environment(tmp_path):
    token = "0b5e7c-very-secret"
    with staged(tmp_path) as stage:
        stage.supply = Supply({"key": token.encode(), "other": token.encode()})
        _, record = one(
            stage,
            {
                "user": "app", "read_only": True,
                "secrets": [
                    {"source": "key", "target": "/run/secrets/key"},
                    {"source": "other", "target": "/run/secrets/other", "uid": "nobody", "gid": "44", "mode": 0o440},
                ],
            },
        )  # fmt: skip
        assert run(record, "/bin/cat", "/run/secrets/key") == (0, token)
        said = run(record, "/bin/stat", "-c", "%u %g %a", "/run/secrets/key", "/run/secrets/other")[1]
        assert said.splitlines() == ["1000 1000 400", "65534 44 440"]
        assert run(record, "/bin/cat", "/run/secrets/other")[0] != 0
        pid = instance.status(record).pid
        for name in ("environ", "cmdline"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                assert token.encode() not in file.read()
        command = ["grep", "-rlsa", "--exclude-dir=materials", token, stage.home.root]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert found.stdout == ""
        entry = next(e for e in mounts.mount_table() if e.target.endswith("/materials"))
        assert entry.filesystem == "tmpfs"


@isolated
def test_users_groups_home_and_variables(tmp_path):
    with staged(tmp_path) as stage:
        stage.image(Env=["PATH=/bin", "COLOUR=blue", "GONE=1"], WorkingDir="/home", User="nobody")
        _, record = one(
            stage,
            {"user": "app", "group_add": ["44"], "environment": {"A": "1", "GONE": None}, "hostname": "box",
             "tty": True, "oom_score_adj": 200, "domainname": "example.test"},
        )  # fmt: skip
        assert run(record, "/bin/id", "-u")[1] == "1000\n"
        assert set(run(record, "/bin/id", "-G")[1].split()) == {"1000", "44"}
        variables = set(run(record, "/bin/env")[1].splitlines())
        assert {"PATH=/bin", "COLOUR=blue", "A=1", "HOME=/home", "HOSTNAME=box", "TERM=xterm"} <= variables
        assert not any(row.startswith("GONE") for row in variables)
        assert run(record, "/bin/pwd")[1] == "/home\n"
        said = run(record, "/bin/cat", "/proc/1/oom_score_adj", "/proc/sys/kernel/domainname")[1]
        assert said == "200\nexample.test\n"


@isolated
def test_capabilities_seccomp_no_new_privileges_and_masked_paths(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({
            "bare": {"cap_drop": ["ALL"], "no_new_privileges": True},
            "plain": {},
            "open": {"seccomp": "unconfined", "cap_add": ["ALL"]},
            "boss": {"privileged": True},
        })  # fmt: skip
        assert not stage.apply(environment).failed

        def facts(name):
            record = records.find(stage.home, stage.name, service(name, {}).address)
            with open(f"/proc/{instance.status(record).pid}/status", encoding="ascii") as file:
                rows = {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
            return int(rows["CapEff"], 16), int(rows["CapBnd"], 16), rows["Seccomp"], rows["NoNewPrivs"], record

        effective, bounding, filtered, locked, record = facts("bare")
        assert (effective, bounding, filtered, locked) == (0, 0, "2", "1")
        assert run(record, "/bin/mount", "-t", "tmpfs", "none", "/tmp")[0] != 0
        effective, _, filtered, locked, record = facts("plain")
        assert (filtered, locked) == ("2", "0") and bin(effective).count("1") == 14
        assert run(record, "/bin/ls", "/sys/firmware")[1] == ""
        assert "Read-only" in run(record, "/bin/sh", "-c", "echo x > /proc/sys/kernel/hostname")[1]
        assert facts("open")[2] == "0"
        effective, _, filtered, locked, record = facts("boss")
        assert filtered == "0" and bin(effective).count("1") > 30
        assert run(record, "/bin/mount", "-t", "tmpfs", "none", "/home")[0] == 0


@isolated
def test_memory_limit_kills_and_says_so_and_a_fork_bomb_stops(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({
            "hungry": {"command": ["/bin/sh", "-c", "sleep 0.2; x=a; while :; do x=$x$x; done"],
                       "limits": {"memory": 16 << 20, "memory_swap": 16 << 20}},
            "bomb": {"command": ["/bin/sh", "-c", "f() { f | f & }; f; sleep 100"], "limits": {"pids": 20}},
        })  # fmt: skip
        assert not stage.apply(environment).failed
        row = until(lambda: next((r for r in [stage.ps()["hungry"]] if r.state is InstanceState.EXITED), None), 20)
        assert (row.exit_code, row.detail) == (137, "OOM-killed")
        bomb = records.find(stage.home, stage.name, service("bomb", {}).address)
        from envkit.host.cgroups import Cgroups

        assert len(Cgroups.of(stage.home).processes(bomb.cgroup)) <= 20


@isolated
def test_exit_codes_and_a_lost_monitor(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({
            "seven": {"command": ["/bin/sh", "-c", "exit 7"]}, "silent": {"command": ["/bin/sleep", "100"]},
        })  # fmt: skip
        assert not stage.apply(environment).failed
        row = until(lambda: next((r for r in [stage.ps()["seven"]] if r.state is InstanceState.EXITED), None))
        assert row.exit_code == 7
        silent = records.find(stage.home, stage.name, service("silent", {}).address)
        proc.kill_and_wait([instance.monitor_pid(silent)], 5)
        assert stage.ps()["silent"].state is InstanceState.RUNNING
        observed = stage.backend.observe(environment).resources[silent.address]
        assert (observed.expected["monitor"], observed.actual["monitor"]) == ("alive", "lost")
        proc.kill_and_wait([instance.status(silent).pid], 5)
        row = stage.ps()["silent"]
        assert (row.state, row.exit_code, row.detail) == (InstanceState.EXITED, None, "exit code unknown")
        assert not stage.apply(environment).failed  # the next apply mends both
        assert stage.ps()["silent"].state is InstanceState.RUNNING


@isolated
def test_a_command_that_does_not_exist_leaves_nothing_and_names_the_culprit(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({"app": {"command": ["/bin/nonesuch"], "read_only": True,
                                                 "limits": {"memory": 64 << 20}}})  # fmt: skip
        outcome = stage.apply(environment)
        error = outcome.failed[service("app", {}).address]
        assert "nonesuch" in str(error) and error.address == "service.app"
        assert stage.ps() == {}


@isolated
def test_bind_mounts(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("from the host\n")
    with staged(tmp_path) as stage:
        missing = {"mounts": [{"type": "bind", "source": str(tmp_path / "absent"), "target": "/a"}]}
        outcome = stage.apply(stage.environment({"app": missing}))
        error = outcome.failed[service("app", {}).address]
        assert str(tmp_path / "absent") in str(error)
        made = tmp_path / "made"
        _, record = one(
            stage,
            {
                "read_only": True,
                "mounts": [
                    {"type": "bind", "source": str(source), "target": "/in", "read_only": True, "nosuid": True},
                    {"type": "bind", "source": str(source / "file"), "target": "/etc/one/file"},
                    {"type": "bind", "source": str(made), "target": "/made", "create_host_path": True},
                ],
            },
        )  # fmt: skip
        assert run(record, "/bin/cat", "/in/file", "/etc/one/file")[1] == "from the host\n" * 2
        assert "Read-only" in run(record, "/bin/touch", "/in/x")[1]
        assert run(record, "/bin/touch", "/made/x") == (0, "") and (made / "x").exists()
        options = run(record, "/bin/grep", " /in ", "/proc/mounts")[1]
        assert "nosuid" in options and "ro," in options


@isolated
def test_volumes_are_filled_from_the_image_and_outlive_everything(tmp_path):
    with staged(tmp_path) as stage:
        seeded_image(stage.home)
        mount = {"type": "volume", "source": "data", "target": "/srv/seed"}
        services = {
            "app": {"image": "seeded:test", "mounts": [mount, {"type": "volume", "target": "/anon"}]},
            "two": {"image": "seeded:test", "mounts": [{**mount, "read_only": True}]},
            "deep": service(
                "deep", {"image": "seeded:test", "mounts": [{**mount, "target": "/mnt", "subpath": "deep"}]},
                (Dependency(Address("service", "app"), "started"),),
            ),
            "bare": {"image": "seeded:test",
                     "mounts": [{**mount, "source": "empty", "nocopy": True}]},
        }  # fmt: skip
        environment = stage.environment(services, volumes={"data": {}, "empty": {}})
        assert not stage.apply(environment).failed
        found = {key: records.find(stage.home, stage.name, service(key, {}).address) for key in services}
        assert run(found["app"], "/bin/cat", "/srv/seed/index.html", "/srv/seed/deep/file")[1] == "seeded\ndeep\n"
        assert run(found["app"], "/bin/stat", "-c", "%u:%g %a", "/srv/seed")[1] == "1000:1001 2770\n"
        assert run(found["app"], "/bin/touch", "/srv/seed/mine", "/anon/mine") == (0, "")
        assert "Read-only" in run(found["two"], "/bin/touch", "/srv/seed/x")[1]
        assert run(found["deep"], "/bin/cat", "/mnt/file")[1] == "deep\n"
        assert run(found["bare"], "/bin/ls", "/srv/seed")[1] == ""
        names = {item.name for item in stage.backend.volumes("stage")}
        assert {"stage_data", "stage_empty"} < names and len(names) == 3
        assert not stage.down(environment, timeout=0).failed
        assert not stage.apply(environment).failed
        app = records.find(stage.home, stage.name, service("app", {}).address)
        assert run(app, "/bin/ls", "/srv/seed/mine", "/anon/mine")[0] == 0
        assert not stage.down(environment, volumes=True, timeout=0).failed
        assert not stage.backend.volumes("stage")
        assert os.listdir(stage.home.volumes) == []


@isolated
def test_changes_in_place_restarts_and_replacements(tmp_path):
    with staged(tmp_path) as stage:
        _, first = one(stage, {"limits": {"memory": 64 << 20, "pids": 30}})
        pid = instance.status(first).pid
        environment, second = one(stage, {"limits": {"memory": 96 << 20, "cpus": 0.5}, "labels": {"a": "b"}})
        assert second.id == first.id and instance.status(second).pid == pid
        assert stage.plan(environment).is_empty
        observed = stage.backend.observe(environment).resources[second.address]
        assert observed.actual["limits.memory"] == 96 << 20 and observed.actual["limits.cpus"] == 0.5
        assert run(second, "/bin/sh", "-c", "ulimit -n")[1] == "1024\n"
        from envkit.host.cgroups import Cgroups

        Cgroups.of(stage.home).write_limits(second.cgroup, {"memory": 32 << 20})  # somebody turns a knob
        (change,) = stage.plan(environment).effective
        assert change.action.word == "update" and {item.path for item in change.attributes} >= {"limits.memory"}
        assert not stage.apply(environment).failed and stage.plan(environment).is_empty
        assert instance.status(second).pid == pid
        instance.kill_all([second])
        plan = stage.plan(environment)
        assert [change.action.word for change in plan.effective] == ["update"]
        assert not stage.apply(environment).failed
        assert instance.status(second).is_alive and stage.plan(environment).is_empty
        instance.pause(second)
        assert stage.ps()["app"].state is InstanceState.PAUSED
        assert not stage.apply(environment).failed
        assert stage.ps()["app"].state is InstanceState.RUNNING
        environment, third = one(stage, {"environment": {"A": "2"}})
        assert third.id != first.id and stage.plan(environment).is_empty
        assert not os.path.exists(f"{stage.home.run}/runtime/{first.id}")


@isolated
def test_a_stop_waits_for_its_grace_and_all_at_once(tmp_path):
    stubborn = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    with staged(tmp_path) as stage:
        services = {f"s{n}": {"command": stubborn, "stop_grace_period": 0.8} for n in range(4)}
        services["now"] = {"command": stubborn, "stop_signal": "SIGKILL", "stop_grace_period": 30.0}
        environment = stage.environment(services)
        assert not stage.apply(environment).failed
        begun = time.monotonic()
        assert not stage.down(environment).failed
        assert 0.7 < time.monotonic() - begun < 6


@isolated
def test_shared_namespaces_init_sysctls_devices_and_ulimits(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({
            "owner": {"ipc": "shareable", "sysctls": {"net.core.somaxconn": "512"}, "init": True, "shm_size": 1 << 20,
                      "ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": {"soft": 0, "hard": 0}}},
        })  # fmt: skip
        assert not stage.apply(environment).failed
        needs = (Dependency(Address("service", "owner"), "started"),)
        environment = stage.environment({
            "owner": environment.services["owner"],
            "guest": service("guest", {
                "network_mode": "service:owner", "pid": "service:owner", "ipc": "service:owner",
                "devices": [{"source": "/dev/kmsg", "target": "/dev/log-of-it", "permissions": "r"}],
            }, needs),
            "hostly": {"network_mode": "host", "pid": "host", "ipc": "host", "uts": "host"},
        })  # fmt: skip
        assert not stage.apply(environment).failed
        owner, guest, hostly = (
            records.find(stage.home, stage.name, service(name, {}).address) for name in ("owner", "guest", "hostly")
        )
        pids = {record.service: instance.status(record).pid for record in (owner, guest, hostly)}
        here = {
            kind: {name: os.readlink(f"/proc/{pid}/ns/{kind}") for name, pid in pids.items()}
            for kind in ("net", "pid", "ipc", "uts", "mnt")
        }
        for kind in ("net", "pid", "ipc"):
            assert here[kind]["owner"] == here[kind]["guest"] != here[kind]["hostly"]
            assert here[kind]["hostly"] == os.readlink(f"/proc/self/ns/{kind}")
        assert here["uts"]["hostly"] == os.readlink("/proc/self/ns/uts") != here["uts"]["guest"]
        assert run(owner, "/bin/sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c")[1] == "100\n200\n0\n"
        assert run(owner, "/bin/cat", "/proc/sys/net/core/somaxconn")[1] == "512\n"
        assert "init" in run(owner, "/bin/cat", "/proc/1/cmdline")[1]
        assert run(owner, "/bin/touch", "/dev/shm/x")[0] == 0 and run(guest, "/bin/ls", "/dev/shm")[1] == "x\n"
        assert run(guest, "/bin/ls", "/dev/log-of-it")[0] == 0
        assert " 1024 " in run(owner, "/bin/sh", "-c", "df -k /dev/shm | tr -s ' '")[1]


@isolated
def test_waiting(tmp_path):
    from threading import Event as Flag

    from envkit.backend.embedded.wait import wait
    from envkit.errors import ApplyError

    with staged(tmp_path) as stage:
        environment = stage.environment({
            "job": {"command": ["/bin/sh", "-c", "sleep 0.3"]},
            "bad": {"command": ["/bin/sh", "-c", "sleep 0.3; echo it broke; exit 3"]}, "app": {},
        })  # fmt: skip
        assert not stage.apply(environment).failed
        wait(stage.home, stage.name, service("job", {}).address, "completed", Flag())
        wait(stage.home, stage.name, service("app", {}).address, "started", Flag())
        with pytest.raises(ApplyError) as caught:
            wait(stage.home, stage.name, service("bad", {}).address, "completed", Flag())
        assert "exit code 3" in str(caught.value) and caught.value.log == ("it broke",)
        with pytest.raises(ApplyError, match="no health check"):
            wait(stage.home, stage.name, service("app", {}).address, "healthy", Flag())
        cancelled = Flag()
        cancelled.set()
        wait(stage.home, stage.name, service("app", {}).address, "completed", cancelled)


@isolated
def test_replicas_and_logging_none(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({"app": {"replicas": 3, "logging": {"driver": "none"}}})
        assert not stage.apply(environment).failed
        assert set(stage.ps()) == {"app", "app[2]", "app[3]"}
        assert stage.plan(environment).is_empty
        environment = stage.environment({"app": {"replicas": 1, "logging": {"driver": "none"}}})
        assert not stage.apply(environment).failed
        assert set(stage.ps()) == {"app"} and not os.path.exists(f"{stage.home.instances('stage')}/app.1/log")
