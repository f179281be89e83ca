"""Addresses and subnets: pure laws."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.backend.embedded import addresses, subnets
from envkit.backend.embedded.network_state import Network
from envkit.backend.embedded.publish import script
from envkit.errors import ConflictError, HostError
from envkit.host.home import Home

NAMES = st.text("abc.123", min_size=1, max_size=6)


def subnet_of(text, **options):
    return {**subnets._entry(ipaddress.ip_network(text)), **options}


@given(st.lists(NAMES, unique=True, max_size=6))
def test_every_instance_gets_its_own_address_until_none_is_left(identities):
    subnet, taken = subnet_of("10.0.0.0/29"), {}
    for identity in identities[:5]:
        address = addresses.allocate(subnet, identity, taken)
        assert address not in {*taken, "10.0.0.0", "10.0.0.1", "10.0.0.7"}
        assert ipaddress.ip_address(address) in ipaddress.ip_network("10.0.0.0/29")
        taken[address] = identity
    if len(taken) == 5:
        with pytest.raises(ConflictError, match="no address left"):
            addresses.allocate(subnet, "one more", taken)


@given(NAMES)
def test_the_choice_is_repeated_and_preferences_are_kept(identity):
    subnet = subnet_of("fd00::/64")
    first = addresses.allocate(subnet, identity, {})
    assert addresses.allocate(subnet, identity, {}) == first
    assert addresses.allocate(subnet, identity, {}, preferred="fd00::99") == "fd00::99"
    assert addresses.allocate(subnet, identity, {"fd00::99": "x"}, preferred="fd00::99") == first
    assert addresses.allocate(subnet, identity, {}, preferred="fd01::1") == first


def test_ranges_reserved_and_static_addresses():
    subnet = subnet_of("10.0.0.0/24", range="10.0.0.128/30", reserved=["10.0.0.129"])
    assert {addresses.allocate(subnet, str(n), {}) for n in range(30)} <= {"10.0.0.128", "10.0.0.130", "10.0.0.131"}
    assert addresses.allocate(subnet, "x", {}, wanted="10.0.0.7") == "10.0.0.7"
    assert addresses.allocate(subnet_of("fd00::/64"), "x", {}, wanted="fd00:0::7") == "fd00::7"
    for wanted, match in (("10.0.0.1", "gateway"), ("10.0.1.1", "outside"), ("10.0.0.8", "belongs to db")):
        with pytest.raises(ConflictError, match=match):
            addresses.allocate(subnet, "x", {"10.0.0.8": "db"}, wanted=wanted)


def test_order_of_interfaces_and_the_default_route():
    attachments = {"a": {}, "b": {"priority": 10}, "c": {"gw_priority": 5}, "d": None}
    assert addresses.order(attachments) == ["b", "a", "c", "d"]
    assert addresses.gateway_key(attachments, {"a", "b", "c", "d"}) == "c"
    assert addresses.gateway_key(attachments, {"a", "b"}) == "b"
    assert addresses.gateway_key(attachments, set()) == ""


def test_macs_follow_addresses():
    assert addresses.mac_for("10.0.0.2", "x") == "02:42:0a:00:00:02"
    assert addresses.mac_for("fd00::1", "x") != addresses.mac_for("fd00::1", "y")


@given(NAMES, st.lists(st.integers(0, 1023), max_size=20))
def test_a_chosen_subnet_is_free(identity, numbers):
    base = int(subnets.POOL.network_address)
    taken = [(ipaddress.ip_network((base + number * 1024, 22)), "x") for number in numbers]
    chosen = subnets.choose(identity, taken)
    assert chosen.subnet_of(subnets.POOL)
    assert not any(chosen.overlaps(other) for other, _ in taken)


def test_no_subnet_left():
    with pytest.raises(ConflictError, match="no private subnet"):
        subnets.choose("x", [(subnets.POOL, "everybody")])


def test_what_the_user_gave_is_checked():
    given_both = [{"subnet": "fd00::/64"}, {"subnet": "10.0.0.0/24", "gateway": "10.0.0.9"}]
    both = [(item["subnet"], item["gateway"]) for item in subnets.decide("x", {"subnets": given_both}, [])]
    assert both == [("10.0.0.0/24", "10.0.0.9"), ("fd00::/64", "fd00::1")]
    six = subnets.decide("x", {"enable_ipv4": False, "enable_ipv6": True}, [])
    assert [":" in item["subnet"] for item in six] == [True]
    for given_, match in (
        ({"subnet": "10.0.0.1/24"}, "host bits"), ({"subnet": "10.0.0.0/24", "gateway": "10.1.0.1"}, "outside"),
        ({"subnet": "10.0.0.0/24", "ip_range": "10.1.0.0/25"}, "ip_range"),
        ({"subnet": "10.0.0.0/24", "aux_addresses": {"r": "10.9.0.1"}}, "r 10.9.0.1"),
    ):  # fmt: skip
        with pytest.raises(HostError, match=match):
            subnets.decide("x", {"subnets": [given_]}, [])


def test_bridges_of_one_installation_share_a_prefix_and_differ():
    home = Home("/somewhere")
    first = subnets.bridge_name(home, "shop", "default", ())
    second = subnets.bridge_name(home, "shop", "default", {first})
    assert first != second
    assert {len(first), len(second)} == {15}
    assert first[:8] == second[:8] == f"ek{home.tag}"


def network(bridge, subnet, **options):
    return Network(f"e/{bridge}", bridge, bridge, 1500, [subnet_of(subnet)], {}, "", **options)


def test_the_table_names_everything_once():
    networks = [network("ek1", "10.0.0.0/24"), network("ek2", "10.0.1.0/24", internal=True)]
    ports = [({"host_ip": "", "protocol": "tcp", "published": 80, "target": 8080}, "10.0.0.2", ""),
             ({"host_ip": "127.0.0.1", "protocol": "udp", "published": 53, "target": 53}, "10.0.0.3", "")]  # fmt: skip
    text = script("t", networks, ports)
    assert "elements = { tcp . 80 : 10.0.0.2 . 8080 }" in text
    assert "elements = { 127.0.0.1 . udp . 53 : 10.0.0.3 . 53 }" in text
    assert 'set internal { type ifname; elements = { "ek2" } }' in text
    assert "set masked4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/24 } }" in text
    assert text == script("t", networks, ports)
