"""What the embedded backend cannot do is said at plan time, with its place."""

from __future__ import annotations

import pytest

from envkit.address import Address
from envkit.backend import features
from envkit.backend.embedded import check
from envkit.diagnostics import Position
from envkit.host.cgroups import Cgroups
from envkit.host.home import Home
from envkit.spec.environment import Environment, Resource


def diagnose(tmp_path, kind, spec, origins=None):
    address = Address(kind, "it")
    resource = Resource(address, spec, "f", origins=origins or {})
    environment = Environment("e", "/", (), True, {address: resource})
    return check.check(Home(str(tmp_path)), environment)


def _syslog(address, **options):
    return {"logging": {"driver": "syslog", "options": {"syslog-address": address, **options}}}


@pytest.mark.parametrize(
    ("kind", "spec", "code", "is_error"),
    [
        ("service", {"gpus": [{}]}, "unsupported-gpus", False),
        ("service", {"storage_opt": {"size": "1G"}}, "unsupported-storage-opt", False),
        ("service", {"external_links": ["other:o"]}, "unsupported-external-links", False),
        ("service", {"reservations": {"devices": [{}]}}, "unsupported-reservations-devices", False),
        ("service", {"networks": {"n": {"driver_opts": {"x": "y"}}}}, "unsupported-endpoint-option", False),
        ("service", {"update": {"order": "start-first"}, "container_name": "x"}, "stop-first", False),
        ("service", {"update": {"order": "start-first"}, "network_mode": "host"}, "stop-first", False),
        ("service", {"update": {"order": "start-first"}, "networks": {"n": {"ipv4_address": "10.9.9.9"}}}, "stop-first",
         False),
        ("service", {"mode": "global-job"}, "unsupported-mode", False),
        ("service", {"placement": {"constraints": ["a"]}}, "unsupported-placement", False),
        ("service", {"runtime": "kata"}, "unsupported-runtime", False),
        ("service", {"logging": {"driver": "gelf"}}, "unsupported-logging", False),
        ("service", {"logging": {"driver": "journald"}}, "missing-log-socket", False),
        ("service", _syslog("unix:///no/such/socket"), "missing-log-socket", False),
        ("service", _syslog("http://there"), "unsupported-logging", True),
        ("service", _syslog("udp://there:1", **{"syslog-facility": "bad"}), "unsupported-logging", True),
        ("service", _syslog("udp://there:1", **{"syslog-format": "bad"}), "unsupported-logging", True),
        ("service", _syslog("udp://there:1", odd="x"), "unsupported-logging", False),
        ("service", {"userns_mode": "keep-id"}, "unsupported-userns-mode", True),
        ("service", {"security_opt": ["credentialspec=x"]}, "unsupported-security-opt", True),
        ("volume", {"name": "v", "driver": "rexray"}, "unsupported-volume-driver", True),
        ("network", {"name": "n", "driver": "weave"}, "unsupported-network-driver", True),
        ("secret", {"name": "s", "external": True}, "unsupported-secret-external", True),
        ("config", {"name": "s", "external": True}, "unsupported-config-external", True),
    ],
)
def test_what_is_not_there_is_said(tmp_path, kind, spec, code, is_error):
    (found,) = [item for item in diagnose(tmp_path, kind, spec) if item.code != "missing-tool"]
    assert (found.code, found.is_error) == (code, is_error) and found.detail


@pytest.mark.parametrize(
    "spec",
    [
        {}, {"logging": {"driver": "none"}}, {"security_opt": ["apparmor=unconfined", "label=disable"]},
        {"userns_mode": "host"}, {"network_mode": "host"}, {"limits": {"memory_swap": -1}}, {"runtime": "runc"},
        {"network_mode": "bridge"}, {"cgroup_parent": "/x"}, {"post_start": [{"command": ["x"]}]},
        _syslog("tcp://[::1]:601"), _syslog("udp://there"),
    ],
)  # fmt: skip
def test_what_is_there_is_not_said(tmp_path, spec):
    assert [item for item in diagnose(tmp_path, "service", spec) if item.code != "missing-tool"] == []


def test_the_docker_socket_is_refused_with_a_way_out(tmp_path):
    mounts = [{"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}]
    address = Address("service", "it")
    for hardened, codes in ((False, ["docker-socket"]), (True, [])):  # an envkit.yaml has asked for `allow:` already
        resource = Resource(address, {"mounts": mounts}, "f", origins={"mounts[0]": "compose.yaml:3:9"})
        found = check.check(Home(str(tmp_path)), Environment("e", "/", (), hardened, {address: resource}))
        assert [item.code for item in found if item.code != "missing-tool"] == codes
        assert all("--backend docker" in item.hint for item in found if item.code == "docker-socket")


def test_a_limit_that_cannot_be_kept_has_its_place(tmp_path, monkeypatch):
    bare = Cgroups(Home(str(tmp_path)))
    monkeypatch.setattr(Cgroups, "of", classmethod(lambda cls, home: bare))
    spec = {"limits": {"memory": 5, "blkio": {"weight": 10, "device_read_bps": []}, "pids": -1}}
    found = diagnose(tmp_path, "service", spec, {"limits.memory": "envkit.yaml:7:3"})
    assert [item.code for item in found] == ["unsupported-limit"] * 3
    assert found[0].source == Position("envkit.yaml", 7, 3) and not found[0].is_error


@pytest.mark.parametrize("text", ["", "envkit.yaml", "envkit.yaml:7", "a:b:c"])
def test_origins_without_a_place(text):
    assert features.position(text) is None


@pytest.mark.parametrize(
    ("address", "network", "texts"),
    [
        ("::1", {"enable_ipv6": True}, ["loopback"]),
        ("::1", {}, ["loopback"]),
        ("::", {}, ["none of its networks has IPv6"]),
        ("2001:db8::1", {"subnets": [{"subnet": "10.0.0.0/24"}]}, ["none of its networks has IPv6"]),
        ("2001:db8::1", {"subnets": [{"subnet": "fd00::/64"}]}, []),
        ("::", {"enable_ipv6": True}, []),
        ("::", {"external": True}, []),
        ("127.0.0.1", {}, []),
        ("", {}, []),
    ],
)
def test_addresses_that_lead_nowhere(tmp_path, address, network, texts):
    port = {"target": 80, "published": "8080", "protocol": "tcp", "host_ip": address}
    service = Resource(Address("service", "it"), {"networks": {"n": {}}, "ports": [port]}, "f")
    net = Resource(Address("network", "n"), {"name": "n", **network}, "f")
    environment = Environment("e", "/", (), True, {item.address: item for item in (service, net)})
    found = [item for item in check.check(Home(str(tmp_path)), environment) if item.code != "missing-tool"]
    assert [(item.code, item.is_error) for item in found] == [("unreachable-port", False)] * len(texts)
    assert all(text in item.detail for text, item in zip(texts, found, strict=True))
