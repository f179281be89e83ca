"""Networks, attachments, published ports and names, on a machine of their own, without containers."""

from __future__ import annotations

import os
import subprocess

import pytest

from envkit.backend.embedded import attach, network, network_state, ports, publish
from envkit.backend.embedded.attach import Request
from envkit.backend.embedded.network_observe import Observation, table_name
from envkit.errors import ConflictError, NotFoundError, UnsupportedError
from envkit.host import links, namespace, neighbours, nft, steps
from envkit.host.home import Home
from envkit.host.netlink import Batch
from envkit.host.sysctl import read_sysctl, write_sysctl
from tests.support.machine import HOST, HOST6, OUTSIDE, OUTSIDE6
from tests.support.networks import alone, other_address, seen, tcp

pytestmark = pytest.mark.root


@pytest.fixture
def world(tmp_path):
    with alone(tmp_path) as found:
        yield found


def test_a_network_is_a_bridge_with_an_address(world):
    made = world.network()
    link = next(link for link in links.links() if link.name == made.bridge)
    assert made.bridge.startswith(f"ek{world.home.tag}")
    assert (len(made.bridge), link.mtu, link.up) == (15, 1400, True)
    assert (link.ifindex, made.gateways[0]) in links.addresses()
    assert read_sysctl("net.ipv4.ip_forward") == "1"
    assert world.network().subnets == made.subnets
    found = Observation(world.home, "shop").networks()["default"]
    assert found.expected == found.actual
    assert not found.missing


def test_instances_reach_one_another_and_the_outside_by_name(world):
    world.network()
    requests = [world.request("web", replica=1, hostname="www", domain="lan"), world.request("db", networks={
        "default": {"aliases": ["database"]}}), world.request("db", replica=2)]  # fmt: skip
    web, db, db2 = attach.attach_many(world.home, "shop", requests).values()
    names = world.hosts(web)
    assert sorted(names["db"]) == sorted([other_address(db), other_address(db2)])
    assert names["database"] == names["shop-db-1"] == [other_address(db)]
    assert names["www.lan"] == names["www"] == names["web"] == [other_address(web)]
    world.serve(db)
    assert world.ask(web, other_address(db)) == other_address(web)
    world.servers.append(world.host.serve(world.host.outside, OUTSIDE, 80))
    assert world.ask(web, OUTSIDE) == HOST
    inode = os.stat(web.directory + "/hosts").st_ino
    attach.detach_many(world.home, "shop", [db2.id])
    assert world.hosts(web)["db"] == [other_address(db)]
    attach.set_live(world.home, "shop", {db.id: False})
    assert "db" not in world.hosts(web)
    assert os.stat(web.directory + "/hosts").st_ino == inode


def test_published_ports_answer_from_everywhere(world):
    world.network()
    world.network("other")
    web = world.attach("web", published=[tcp(8080), tcp(8081, host_ip="127.0.0.1"), tcp(5353, 53, protocol="udp")])
    peer = world.attach("peer")
    far = world.attach("far", networks=["other"])
    world.serve(web)
    world.serve(web, 53, "udp")
    world.publish(web)
    gateway = network_state.load(world.home, "shop").networks["default"].gateway()
    assert world.host.ask(world.host.outside, HOST, 8080) == OUTSIDE
    assert world.host.ask(world.host.outside, HOST, 5353, "udp") == OUTSIDE
    assert world.ask(None, "127.0.0.1", 8080) == gateway
    assert world.ask(None, "127.0.0.1", 8081) == gateway
    assert world.ask(None, "127.0.0.1", 5353, "udp") == gateway
    assert world.ask(None, HOST, 8080) in (HOST, gateway)
    assert world.ask(None, HOST, 8081) == "refused"
    assert world.host.ask(world.host.outside, HOST, 8081, timeout=0.3) in ("refused", "timeout")
    assert world.ask(peer, HOST, 8080) == gateway
    assert world.ask(web, HOST, 8080) == gateway  # hairpin
    assert world.ask(far, HOST, 8080) not in ("refused", "timeout")
    assert world.ask(far, other_address(web), timeout=0.3) == "timeout"  # networks do not see one another
    assert world.ask(peer, "127.0.0.1", 8081) == "refused"
    assert seen(world, web, "published.8080/tcp") == ("8080->80/tcp", "8080->80/tcp")
    publish.set_published(world.home, "shop", {web.id: False})
    assert world.ask(None, "127.0.0.1", 8080) == "refused"


def test_vanished_things_are_seen_and_mended(world):
    made = world.network()
    web, db = world.attach("web", published=[tcp(8080)]), world.attach("db")
    world.serve(web)
    world.publish(web)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    assert Observation(world.home, "shop").networks()["default"].actual["rules"] == "missing"
    assert seen(world, web, "published.8080/tcp")[1] == "missing"
    publish.rebuild(world.home, "shop")
    assert world.ask(None, "127.0.0.1", 8080) == made.gateway()
    table = table_name(world.home, "shop")
    nft.apply(f"delete element inet {table} published4 {{ tcp . 8080 }}")
    assert Observation(world.home, "shop").networks()["default"].actual["rules"] == "changed"
    assert seen(world, web, "published.8080/tcp")[1] == "missing"
    publish.rebuild(world.home, "shop")
    batch = Batch()
    batch.delete_link(made.bridge)
    batch.send()
    assert Observation(world.home, "shop").networks()["default"].missing
    assert seen(world, db, "networks.default") == ("attached", "detached")
    world.network()
    assert seen(world, db, "networks.default") == ("attached", "attached")
    assert world.ask(db, other_address(web)) == other_address(db)
    batch.delete_link(web.endpoints["default"].veth)
    batch.send()
    assert seen(world, web, "networks.default") == ("attached", "missing")
    request = Request(web.id, "web", 1, web.name, web.directory, {"default": {}}, ports=web.ports)
    assert attach.attach_many(world.home, "shop", [request])[web.id].endpoints == web.endpoints
    assert world.ask(db, other_address(web)) == other_address(db)
    assert world.ask(None, "127.0.0.1", 8080) == made.gateway()


def test_internal_networks_have_no_way_out_or_in(world):
    made = world.network("back", internal=True)
    world.network("front")
    both = world.attach("both", networks=["back", "front"])
    alone = world.attach("alone", networks=["back"], published=[tcp(8080)])
    world.serve(alone)
    world.publish(alone)
    world.servers.append(world.host.serve(world.host.outside, OUTSIDE, 80))
    assert both.gateway == "front"
    assert alone.gateway == ""
    assert world.ask(both, OUTSIDE) == HOST
    assert world.ask(both, other_address(alone)) == both.endpoints["back"].ipv4
    assert world.ask(alone, OUTSIDE) == "Network is unreachable"
    assert world.ask(None, other_address(alone)) == made.gateway()
    with open(alone.directory + "/resolv.conf") as file:
        assert file.read().split()[1] == made.gateway()
    front = network_state.load(world.home, "shop").networks["front"]
    with open(both.directory + "/resolv.conf") as file:
        assert file.read().split()[1] == front.gateway()


def test_what_the_yaml_says_about_interfaces_is_so(world):
    world.network("a", subnets=[{"subnet": "10.77.0.0/24", "gateway": "10.77.0.254", "ip_range": "10.77.0.128/25",
                                 "aux_addresses": {"router": "10.77.0.129"}}])  # fmt: skip
    world.network("b", enable_ipv6=True)
    world.network("c", driver_opts={"com.docker.network.driver.mtu": "1280"})
    member = world.attach("web", networks={
        "a": {"ipv4_address": "10.77.0.9", "mac_address": "02:00:00:00:00:AA", "priority": 5,
              "link_local_ips": ["169.254.8.8"]},
        "b": {"gw_priority": 10, "interface_name": "wan"}, "c": {}})  # fmt: skip
    assert [item.interface for item in member.endpoints.values()] == ["eth0", "wan", "eth1"]
    assert list(member.endpoints) == ["a", "b", "c"]
    assert member.gateway == "b"
    with namespace.in_netns(member.netns):
        inside = {link.name: link for link in links.links()}
        held = links.addresses()
        routes = links.routes()
    assert inside["eth0"].mac == "02:00:00:00:00:aa"
    assert inside["eth1"].mtu == 1280
    assert {(inside["eth0"].ifindex, "10.77.0.9/24"), (inside["eth0"].ifindex, "169.254.8.8/16")} <= set(held)
    state = network_state.load(world.home, "shop")
    defaults = {(route.gateway, route.device) for route in routes if not route.destination}
    assert defaults == {(state.networks["b"].gateway(4), inside["wan"].ifindex),
                        (state.networks["b"].gateway(6), inside["wan"].ifindex)}  # fmt: skip
    second = world.attach("db", networks=["a"])
    assert int(second.endpoints["a"].ipv4.split(".")[3]) >= 130
    with pytest.raises(ConflictError, match=r"10.77.0.9 belongs to shop-web-1"):
        world.attach("late", networks={"a": {"ipv4_address": "10.77.0.9"}})
    with pytest.raises(ConflictError, match="gateway"):
        world.attach("late", networks={"a": {"ipv4_address": "10.77.0.254"}})
    with pytest.raises(ConflictError, match="outside"):
        world.attach("late", networks={"a": {"ipv4_address": "10.78.0.1"}})


def test_ipv6_is_routed_and_published(world):
    made = world.network(enable_ipv6=True)
    web, peer = world.attach("web", published=[tcp(8080), tcp(8082, host_ip=HOST6)]), world.attach("peer")
    world.serve(web, address="::")
    world.publish(web)
    world.servers.append(world.host.serve(world.host.outside, OUTSIDE6, 80))
    assert made.gateway(6).startswith("fd")
    assert world.ask(peer, web.endpoints["default"].ipv6) == peer.endpoints["default"].ipv6
    assert world.ask(web, OUTSIDE6) == HOST6
    assert world.host.ask(world.host.outside, HOST6, 8080) == OUTSIDE6
    assert world.host.ask(world.host.outside, HOST6, 8082) == OUTSIDE6
    assert world.ask(peer, HOST6, 8080) not in ("refused", "timeout")
    assert world.host.ask(world.host.outside, HOST, 8080) == f"::ffff:{OUTSIDE}"


def test_isolated_instances_reach_the_outside_only(world):
    world.network(driver_opts={"com.docker.network.bridge.enable_icc": "false"})
    web, db = world.attach("web"), world.attach("db")
    world.serve(db)
    world.servers.append(world.host.serve(world.host.outside, OUTSIDE, 80))
    assert world.ask(web, OUTSIDE) == HOST
    assert world.ask(web, other_address(db), timeout=0.3) in ("timeout", "No route to host")


def test_addresses_are_the_same_after_down_and_apply(world):
    world.network()
    first = world.attach("web")
    attach.detach_many(world.home, "shop", [first.id])
    world.attach("other")
    again = world.attach("web")
    assert other_address(again) == other_address(first)
    overlapping = world.attach("web")  # start-first: both are there for a while
    assert other_address(overlapping) != other_address(first)


def test_environments_share_an_external_network(world):
    world.network("shared")
    db = world.attach("db", networks=["shared"])
    external = network.create(world.home, "blog", "backend", {"name": "shop_shared", "external": True}, "x")
    assert external.id == "shop/shared"
    blog = world.attach("blog", networks=["backend"], environment="blog", published=[tcp(8090)])
    world.publish(blog, environment="blog")
    world.serve(db)
    world.serve(blog)
    assert world.hosts(blog)["db"] == [other_address(db)]
    assert world.hosts(db)["blog"] == [other_address(blog)]
    assert other_address(db) != other_address(blog)
    assert world.ask(blog, other_address(db)) == other_address(blog)
    assert world.ask(None, "127.0.0.1", 8090) == external.gateway()
    assert not Observation(world.home, "blog").networks()["backend"].missing
    attach.detach_many(world.home, "blog", [blog.id])
    assert "blog" not in world.hosts(db)
    with pytest.raises(NotFoundError, match="no environment here"):
        network.create(world.home, "blog", "nowhere", {"name": "nowhere", "external": True}, "x")


def test_subnets_in_use_are_found_and_avoided(world):
    with pytest.raises(ConflictError, match="by wan0"):
        world.network(subnets=[{"subnet": "203.0.113.0/25"}])
    world.network("one", subnets=[{"subnet": "10.77.0.0/24"}])
    with pytest.raises(ConflictError, match="network shop/one"):
        world.network("two", subnets=[{"subnet": "10.77.0.128/25"}])
    chosen = {item["subnet"] for number in range(5) for item in world.network(f"n{number}").subnets}
    assert len(chosen) == 5
    with pytest.raises(UnsupportedError, match="weave"):
        world.network("lan", driver="weave")
    assert network.problems({"name": "x", "driver_opts": {"odd": "1"}})[0][0] == "driver_opts.odd"


def test_what_nobody_knows_of_is_swept(world):
    made = world.network()
    world.attach("web")
    assert network.sweep(world.home) == []
    subprocess.run(["iptables", "-N", "DOCKER-USER"], check=True)
    world.network()
    assert not neighbours.is_missing(world.home)
    os.unlink(network_state.path_of(world.home, "shop"))
    table = table_name(world.home, "shop")
    assert network.sweep(world.home) == [
        f"link {made.bridge}", f"nft table {table}", "network namespace 000000000001"]  # fmt: skip
    assert neighbours.is_missing(world.home)
    subprocess.run(["iptables", "-F"], check=True)
    subprocess.run(["iptables", "-X"], check=True)
    subprocess.run(["nft", "delete", "table", "ip", "filter"], check=True)
    subprocess.run(["nft", "delete", "table", "ip6", "filter"], check=False, capture_output=True)


def test_port_conflicts_name_their_holder(world):
    world.network()
    web = world.attach("web", published=[tcp(8080)])
    world.serve(None, 9000)
    world.serve(None, 9001, "udp")
    world.serve(None, 9002, address="127.0.0.1")
    wanted = [tcp(8080), tcp(8080, host_ip="127.0.0.1"), tcp(9000), tcp(9001), tcp(9001, protocol="udp"), tcp(9002),
              tcp(9002, host_ip=HOST)]  # fmt: skip
    found = ports.find_port_conflicts(world.home, wanted)
    assert [(port["published"], who.split(" (")[0]) for port, who in found] == [
        (8080, "shop-web-1 of the environment shop"), (8080, "shop-web-1 of the environment shop"),
        (9000, "python3"), (9001, "python3"), (9002, "python3")]  # fmt: skip
    assert ports.find_port_conflicts(world.home, [tcp(8080)], leaving=[web.id]) == []
    world.publish(web)
    elsewhere = Home(world.home.root + "-other")
    assert ports.find_port_conflicts(elsewhere, [tcp(8080)])[0][1] == (
        "the environment shop of another envkit installation")  # fmt: skip


def test_ranges_and_ephemeral_ports_choose_and_keep(world):
    spec = {"target": 80, "published": "8080-8082", "protocol": "tcp", "host_ip": ""}
    held = {8080}

    def taken(port):
        return "somebody" if port["published"] in held else ""

    assert ports.resolve([spec], "web.1", taken) == [tcp(8081)]
    assert ports.resolve([spec, spec], "web.1", taken) == [tcp(8081), tcp(8082)]
    with pytest.raises(ConflictError, match="held by"):
        ports.resolve([spec, spec, spec], "web.1", taken)
    ephemeral = {**spec, "published": ""}
    first = ports.resolve([ephemeral], "web.1", taken)[0]["published"]
    assert first >= 32768
    assert ports.resolve([ephemeral], "web.1", taken)[0]["published"] == first
    assert ports.resolve([ephemeral], "web.1", taken, [tcp(40000)])[0]["published"] == 40000
    with pytest.raises(ConflictError, match="8080->80/tcp cannot be published: 8080 is held by somebody"):
        ports.resolve([{**spec, "published": "8080"}], "web.1", taken)
    assert ports.text_of(tcp(80, host_ip="::1")) == "[::1]:80->80/tcp"


def test_beside_docker_everything_still_answers(world):
    for command in ("-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-P FORWARD DROP"):
        subprocess.run(["iptables", *command.split()], check=True)
    if read_sysctl("net.bridge.bridge-nf-call-iptables") is not None:
        write_sysctl("net.bridge.bridge-nf-call-iptables", "1")
    world.network()
    world.network("other")
    web, peer = world.attach("web", published=[tcp(8080)]), world.attach("peer")
    far = world.attach("far", networks=["other"])
    world.serve(web)
    world.publish(web)
    world.servers.append(world.host.serve(world.host.outside, OUTSIDE, 80))
    assert world.ask(peer, other_address(web)) == other_address(peer)
    assert world.ask(peer, OUTSIDE) == HOST
    assert world.host.ask(world.host.outside, HOST, 8080) == OUTSIDE
    assert world.ask(far, other_address(web), timeout=0.3) == "timeout"
    world.close()
    world.servers.clear()
    assert neighbours.is_missing(world.home)
    subprocess.run(["nft", "flush", "ruleset"], check=True)


class Life:
    """Two instances, one of them published: up, and down again."""

    def __init__(self, home):
        self.home, self.ids = home, [f"{number:012x}" for number in (1, 2)]

    def up(self):
        network.create(self.home, "shop", "default", {"name": "shop_default"}, "f")
        rows = [Request(identity, service, 1, f"shop-{service}-1", f"{self.home.root}/{service}", {"default": {}},
                        ports=ports_) for identity, service, ports_ in zip(self.ids, ("web", "db"), ([tcp(80)], []),
                                                                           strict=True)]  # fmt: skip
        attach.attach_many(self.home, "shop", rows)
        publish.set_published(self.home, "shop", dict.fromkeys(self.ids, True))

    def down(self):
        attach.detach_many(self.home, "shop", self.ids)
        network.remove(self.home, "shop", ["default"])

    def killed(self, **settings):
        """Up and down in a child, with settings of host.steps; whether SIGKILL ended it."""
        child = os.fork()
        if child == 0:
            try:
                for name, value in {"_active": True, **settings}.items():
                    setattr(steps, name, value)
                self.up()
                self.down()
            finally:
                os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def test_a_kill_at_any_step_is_made_good_by_the_next_run(world):
    life = Life(world.home)
    record = world.home.root + ".steps"
    assert not life.killed(_record=record)
    with open(record) as file:
        names = file.read().split()
    counted = [(name, names[: index + 1].count(name)) for index, name in enumerate(names)]
    assert len(counted) > 20
    for name, count in counted:
        assert life.killed(_fail_name=name, _fail_count=str(count)), (name, count)
        life.up()
        observation = Observation(world.home, "shop")
        found = observation.networks()["default"]
        assert found.expected == found.actual, (name, count)
        for identity in life.ids:
            expected, actual = observation.instance(identity)
            assert expected == actual, (name, count)
        life.down()
        assert network_state.environments(world.home) == []
        assert network.sweep(world.home) == [], (name, count)
