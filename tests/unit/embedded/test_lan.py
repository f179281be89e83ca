"""macvlan networks, on a machine of their own, without containers."""

from __future__ import annotations

import os

import pytest

from envkit.backend.embedded import attach, network
from envkit.backend.embedded.network_observe import Observation
from envkit.errors import NotFoundError
from envkit.host import links
from tests.support.machine import HOST, OUTSIDE
from tests.support.networks import alone, other_address, tcp

pytestmark = pytest.mark.root


@pytest.fixture
def world(tmp_path):
    with alone(tmp_path) as found:
        yield found


def test_instances_of_a_macvlan_are_machines_of_the_parents_network(world):
    subnets = [{"subnet": "203.0.113.0/24", "gateway": OUTSIDE, "ip_range": "203.0.113.64/26", "aux_addresses": {
        "host": HOST}}]  # fmt: skip
    options = {"parent": "wan0", "macvlan_mode": "bridge"}
    made = world.network("lan", driver="macvlan", driver_opts=options, subnets=subnets)
    assert (made.link, made.bridge, made.mtu, made.gateways) == ("wan0", "", 1400, [])
    world.network()
    web = world.attach("web", networks={"lan": {"gw_priority": 1}, "default": {}}, published=[tcp(8080)])
    db = world.attach("db", networks=("lan",))
    world.serve(db)
    assert world.hosts(web)["db"] == [other_address(db)]
    assert world.ask(web, other_address(db)) == web.endpoints["lan"].ipv4
    assert other_address(db).startswith("203.0.113.")
    server = world.host.serve(world.host.outside, OUTSIDE, 80)
    world.servers.append(server)
    assert world.ask(db, OUTSIDE) == other_address(db), "nothing is translated on the way"
    assert world.ask(None, other_address(db)) != HOST, "a macvlan and its parent do not talk, as with Docker"
    again = attach.attach_many(world.home, "shop", [world.request("web", networks=("lan",))])
    assert again
    observation = Observation(world.home, "shop")
    assert observation.networks()["lan"].expected == observation.networks()["lan"].actual
    assert all(side == {} for side in observation.instance(db.id))
    assert links.index_of("wan0")
    with pytest.raises(NotFoundError, match="parent interface"):
        world.network("gone", driver="macvlan", driver_opts={"parent": "nope0"})
    assert network.problems({"driver": "macvlan", "driver_opts": {"macvlan_mode": "vepa"}})[0][0].endswith("_mode")


def test_a_macvlan_without_a_parent_is_a_world_of_its_own(world):
    made = world.network("lan", driver="macvlan")
    assert made.internal
    assert made.bridge.startswith("ek")
    one, other = world.attach("one", networks=("lan",)), world.attach("other", networks=("lan",))
    world.serve(other)
    assert world.ask(one, other_address(other)) == other_address(one)
    assert (one.gateway, world.ask(one, OUTSIDE)) == ("", "Network is unreachable")
    assert other_address(one) not in {address.partition("/")[0] for _, address in links.addresses()}
    with open(os.path.join(one.directory, "resolv.conf")) as file:
        assert "nameserver" not in file.read()
