"""DNS: the wire form, what each client may see, and the server itself on a machine of its own."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.backend.embedded import attach, dns, network, network_state
from envkit.backend.embedded.hosts import Directory
from envkit.backend.embedded.network_state import Endpoint, Member, Network
from envkit.backend.embedded.resolver import Resolver
from envkit.host import namespace
from envkit.host.home import Home
from envkit.host.netlink import Batch
from tests.support.machine import HOST, OUTSIDE, machine


def records(data):
    """(code, truncated, [text of each address]) of a response."""
    _, flags, questions, answers = struct.unpack_from("!4H", data)
    position = 12
    while data[position]:
        position += 1 + data[position]
    position += 5
    found = []
    for _ in range(answers):
        _, kind, _, _, length = struct.unpack_from("!3HIH", data, position)
        value = data[position + 12 : position + 12 + length]
        if kind == dns.PTR:
            found.append(".".join(_labels(value)))
        else:
            found.append(socket.inet_ntop(socket.AF_INET if kind == dns.A else socket.AF_INET6, value))
        position += 12 + length
    assert questions == 1
    return flags & 15, bool(flags & 0x200), found


def _labels(data):
    while data[0]:
        yield data[1 : 1 + data[0]].decode()
        data = data[1 + data[0] :]


@given(st.binary(max_size=80))
def test_no_datagram_breaks_the_parser(data):
    dns.parse(data)
    dns.parse(b"\0\1\1\0\0\1\0\0\0\0\0\0" + data)


def test_queries_and_answers():
    query = dns.parse(dns.build(7, "Web.Example", dns.A))
    assert (query.id, query.name, query.kind, query.size) == (7, "web.example", dns.A, 512)
    both = dns.address_records(dns.A, ["10.0.0.1", "fd00::1"])
    assert records(dns.answer(query, both)) == (0, False, ["10.0.0.1"])
    assert records(dns.answer(query, dns.address_records(dns.AAAA, ["10.0.0.1"]))) == (0, False, [])
    assert records(dns.answer(query, code=dns.NXDOMAIN))[0] == dns.NXDOMAIN
    many = dns.address_records(dns.A, [f"10.0.0.{n}" for n in range(100)])
    code, truncated, found = records(dns.answer(query, many, limit=512))
    assert (code, truncated, len(found)) == (0, True, 30)
    plain = dns.build(7, "web", dns.A)
    with_size = plain[:11] + b"\1" + plain[12:] + b"\0" + struct.pack("!2HIH", dns.OPT, 1232, 0, 0)
    assert dns.parse(with_size).size == 1232
    assert dns.parse(b"x" * 11) is None
    assert dns.reversed_address("4.3.2.1.in-addr.arpa") == "1.2.3.4"
    assert dns.reversed_address("1." + "0." * 31 + "ip6.arpa") == "::1"
    assert dns.reversed_address("web") == dns.reversed_address("z." * 32 + "ip6.arpa") == ""


def make_network(identity, **options):
    subnet = {"subnet": "10.0.0.0/24", "gateway": "10.0.0.1", "range": "10.0.0.0/24", "reserved": []}
    return Network(identity, identity.replace("/", "_"), "ek0", 1500, [subnet], {}, "", **options)


def make_member(identity, service, places, replica=1, **options):
    endpoints = {key: Endpoint(f"e/{key}", "", "", "", address, "", [service, *names])
                 for key, (address, *names) in places.items()}  # fmt: skip
    name = f"e-{service}-{replica}"
    return Member(identity, service, replica, name, "", "", endpoints, next(iter(places)), **options)


def test_everybody_sees_his_own_networks_only():
    web = make_member("1", "web", {"front": ["10.0.0.2"], "back": ["10.0.1.2"]}, links=["db:data"], hostname="www",
                      domain="lan", extra_hosts={"host": ["host-gateway"], "other": ["192.0.2.1", "192.0.2.2"]})
    db = make_member("2", "db", {"back": ["10.0.1.3", "store"]})
    off = make_member("3", "off", {"front": ["10.0.0.4"]}, live=False)
    proxies = [make_member(f"p{n}", "proxy", {"front": [f"10.0.0.1{n}"]}, replica=n) for n in range(1, 4)]
    networks = {key: make_network(key) for key in ("e/front", "e/back")}
    directory = Directory([web, db, off, *proxies], networks)
    assert directory.find(web, "db") == directory.find(web, "store") == directory.find(web, "e-db-1") == ["10.0.1.3"]
    assert directory.find(web, "db.back") == directory.find(web, "db.e_back") == ["10.0.1.3"]
    assert directory.find(web, "data") == ["10.0.1.3"]
    assert directory.find(web, "off") is None
    assert directory.find(db, "proxy") is None
    assert directory.find(db, "data") is None
    assert sorted(directory.find(web, "proxy")) == ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
    assert directory.name_of(web, "10.0.1.3") == "e-db-1.e_back"
    assert directory.name_of(db, "10.0.0.11") == ""
    lines = directory.hosts_text(web).splitlines()
    assert lines[2] == "10.0.0.2\twww.lan www"
    assert {"10.0.0.2\tweb e-web-1", "10.0.1.3\tdb store e-db-1", "10.0.1.3\tdata", "10.0.0.1\thost",
            "192.0.2.1\tother", "192.0.2.2\tother"} <= set(lines)  # fmt: skip
    assert not any("off" in line for line in lines)
    first = {next(line for line in directory.hosts_text(one).splitlines() if "proxy" in line)
             for one in [web, *proxies]}  # fmt: skip
    assert len(first) > 1  # not everybody prefers the same replica


class Server:
    """A resolver in a thread of the host, and questions from instances."""

    def __init__(self, host, home):
        self.host = host
        self.resolver = Resolver(home, "shop")
        self.stop, self.thread = threading.Event(), None

    def run(self):
        poll = select.epoll()
        poll.register(self.resolver.fileno(), select.EPOLLIN)
        while not self.stop.is_set():
            if poll.poll(0.05):
                self.resolver.handle()
        poll.close()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.resolver.close()

    def ask(self, netns, server, name, kind=dns.A, stream=False):
        def question():
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as client:
                client.settimeout(1)
                client.connect((server, 53))
                message = dns.build(9, name, kind)
                client.sendall(len(message).to_bytes(2, "big") + message if stream else message)
                data = client.recv(4096)
                return records(data[2:] if stream else data)

        if netns is None:
            return question()
        with namespace.in_netns(netns):
            return question()


UPSTREAM = """
import socket, sys, threading
sys.path.insert(0, {path!r})
from envkit.backend.embedded import dns
def answer(data):
    q = dns.parse(data)
    return dns.answer(q, dns.address_records(q.kind, ["192.0.2.80"]), dns.NOERROR)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(({address!r}, 53))
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(({address!r}, 53)); t.listen(5)
def streams():
    while True:
        c, a = t.accept(); d = c.recv(4096); r = answer(d[2:]); c.sendall(len(r).to_bytes(2, "big") + r); c.close()
threading.Thread(target=streams, daemon=True).start()
print("ready", flush=True)
while True:
    d, a = u.recvfrom(4096); u.sendto(answer(d), a)
"""


@pytest.mark.root
def test_the_server_answers_forwards_and_follows(tmp_path, monkeypatch):
    with machine(str(tmp_path)) as host:
        home = Home(str(tmp_path / "home"))
        conf = tmp_path / "resolv.conf"
        conf.write_text(f"nameserver {OUTSIDE}\n")
        monkeypatch.setattr("envkit.backend.embedded.resolver.HOST", str(conf))
        path = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        upstream = host.start(host.outside, ["python3", "-c", UPSTREAM.format(address=OUTSIDE, path=path)], stdout=-1)
        assert upstream.stdout.readline() == b"ready\n"
        try:
            front = network.create(home, "shop", "front", {"name": "front"}, "1")
            inner = network.create(home, "shop", "inner", {"name": "inner", "internal": True}, "1")

            def request(number, service, key, **options):
                return attach.Request(f"{number:012x}", service, 1, f"shop-{service}-1",
                                      str(tmp_path / service), {key: {}}, **options)  # fmt: skip

            rows = [request(1, "web", "front"), request(2, "db", "inner"),
                    request(3, "far", "front", dns=["192.0.2.99"])]  # fmt: skip
            web, db, far = attach.attach_many(home, "shop", rows).values()
            with Server(host, home) as server:
                assert server.resolver.unserved == {}
                own, gateway = web.endpoints["front"].ipv4, front.gateway()
                assert server.ask(web.netns, gateway, "WEB") == (0, False, [own])
                assert server.ask(web.netns, gateway, "web", stream=True) == (0, False, [own])
                assert server.ask(web.netns, gateway, "web", dns.AAAA) == (0, False, [])
                backwards = ".".join(reversed(own.split("."))) + ".in-addr.arpa"
                assert server.ask(web.netns, gateway, backwards, dns.PTR) == (0, False, ["shop-web-1.front"])
                assert server.ask(None, gateway, "web") == (0, False, [own])
                assert server.ask(web.netns, gateway, "example.org") == (0, False, ["192.0.2.80"])
                assert server.ask(web.netns, gateway, "example.org", stream=True) == (0, False, ["192.0.2.80"])
                assert server.ask(web.netns, gateway, "db") == (0, False, ["192.0.2.80"])  # not in its networks
                assert server.ask(db.netns, inner.gateway(), "db")[2] == [db.endpoints["inner"].ipv4]
                assert server.ask(db.netns, inner.gateway(), "example.org")[0] == dns.REFUSED
                with pytest.raises(TimeoutError):
                    server.ask(far.netns, gateway, "example.org")  # its own server does not answer
                late = attach.attach_many(home, "shop", [request(4, "late", "front")])
                answer = (0, False, [next(iter(late.values())).endpoints["front"].ipv4])
                for _ in range(20):
                    found = server.ask(web.netns, gateway, "late")
                    if found == answer:
                        break
                assert found == answer
                _lead_to(host, gateway)
                with pytest.raises(TimeoutError):
                    server.ask(host.outside, gateway, "web")
        finally:
            upstream.kill()
            upstream.communicate()
            attach.detach_many(home, "shop", list(network_state.load(home, "shop").members))
            network.remove(home, "shop", ["front", "inner"])


def _lead_to(host, gateway):
    """Lead the outside to the gateway: a stranger who routes here gets no answer."""
    with namespace.in_netns(host.outside):
        batch = Batch()
        batch.add_route(f"{gateway}/32", gateway=HOST)
        batch.send()


@pytest.mark.root
def test_a_taken_port_is_said(tmp_path):
    with machine(str(tmp_path)):
        home = Home(str(tmp_path / "home"))
        made = network.create(home, "shop", "front", {"name": "front"}, "1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 53))
            resolver = Resolver(home, "shop")
            assert resolver.unserved == {made.gateway(): "Address already in use"}
        resolver.reload()
        assert resolver.unserved == {}
        network.remove(home, "shop", ["front"])
        resolver.reload()
        resolver.close()
