"""What is changed in place: the process lives on, and sees the change."""

from __future__ import annotations

import socket

import pytest

from envkit.backend.embedded import record as records
from envkit.plan.model import Action
from tests.support.instances import assert_nothing_left, run, staged, until
from tests.support.isolation import isolated
from tests.support.stage import service

pytestmark = pytest.mark.root

SERVER = {"command": ["httpd", "-f", "-p", "80", "-h", "/tmp"], "stop_signal": "SIGKILL"}
NETWORKS = {"front": {}, "back": {"subnets": [{"subnet": "10.77.1.0/24"}]}}


def port(published, target=80):
    return {"target": target, "published": str(published), "protocol": "tcp", "host_ip": "127.0.0.1"}


def answers(number):
    try:
        socket.create_connection(("127.0.0.1", number), timeout=1).close()
    except OSError:
        return False
    return True


class Living:
    """A service whose process must stay the same one, and a neighbour that looks at it."""

    def __init__(self, stage):
        self.stage = stage
        self.networks = {name: dict(spec) for name, spec in NETWORKS.items()}
        self.spec = {**SERVER, "networks": {"front": {}}}
        assert not stage.apply(self.desired()).failed
        self.pid = stage.ps()["app"].pid

    def desired(self):
        neighbour = {"networks": {"front": {}, "back": {}}}
        return self.stage.environment({"app": self.spec, "neighbour": neighbour}, networks=self.networks)

    def change(self, *paths, **spec):
        """Apply the change; it has these attributes, and costs nothing but itself."""
        self.spec = {key: value for key, value in {**self.spec, **spec}.items() if value is not None}
        desired = self.desired()
        plan = self.stage.plan(desired)
        mine = [change for change in plan.effective if str(change.address) == "service.app"]
        assert [change.action for change in mine] == [Action.UPDATE]
        assert [item.path for item in mine[0].attributes] == list(paths)
        assert {item.effect for item in mine[0].attributes} == {"in-place"}
        outcome = self.stage.carry_out(plan, desired)
        assert not outcome.failed, [str(error) for error in outcome.errors]
        assert not outcome.differs
        after = self.stage.plan(desired)
        assert after.is_empty, [(item.path, item.before, item.after) for c in after.effective for item in c.attributes]
        assert self.stage.ps()["app"].pid == self.pid

    def record(self, name="app"):
        record = records.find(self.stage.home, self.stage.name, service(name, {}).address)
        assert record is not None
        return record

    def sees(self, *argv, name="app"):
        return run(self.record(name), *argv)[1]


@isolated
def test_ports(tmp_path):
    with staged(tmp_path) as stage:
        living = Living(stage)
        living.change("ports[80/tcp]", ports=[port(18621)])
        until(lambda: answers(18621))
        living.change("ports[80/tcp].published", ports=[port(18622)])
        assert answers(18622) and not answers(18621)
        assert stage.ps()["app"].ports == ("127.0.0.1:18622->80/tcp",)
        with socket.create_server(("127.0.0.1", 18623)):
            living.spec["ports"] = [port(18623)]
            assert "18623" in str(stage.apply(living.desired()).errors[0])
            assert answers(18622)  # the conflict was seen before anything was taken away
        living.change("ports[80/tcp]", ports=None)
        assert not answers(18622)
        stage.down(living.desired(), timeout=0)
        assert_nothing_left(stage)


@isolated
def test_names_and_servers(tmp_path):
    with staged(tmp_path) as stage:
        living = Living(stage)
        living.change("extra_hosts.far", extra_hosts={"far": ["192.0.2.7"]})
        assert "192.0.2.7\tfar" in living.sees("cat", "/etc/hosts")
        living.change("dns", "dns_search", dns=["192.0.2.53"], dns_search=["example.test"])
        conf = living.sees("cat", "/etc/resolv.conf").splitlines()
        assert {"nameserver 192.0.2.53", "search example.test"} <= {*conf}
        living.change("networks.front.aliases", networks={"front": {"aliases": ["shop"]}})
        own = living.record().networks["front"]["ipv4"]
        assert f"{own}\tapp shop" in living.sees("cat", "/etc/hosts", name="neighbour")
        living.change("extra_hosts.far", extra_hosts={})
        assert "far" not in living.sees("cat", "/etc/hosts")
        stage.down(living.desired(), timeout=0)
        assert_nothing_left(stage)


@isolated
def test_networks_come_and_go(tmp_path):
    with staged(tmp_path) as stage:
        living = Living(stage)
        first = living.record().networks["front"]["ipv4"]
        living.change("networks.back", networks={"front": {}, "back": {}})
        second = living.record().networks["back"]["ipv4"]
        assert second.startswith("10.77.1.") and f"{second}/24" in living.sees("ip", "-o", "addr")
        assert living.record().networks["front"]["ipv4"] == first
        assert living.sees("wget", "-q", "-O", "-", "-T", "2", f"http://{second}/", name="neighbour").count("404") <= 1
        living.change("networks.back.ipv4_address", networks={"front": {}, "back": {"ipv4_address": "10.77.1.99"}})
        assert "10.77.1.99/24" in living.sees("ip", "-o", "addr") and second not in living.sees("ip", "-o", "addr")
        living.change("networks.front", networks={"back": {"ipv4_address": "10.77.1.99"}})
        assert first not in living.sees("ip", "-o", "addr")
        assert "default via 10.77.1.1 " in living.sees("ip", "route")
        assert f"{first}" not in living.sees("cat", "/etc/hosts", name="neighbour")
        assert "10.77.1.99\tapp" in living.sees("cat", "/etc/hosts", name="neighbour")
        stage.down(living.desired(), timeout=0)
        assert_nothing_left(stage)


@isolated
def test_a_network_is_made_anew_below_a_living_instance(tmp_path):
    with staged(tmp_path) as stage:
        living = Living(stage)
        living.change("networks.back", networks={"front": {}, "back": {}})
        living.networks["back"]["subnets"] = [{"subnet": "10.78.1.0/24"}]
        living.change("networks.back")
        assert living.record().networks["back"]["ipv4"].startswith("10.78.1.")
        assert "10.78.1." in living.sees("ip", "-o", "addr") and "10.77.1." not in living.sees("ip", "-o", "addr")
        stage.down(living.desired(), timeout=0)
        assert_nothing_left(stage)
