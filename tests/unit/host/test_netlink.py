"""envkit.host: netlink, links, nft, uplink, neighbours, on a machine of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envkit.errors import HostError
from envkit.host import links, namespace, neighbours, nft, resolv_conf
from envkit.host.home import Home
from envkit.host.netlink import Batch, Peer
from envkit.host.sysctl import read_sysctl, write_sysctl
from envkit.host.uplink import uplink
from tests.support.machine import HOST, OUTSIDE, machine, stop

pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path):
    with machine(str(tmp_path)) as found:
        yield found


def names():
    return {link.name for link in links.links()}


def test_links_addresses_and_routes(host, tmp_path):
    batch = Batch()
    batch.add_bridge("br0", mtu=1300, mac="02:00:00:00:00:01", group=77)
    batch.add_bridge("br0", mtu=1300)
    batch.send()
    batch.add_address("br0", "10.9.0.1/24")
    batch.add_address("br0", "10.9.0.1/24")
    batch.add_address("br0", "fd00:1::1/64")
    batch.add_route("10.99.0.0/16", gateway="10.9.0.7")
    batch.send()
    bridge = next(link for link in links.links() if link.name == "br0")
    assert (bridge.kind, bridge.mtu, bridge.mac, bridge.group, bridge.up) == (
        "bridge", 1300, "02:00:00:00:00:01", 77, True)  # fmt: skip
    assert {(bridge.ifindex, "10.9.0.1/24"), (bridge.ifindex, "fd00:1::1/64")} <= set(links.addresses())
    assert ("10.99.0.0/16", "10.9.0.7") in {(route.destination, route.gateway) for route in links.routes()}
    assert links.default_link() == "wan0"
    paths = [str(tmp_path / f"n{index}") for index in range(3)]
    namespace.new_netns_many(paths)
    try:
        descriptors = [os.open(path, os.O_RDONLY) for path in paths]
        for index, descriptor in enumerate(descriptors):
            peer = Peer(descriptor, mac=f"02:00:00:00:01:0{index}")
            batch.add_veth(f"v{index}", peer, bridge="br0", mtu=1300, group=78)
        batch.send()
        for descriptor in descriptors:
            os.close(descriptor)
        ports = [link for link in links.links() if link.master == bridge.ifindex]
        assert {port.name for port in ports} == {"v0", "v1", "v2"}
        batch.set_port(ports[0].ifindex, hairpin=True, isolated=True)
        batch.send()
        with namespace.in_netns(paths[1]):
            assert [(link.name, link.mac) for link in links.links()][1:] == [("eth0", "02:00:00:00:01:01")]
        batch.delete_group(78)
        batch.delete_group(78)
        batch.delete_link("br0")
        batch.delete_link("br0")
        batch.send()
        assert not names() & {"br0", "v0", "v1", "v2"}
    finally:
        for path in paths:
            namespace.remove_netns(path)


def test_failures_name_the_request_and_do_not_stop_the_rest(host):
    batch = Batch()
    batch.set_mtu("nowhere", 1000)
    batch.add_bridge("br1")
    batch.set_up("nowhere")
    with pytest.raises(HostError, match=r"set nowhere mtu 1000: No such device \(and 1 more\)"):
        batch.send()
    assert "br1" in names()
    with pytest.raises(HostError, match="missing: nowhere"):
        batch.add_address("nowhere", "10.0.0.1/8")
    with pytest.raises(HostError, match="not an IP address"):
        batch.add_address("br1", "10.0.0.300/8")
    with pytest.raises(ValueError, match="everybody"):
        batch.delete_group(0)


def test_a_batch_may_be_longer_than_one_send(host, monkeypatch):
    monkeypatch.setattr("envkit.host.netlink_wire.MAX_SEND", 200)
    batch = Batch()
    for index in range(20):
        batch.add_bridge(f"b{index}", group=5)
    batch.send()
    assert len(names()) == 22
    batch.delete_group(5)
    batch.send()
    assert names() == {"lo", "wan0"}


def test_nft_is_one_transaction(host):
    nft.apply("table ip one {\n chain a {\n }\n}\n")
    assert {"table"} <= {key for item in nft.list_table("ip", "one")["nftables"] for key in item}
    with pytest.raises(HostError, match="nft failed"):
        nft.apply("table ip two {\n}\ntable ip one {\n chain a { nonsense\n }\n}\n")
    assert nft.list_table("ip", "two") is None
    nft.delete_table("ip", "one")
    nft.delete_table("ip", "one")
    assert nft.list_table("ip", "one") is None


def test_sysctl(host):
    write_sysctl("net.ipv4.ip_forward", "1")
    assert read_sysctl("net/ipv4/ip_forward") == "1"
    assert read_sysctl("net.no.such") is None
    with pytest.raises(HostError, match=r"net.ipv4.nonsense = 1: No such file") as caught:
        write_sysctl("net.ipv4.nonsense", "1")
    assert "sysctl -w net.ipv4.nonsense=1" in caught.value.hint


def test_uplink_reaches_the_outside_and_leaves_nothing(host, tmp_path):
    home = Home(str(tmp_path / "home"))
    server = host.serve(host.outside, OUTSIDE, 80)
    before = names()
    try:
        with uplink(home) as one, uplink(home) as two:
            assert one.mtu == 1400
            assert host.ask(one.namespace, OUTSIDE, 80) == HOST
            assert host.ask(two.namespace, OUTSIDE, 80) == HOST
            assert host.ask(one.namespace, "127.0.0.1", 80) == "refused"
    finally:
        stop(server)
    assert names() == before
    assert subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True).stdout.strip() == b""
    assert os.listdir(home.run + "/netns") == []


def test_a_killed_build_is_swept_by_the_next(host, tmp_path):
    home = Home(str(tmp_path / "home"))
    before = names()
    code = f"""
import os
from envkit.host.home import Home
from envkit.host.uplink import uplink
with uplink(Home({home.root!r})) as way:
    os.kill(os.getpid(), 9)
"""
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(names() - before) == 1
    with uplink(home):
        assert len(names() - before) == 1
    assert names() == before
    assert subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True).stdout.strip() == b""
    assert os.listdir(home.run + "/netns") == []


def test_uplink_leads_to_a_resolver_on_the_hosts_loopback(host, tmp_path, monkeypatch):
    monkeypatch.setattr(resolv_conf, "HOST", "/nonexistent")
    conf = resolv_conf.ResolvConf(("127.0.0.53",), ("lan",), ("edns0",))
    monkeypatch.setattr(resolv_conf, "read_resolv_conf", lambda path="": conf)
    servers = [host.serve(None, "127.0.0.53", 53, "udp"), host.serve(None, "127.0.0.1", 54, "tcp")]
    try:
        with uplink(Home(str(tmp_path / "home"))) as way:
            address = way.resolver.split()[1]
            assert way.resolver == f"nameserver {address}\nsearch lan\noptions edns0\n"
            assert host.ask(way.namespace, address, 53, "udp").startswith("10.223.255.")
            assert host.ask(way.namespace, "127.0.0.1", 54) == "refused"
    finally:
        stop(*servers)


def test_neighbours(host, tmp_path):
    home = Home(str(tmp_path / "home"))
    assert neighbours.ensure(home) is False
    assert neighbours.forward_policy() == "ACCEPT"
    for command in ("-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-P FORWARD DROP"):
        subprocess.run(["iptables", *command.split()], check=True)
    assert neighbours.is_missing(home)
    assert neighbours.ensure(home) is True
    neighbours.ensure(home)
    assert not neighbours.is_missing(home)
    rules = subprocess.run(["iptables", "-S", "DOCKER-USER"], capture_output=True, text=True, check=True).stdout
    assert rules.count(f"-i ek{home.tag}+") == rules.count(f"-o ek{home.tag}+") == 1
    server = host.serve(host.outside, OUTSIDE, 80)
    try:
        with uplink(home) as way:
            assert host.ask(way.namespace, OUTSIDE, 80) == HOST
            neighbours.release(home)
            assert not neighbours.is_missing(home)
            neighbours.remove(home)
            assert host.ask(way.namespace, OUTSIDE, 80, timeout=0.3) == "timeout"
    finally:
        stop(server)
    assert neighbours.forward_policy() == "DROP"


def test_resolv_conf(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# x\nnameserver 127.0.0.53\nnameserver 192.0.2.7 # c\nsearch a b\ndomain c\noptions ndots:2 rotate\n"
    )
    conf = resolv_conf.read_resolv_conf(str(path))
    assert conf == resolv_conf.ResolvConf(("127.0.0.53", "192.0.2.7"), ("c",), ("ndots:2", "rotate"))
    assert resolv_conf.reachable(conf.nameservers) == ("192.0.2.7",)
    assert conf.text() == "nameserver 127.0.0.53\nnameserver 192.0.2.7\nsearch c\noptions ndots:2 rotate\n"
    assert resolv_conf.read_resolv_conf(str(tmp_path / "absent")) == resolv_conf.ResolvConf()
