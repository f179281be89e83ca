"""Instances in networks, volumes with drivers, the other runtime, and what happens around a batch."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.request

import pytest

from envkit.address import Address
from envkit.backend.embedded import instance, runtime, volumes
from envkit.backend.embedded import record as records
from envkit.events import EventKind
from envkit.observed.state import InstanceState
from envkit.spec.environment import Dependency
from tests.support.instances import run, staged, until
from tests.support.isolation import isolated
from tests.support.stage import LOOP, service

pytestmark = pytest.mark.root
WEB = ["/bin/sh", "-c", "mkdir -p /tmp/w; echo page > /tmp/w/index.html; exec httpd -f -p 80 -h /tmp/w"]


def port(published, target=80, host="127.0.0.1"):
    return {"target": target, "published": str(published), "protocol": "tcp", "host_ip": host}


def fetch(number):
    def answer():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{number}/", timeout=2) as page:
            return page.read()
        return b""

    return until(answer)


def record_of(stage, name, index=1):
    return records.find(stage.home, stage.name, Address("service", name, index))


@isolated
def test_names_addresses_and_published_ports(tmp_path):
    with staged(tmp_path) as stage:
        network = {"networks": {"default": {"aliases": ["page"]}}}
        environment = stage.environment(
            {
                "web": {"read_only": True, "command": WEB, "mounts": [{"type": "tmpfs", "target": "/tmp"}], **network,
                        "ports": [port(18080), port("")]},
                "client": {"networks": {"default": {}}, "extra_hosts": {"far": ["10.1.2.3"]}, "links": ["web:www"]},
            },
            networks={"default": {}},
        )  # fmt: skip
        assert not stage.apply(environment).failed
        assert fetch(18080) == b"page\n"
        ports = stage.ps()["web"].ports
        assert ports[0] == "127.0.0.1:18080->80/tcp" and len(ports) == 2
        assert fetch(int(ports[1].split(":")[1].split("-")[0])) == b"page\n"
        client = record_of(stage, "client")
        known = [line.split() for line in run(client, "/bin/cat", "/etc/hosts")[1].splitlines()]
        address = record_of(stage, "web").networks["default"]["ipv4"]
        assert {"web", "page", "www", "stage-web-1"} <= {name for row in known if row[0] == address for name in row[1:]}
        assert ["10.1.2.3", "far"] in known
        ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} 80"  # Debian's static busybox wget crashes
        assert run(client, "/bin/sh", "-c", ask)[1].endswith("page\n")
        assert stage.plan(environment).is_empty
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        assert not stage.plan(environment).is_empty
        assert not stage.apply(environment).failed
        assert fetch(18080) == b"page\n" and stage.plan(environment).is_empty


@isolated
def test_a_taken_port_is_found_before_anything_is_changed(tmp_path):
    with staged(tmp_path) as stage, socket.socket() as holder:
        holder.bind(("127.0.0.1", 18081))
        holder.listen()
        environment = stage.environment({"web": {"networks": {"default": {}}}}, networks={"default": {}})
        assert not stage.apply(environment).failed
        before = record_of(stage, "web").id
        wanted = {"web": {"networks": {"default": {}}, "ports": [port(18081)]}}
        environment = stage.environment(wanted, networks={"default": {}})
        error = stage.apply(environment).failed[Address("service", "web")]
        assert "18081" in str(error) and error.address == "service.web"
        assert record_of(stage, "web").id == before and stage.ps()["web"].state is InstanceState.RUNNING
        holder.close()
        assert not stage.apply(environment).failed
        assert stage.ps()["web"].ports == ("127.0.0.1:18081->80/tcp",)


@isolated
def test_a_replaced_network_takes_its_instances_along_and_a_restart_keeps_the_address(tmp_path):
    with staged(tmp_path) as stage:
        services = {"a": {"networks": {"default": {}}}}
        environment = stage.environment(services, networks={"default": {}})
        assert not stage.apply(environment).failed
        first = record_of(stage, "a")
        instance.kill_all([first])
        assert not stage.apply(environment).failed
        assert record_of(stage, "a").networks == first.networks and record_of(stage, "a").id == first.id
        assert run(record_of(stage, "a"), "/bin/ip", "addr")[1].count(first.networks["default"]["ipv4"]) == 1
        environment = stage.environment(services, networks={"default": {"subnets": [{"subnet": "10.212.7.0/24"}]}})
        assert not stage.apply(environment).failed
        assert record_of(stage, "a").networks["default"]["ipv4"].startswith("10.212.7.")
        assert stage.plan(environment).is_empty


@isolated
def test_a_shared_network_namespace_shares_its_names(tmp_path):
    with staged(tmp_path) as stage:
        owner = service("owner", {"networks": {"default": {}}, "hostname": "boss"})
        needs = (Dependency(owner.address, "started"),)
        guest = service("guest", {"network_mode": "service:owner", "read_only": True}, needs)
        environment = stage.environment({"owner": owner, "guest": guest}, networks={"default": {}})
        assert not stage.apply(environment).failed
        one, two = record_of(stage, "owner"), record_of(stage, "guest")
        for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname"):
            assert run(one, "/bin/cat", path) == run(two, "/bin/cat", path)
        assert run(two, "/bin/hostname")[1] == "boss\n"
        assert run(one, "/bin/ip", "addr")[1] == run(two, "/bin/ip", "addr")[1]


@isolated
def test_volume_drivers_and_external_volumes(tmp_path):
    device = tmp_path / "device"
    device.mkdir()
    (device / "there").write_text("here\n")
    with staged(tmp_path) as stage:
        specs = {
            "bound": {"driver_opts": {"type": "none", "o": "bind", "device": str(device)}},
            "memory": {"driver_opts": {"type": "tmpfs", "o": "size=1m,mode=700", "device": "tmpfs"}},
            "foreign": {"name": "theirs", "external": True},
        }
        mounts = [{"type": "volume", "source": key, "target": f"/{key}"} for key in specs]
        environment = stage.environment({"app": {"mounts": mounts}}, volumes=specs)
        error = stage.apply(environment).failed[Address("service", "app")]
        assert "theirs" in str(error)
        volumes.ensure(stage.home, volumes.Volume("theirs", "other", "data"))
        assert not stage.apply(environment).failed
        app = record_of(stage, "app")
        assert run(app, "/bin/cat", "/bound/there")[1] == "here\n"
        assert "tmpfs" in run(app, "/bin/grep", " /memory ", "/proc/mounts")[1]
        assert run(app, "/bin/touch", "/foreign/x", "/bound/x")[0] == 0 and (device / "x").exists()
        assert not stage.down(environment, volumes=True, timeout=0).failed
        assert (device / "x").exists() and os.listdir(stage.home.volumes) == ["theirs"]
        assert volumes.load(stage.home, "theirs") is not None


@isolated
def test_a_missing_volume_directory_is_drift_that_apply_mends(tmp_path):
    with staged(tmp_path) as stage:
        mount = {"type": "volume", "source": "data", "target": "/data"}
        environment = stage.environment({"app": {"mounts": [mount]}}, volumes={"data": {}})
        assert not stage.apply(environment).failed
        os.rename(volumes.data(stage.home, "stage_data"), str(tmp_path / "taken"))
        assert [change.action.word for change in stage.plan(environment).effective] == ["create", "replace"]
        assert not stage.apply(environment).failed
        assert stage.plan(environment).is_empty and os.path.isdir(volumes.data(stage.home, "stage_data"))


@isolated
def test_volumes_from_and_image_mounts(tmp_path):
    from tests.support.stage import seeded_image

    with staged(tmp_path) as stage:
        seeded_image(stage.home)
        owner = service("owner", {"mounts": [{"type": "volume", "source": "data", "target": "/data"},
                                             {"type": "volume", "target": "/anon"}]})  # fmt: skip
        picture = {"type": "image", "source": "seeded:test", "target": "/picture", "subpath": "srv/seed"}
        heir = service("heir", {"volumes_from": ["owner:ro"], "read_only": True, "mounts": [picture]},
                       (Dependency(owner.address, "started"),))  # fmt: skip
        environment = stage.environment({"owner": owner, "heir": heir}, volumes={"data": {}})
        assert not stage.apply(environment).failed
        assert run(record_of(stage, "owner"), "/bin/touch", "/data/x", "/anon/y") == (0, "")
        assert run(record_of(stage, "heir"), "/bin/ls", "/data", "/anon")[1] == "/anon:\ny\n\n/data:\nx\n"
        assert "Read-only" in run(record_of(stage, "heir"), "/bin/touch", "/data/z")[1]
        assert run(record_of(stage, "heir"), "/bin/cat", "/picture/index.html")[1] == "seeded\n"
        assert "Read-only" in run(record_of(stage, "heir"), "/bin/touch", "/picture/z")[1]


@isolated
def test_one_failure_of_a_batch_spares_the_others(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({
            "good": {}, "no-user": {"user": "ghost"}, "no-image": {"image": "absent:1"},
            "no-command": {"command": ["/bin/absent"]}, "no-file": {"secrets": [{"source": "gone", "target": "/s"}]},
        })  # fmt: skip
        failed = {address.name: str(error) for address, error in stage.apply(environment).failed.items()}
        assert set(failed) == {"no-user", "no-image", "no-command", "no-file"}
        assert "ghost" in failed["no-user"] and "absent:1" in failed["no-image"]
        assert set(stage.ps()) == {"good"}
        assert os.listdir(stage.home.instances(stage.name)) == ["good.1"]


@isolated
def test_a_writable_root_keeps_its_files_over_a_restart_and_loses_them_when_replaced(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({"app": {}})
        assert not stage.apply(environment).failed

        def changed():
            return stage.backend.observe(environment).resources[Address("service", "app")].attributes["root_changed"]

        assert changed() is False
        assert run(record_of(stage, "app"), "/bin/sh", "-c", "echo kept > /root/mine; stat -c %a /")[1] == "755\n"
        assert changed() is True
        instance.kill_all([record_of(stage, "app")])
        assert not stage.apply(environment).failed
        assert run(record_of(stage, "app"), "/bin/cat", "/root/mine")[1] == "kept\n"
        assert not stage.apply(stage.environment({"app": {"environment": {"N": "1"}}})).failed
        assert run(record_of(stage, "app"), "/bin/ls", "/root")[1] == ""


@isolated
def test_runc_where_crun_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "find", lambda tool: None if tool == "crun" else "/usr/sbin/runc")
    with staged(tmp_path) as stage:
        environment = stage.environment({
            "app": {"read_only": True, "limits": {"memory": 64 << 20}, "command": ["/bin/sleep", "60"]},
            "job": {"command": ["/bin/sh", "-c", "exit 4"]},
        })  # fmt: skip
        assert not stage.apply(environment).failed
        app = record_of(stage, "app")
        with open(f"/proc/{instance.status(app).pid}/status", encoding="ascii") as file:
            assert "Seccomp:\t2\n" in file.read()
        row = until(lambda: next((r for r in [stage.ps()["job"]] if r.state is InstanceState.EXITED), None))
        assert row.exit_code == 4 and stage.ps()["app"].state is InstanceState.RUNNING
        instance.kill_all([app])
        assert not stage.apply(environment).failed
        assert stage.ps()["app"].state is InstanceState.RUNNING


@isolated
def test_a_clamped_ulimit_is_said(tmp_path, monkeypatch):
    from envkit.backend.embedded import machine

    monkeypatch.setattr(machine, "hard_limits", lambda: {"nofile": 500})
    with staged(tmp_path) as stage:
        assert not stage.apply(stage.environment({"app": {"ulimits": {"nofile": {"soft": 400, "hard": 4000}}}})).failed
        said = [event.message for event in stage.events if event.kind is EventKind.WARNING]
        assert len(said) == 1 and "nofile" in said[0] and "500" in said[0]
        assert run(record_of(stage, "app"), "/bin/sh", "-c", "ulimit -n; ulimit -Hn")[1] == "400\n500\n"


@isolated
def test_two_environments_do_not_meet(tmp_path):
    from tests.support.stage import Stage

    with staged(tmp_path) as stage:
        other = Stage(stage.home, "other")
        first = stage.environment({"app": {"container_name": "the-one"}})
        second = other.environment({"app": {"container_name": "the-one"}})
        assert not stage.apply(first).failed
        error = other.apply(second).failed[Address("service", "app")]
        assert "the-one" in str(error)
        assert not other.apply(other.environment({"app": {}})).failed
        assert stage.backend.environments() == ["other", "stage"]
        assert not other.down(second, timeout=0).failed
        assert stage.ps()["app"].state is InstanceState.RUNNING and stage.plan(first).is_empty
        assert stage.backend.environments() == ["stage"]


@isolated
def test_the_observation_of_nothing_and_of_strangers(tmp_path):
    with staged(tmp_path) as stage:
        environment = stage.environment({"app": {}})
        seen = stage.backend.observe(environment)
        assert (dict(seen.resources), seen.generation) == ({}, 0) and stage.backend.instances("nobody") == []
        assert not os.path.exists(stage.home.environments)
        assert not stage.apply(environment).failed
        assert stage.backend.observe(environment).generation == 1
        app = record_of(stage, "app")
        os.rename(app.directory, str(tmp_path / "lost"))  # its record is gone, the container lives
        assert stage.plan(environment).effective[0].action.word == "create"
        assert not stage.apply(environment).failed
        assert os.listdir(f"{stage.home.run}/runtime") == [record_of(stage, "app").id]
        with open(record_of(stage, "app").path("record.json"), "w", encoding="utf-8") as file:
            file.write('{"torn')
        assert [change.action.word for change in stage.plan(environment).effective] == ["replace"]
        assert not stage.apply(environment).failed and stage.plan(environment).is_empty


@isolated
def test_waiting_does_not_trust_an_exit_that_is_being_written(tmp_path):
    with staged(tmp_path) as stage:
        jobs = {f"job{n}": {"command": ["/bin/sh", "-c", f"exit {n}"]} for n in range(6)}
        environment = stage.environment({**jobs, "app": {"command": LOOP}})
        assert not stage.apply(environment).failed
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            rows = stage.ps()
            assert all(row.detail == "" for row in rows.values())
            if all(rows[f"job{n}"].exit_code == n for n in range(6)):
                return
        raise AssertionError("the jobs did not end")


@isolated
def test_who_waits_for_the_lock_of_an_environment_that_goes_gets_a_new_one(tmp_path):
    import threading

    from envkit.backend.embedded.session import opened
    from envkit.host.lock import Lock

    with staged(tmp_path) as stage:
        environment = stage.environment({})
        path = os.path.join(stage.home.environment(stage.name), "lock")
        os.makedirs(os.path.dirname(path))
        first = Lock(path)
        first.acquire()
        said = []

        def remove():
            until(lambda: said)
            os.unlink(path)
            first.release()

        thread = threading.Thread(target=remove)
        with contextlib.ExitStack() as stack:
            from envkit.backend.embedded.session import engine_of

            engine_of(stage.home).enter()  # before there is a second thread
            thread.start()
            stack.enter_context(opened(stage.home, environment, stage.supply, said.append, 1, 10))
            assert Lock(path).holder() is not None
            assert [event.kind for event in said] == [EventKind.WAITING]
        thread.join()
        os.unlink(path)


@isolated
def test_one_process_goes_down_and_up_again_even_inside_another_mount_namespace(tmp_path):
    from envkit.host import syscalls

    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, (1 << 18) | 0x4000)
    with staged(tmp_path) as stage:
        environment = stage.environment({"app": {"command": LOOP}})
        for cpu in sorted(os.sched_getaffinity(0)) * 2:
            os.sched_setaffinity(0, {cpu})
            assert not stage.apply(environment).failed
            assert stage.ps()["app"].state is InstanceState.RUNNING
            assert not stage.down(environment, timeout=0).failed
            os.sched_setaffinity(0, range(os.cpu_count()))


@isolated
def test_a_reference_that_means_another_image_now_replaces_its_services(tmp_path):
    from envkit.digest import fingerprint
    from envkit.spec.environment import Resource
    from envkit.values import replace

    with staged(tmp_path) as stage:
        address = Address("image", "busybox:test")
        spec = {"name": "busybox:test", "reference": "busybox:test"}
        environment = stage.environment({"app": {}})
        image = Resource(address, spec, fingerprint(spec))
        environment = replace(environment, resources={address: image, **environment.resources})
        assert not stage.apply(environment).failed and stage.plan(environment).is_empty
        before = record_of(stage, "app")
        stage.image(Env=["NEWER=1"])
        assert not stage.apply(environment).failed and stage.plan(environment).is_empty
        assert record_of(stage, "app").image_digest != before.image_digest
        assert "NEWER=1" in run(record_of(stage, "app"), "/bin/env")[1]
