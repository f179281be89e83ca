"""What a spec becomes for the managers, and that the same is read back."""

from __future__ import annotations

from typing import Any

import pytest

from envkit.backend.swarm import encode
from envkit.backend.swarm.encode import Place
from envkit.backend.swarm.facts import facts
from envkit.backend.swarm.materials import object_name

NANO = 1_000_000_000


def body(spec: dict[str, Any], **place: Any) -> dict[str, Any]:
    return encode.service("web", {"image": "a", **spec}, Place("shop", "a@sha256:1", **place))


@pytest.mark.parametrize(
    ("spec", "mode"),
    [
        ({}, {"Replicated": {"Replicas": 1}}), ({"replicas": 0}, {"Replicated": {"Replicas": 0}}),
        ({"mode": "global"}, {"Global": {}}), ({"mode": "global-job"}, {"GlobalJob": {}}),
        ({"mode": "replicated-job", "replicas": 3}, {"ReplicatedJob": {"MaxConcurrent": 3, "TotalCompletions": 3}}),
    ],
)  # fmt: skip
def test_modes(spec: dict[str, Any], mode: dict[str, Any]) -> None:
    assert body(spec)["Mode"] == mode
    assert "UpdateConfig" not in body({**spec, "update": {"order": "start-first"}}) or "Job" not in str(mode)


@pytest.mark.parametrize(
    ("spec", "awaited", "condition"),
    [
        ({"expose": ["80"]}, False, "any"), ({"ports": [{"target": 1, "protocol": "tcp"}]}, False, "any"),
        ({"healthcheck": {"test": ["CMD", "x"]}}, False, "any"), ({}, False, "none"),
        ({"expose": ["80"]}, True, "none"),
        ({"restart": {"policy": "always"}}, False, "any"), ({"restart": {"policy": "unless-stopped"}}, True, "any"),
        ({"restart": {"policy": "on-failure", "max_attempts": 2}}, False, "on-failure"),
        ({"restart": {"policy": "no"}, "expose": ["80"]}, False, "none"),
        ({"mode": "replicated-job", "restart": {"policy": "always"}}, False, "on-failure"),
    ],
)  # fmt: skip
def test_what_is_kept_running(spec: dict[str, Any], awaited: bool, condition: str) -> None:
    assert body(spec, awaited=awaited)["TaskTemplate"]["RestartPolicy"]["Condition"] == condition


def test_a_task_that_ends_well_is_no_failed_update() -> None:
    assert body({}, awaited=True)["UpdateConfig"]["FailureAction"] == "continue"
    assert "UpdateConfig" not in body({"expose": ["80"]})
    assert body({"expose": ["80"], "update": {"delay": 2}})["UpdateConfig"] == {
        "Parallelism": 1, "FailureAction": "pause", "Order": "stop-first", "MaxFailureRatio": 0.0, "Delay": 2 * NANO,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("port", "vip", "sent"),
    [
        ({"published": "80"}, True, {"PublishedPort": 80, "PublishMode": "ingress"}),
        ({"published": "80", "mode": "host"}, True, {"PublishedPort": 80, "PublishMode": "host"}),
        ({"published": ""}, True, {"PublishMode": "ingress"}),
        ({"published": "80"}, False, {"PublishedPort": 80, "PublishMode": "host"}),
    ],
)
def test_ports(port: dict[str, Any], vip: bool, sent: dict[str, Any]) -> None:
    made = body({"ports": [{"target": 8080, "protocol": "tcp", "host_ip": "", **port}]}, vip=vip)["EndpointSpec"]
    assert made == {"Mode": "vip" if vip else "dnsrr", "Ports": [{"Protocol": "tcp", "TargetPort": 8080, **sent}]}


@pytest.mark.parametrize(
    ("spec", "command", "args"),
    [
        ({}, None, None), ({"command": ["a"]}, None, ["a"]), ({"entrypoint": ["e"], "command": ["a"]}, ["e"], ["a"]),
        ({"entrypoint": [], "command": ["a", "b"]}, ["a", "b"], None), ({"entrypoint": ["e"]}, ["e"], None),
    ],
)  # fmt: skip
def test_arguments(spec: dict[str, Any], command: Any, args: Any) -> None:
    made = body(spec)["TaskTemplate"]["ContainerSpec"]
    assert (made.get("Command"), made.get("Args")) == (command, args)


@pytest.mark.parametrize(
    ("row", "user", "hardened", "file"),
    [
        ({}, "", False, ("0", "0", 0o444)), ({}, "1000", True, ("1000", "1000", 0o400)),
        ({}, "1000:5", True, ("1000", "5", 0o400)), ({}, "app", True, ("0", "0", 0o444)),
        ({"uid": "7", "mode": 0o440}, "1000", True, ("7", "0", 0o440)), ({}, "", True, ("0", "0", 0o400)),
    ],
)  # fmt: skip
def test_owners_of_secrets(row: dict[str, Any], user: str, hardened: bool, file: tuple[str, str, int]) -> None:
    spec = {"secrets": [{"source": "key", "target": "/run/secrets/key", **row}], **({"user": user} if user else {})}
    (made,) = body(spec, hardened=hardened, secrets={"key": ("id", "shop_key-1")})["TaskTemplate"]["ContainerSpec"][
        "Secrets"]  # fmt: skip
    assert (made["SecretID"], made["SecretName"]) == ("id", "shop_key-1")
    assert (made["File"]["UID"], made["File"]["GID"], made["File"]["Mode"]) == file


def test_materials_are_named_by_their_content() -> None:
    name = object_name("shop", "secret", "key", {}, "sha256:" + "ab" * 32)
    assert name == "shop_key-abababababab"
    long = object_name("shop", "secret", "k" * 100, {}, "sha256:" + "cd" * 32)
    assert len(long) == 64 and long.endswith("-cdcdcdcdcdcd")


def test_what_the_engine_fills_in_is_no_fact() -> None:
    sent = body({"expose": ["80"], "limits": {"cpus": 0.5}, "environment": {"A": "1", "B": None, "C": ""}})
    kept = {
        **sent,
        "TaskTemplate": {
            **sent["TaskTemplate"], "Runtime": "container", "ForceUpdate": 7, "Placement": {"Platforms": [{}]},
            "ContainerSpec": {**sent["TaskTemplate"]["ContainerSpec"], "DNSConfig": {}, "Isolation": "default",
                              "StopGracePeriod": 10 * NANO, "Init": None},
            "RestartPolicy": {"Condition": "any", "Delay": 5 * NANO, "MaxAttempts": 0},
        },
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5 * NANO, "MaxFailureRatio": 0,
                         "Order": "stop-first"},
    }  # fmt: skip
    assert facts(kept, {}) == facts(sent, {})
    assert facts(sent, {})["limits.cpus"] == 0.5


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"replicas": 2}, "replicas"), ({"limits": {"memory": 5}}, "limits.memory"), ({"hostname": "x"}, "hostname"),
        ({"environment": {"A": "2"}}, "environment.A"), ({"labels": {"a": ""}}, "labels.a"),
        ({"update": {"monitor": 1}}, "update.monitor"), ({"stop_grace_period": 3.0}, "stop_grace_period"),
        ({"ulimits": {"nofile": {"soft": 1, "hard": 2}}}, "ulimits.nofile"), ({"cap_add": ["SYS_TIME"]}, "cap_add"),
        ({"mounts": [{"type": "tmpfs", "target": "/x"}]}, "mounts[/x]"), ({"dns": ["1.1.1.1"]}, "dns"),
        ({"ports": [{"target": 80, "published": "1", "protocol": "udp"}]}, "published.80/udp"),
        ({"placement": {"constraints": ["node.id == x"]}}, "placement.constraints"),
        ({"logging": {"driver": "local"}}, "logging.driver"), ({"sysctls": {"a.b": "1"}}, "sysctls.a.b"),
        ({"healthcheck": {"test": ["CMD", "a"], "interval": 2.0}}, "healthcheck.interval"),
        ({"endpoint_mode": "dnsrr"}, "endpoint_mode"), ({"network_mode": "host"}, "networks.host"),
        ({"deploy_labels": {}, "reservations": {"cpus": 0.1}}, "reservations.cpus"),
    ],
)  # fmt: skip
def test_every_change_is_a_fact(change: dict[str, Any], path: str) -> None:
    usual = {"expose": ["80"], "environment": {"A": "1"}}
    before, after = facts(body(usual), {}), facts(body({**usual, **change}), {})
    assert before.get(path) != after.get(path)
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} <= {
        path, *(key for key in after if key.startswith(path.rpartition(".")[0] or path))
    }  # fmt: skip
