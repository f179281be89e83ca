"""Model -> Environment: canonical specs, dependencies, origins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envkit.address import Address
from envkit.config.compile import compile_environment
from envkit.config.load import load_model
from envkit.config.options import LoadOptions
from envkit.host.home import Home
from envkit.spec.environment import Dependency, Environment

HEALTHY = """\
name: shop
services:
  web:
    image: nginx
"""


def compiled(
    directory: Path, text: str, name: str = "compose.yaml", environ: dict[str, str] | None = None
) -> Environment:
    (directory / name).write_text(text)
    model = load_model(LoadOptions(str(directory), files=(str(directory / name),), environ=environ or {}))
    return compile_environment(model, Home(str(directory / "home")))


def web(environment: Environment) -> dict[str, Any]:
    resource = environment.get("service", "web")
    assert resource is not None
    return dict(resource.spec)


def test_the_least_service_says_nothing_but_its_image_and_network(tmp_path: Path) -> None:
    assert web(compiled(tmp_path, HEALTHY)) == {"image": "nginx", "networks": {"default": {}}}


SAME = [
    ("environment: {A: 1}", 'environment: ["A=1"]'),
    ("command: echo 'a b'", 'command: [echo, "a b"]'),
    ("stop_grace_period: 90s", "stop_grace_period: 1m30s"),
    ("mem_limit: 1g", "mem_limit: 1024m"),
    ("mem_limit: 128m", "deploy: {resources: {limits: {memory: 134217728}}}".replace("134217728", '"134217728"')),
    ("cpus: 0.5", 'deploy: {resources: {limits: {cpus: "0.5"}}}'),
    ("pids_limit: 5", "deploy: {resources: {limits: {pids: 5}}}"),
    ("scale: 3", "deploy: {replicas: 3}"),
    ("restart: on-failure:3", "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}"),
    ('restart: "no"', "read_only: false"),
    ("cap_add: [NET_ADMIN, SYS_TIME]", "cap_add: [CAP_SYS_TIME, net_admin]"),
    ('ports: ["8080:80", "81"]', "ports: [{target: 81}, {target: 80, published: 8080}]"),
    ("healthcheck: {disable: true}", "healthcheck: {test: [NONE]}"),
    ("healthcheck: {test: curl x}", "healthcheck: {test: [CMD-SHELL, curl x]}"),
    ('extra_hosts: ["a:1.2.3.4"]', "extra_hosts: {a: 1.2.3.4}"),
    ("tmpfs: /run", "volumes: [{type: tmpfs, target: /run/}]"),
    ("ulimits: {nofile: 5}", "ulimits: {nofile: {soft: 5, hard: 5}}"),
    ("stop_signal: int", "stop_signal: SIGINT"),
    ("volumes: [./b:/b, ./a:/a]", "volumes: [./a:/a, {type: bind, source: ./b, target: /b/}]"),
    ("shm_size: 64m", "stop_grace_period: 10s"),
    ('security_opt: ["no-new-privileges"]', 'security_opt: ["no-new-privileges:true"]'),
    ('security_opt: ["label:disable"]', "security_opt: [label=disable]"),
    ("secrets: []", "mem_limit: 0"),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=[one for one, _ in SAME])
def test_two_spellings_of_one_thing_are_one_fingerprint(tmp_path: Path, one: str, other: str) -> None:
    first, second = (compiled(tmp_path, f"{HEALTHY}    {text}\n") for text in (one, other))
    assert web(first) == web(second)
    assert first.services["web"].fingerprint == second.services["web"].fingerprint


CHANGES = [
    ("entrypoint: [a]", {"entrypoint": ["a"], "command": []}),
    ("entrypoint: []", {"entrypoint": []}),
    ("command: []", {}),
    ("environment: [UNSET]", {"environment": {"UNSET": None}}),
    ("network_mode: host", {"network_mode": "host", "networks": None}),
    ("init: true", {"init": True}),
    ("attach: false", {"attach": False}),
    ("deploy: {mode: global}", {"mode": "global"}),
    ("deploy: {update_config: {order: start-first, delay: 2s}}", {"update": {"order": "start-first", "delay": 2.0}}),
    ("healthcheck: {test: x, interval: 1.5s}", {"healthcheck": {"test": ["CMD-SHELL", "x"], "interval": 1.5}}),
    ('ports: ["127.0.0.1:8080-8090:80/udp"]',
     {"ports": [{"target": 80, "published": "8080-8090", "protocol": "udp", "host_ip": "127.0.0.1"}]}),
    ("tmpfs: ['/t:size=1m,mode=700,uid=5,exec,foo']",
     {"mounts": [{"type": "tmpfs", "target": "/t", "nosuid": True, "nodev": True, "size": 1 << 20, "mode": 0o700,
                  "uid": 5, "options": ["exec", "foo"]}]}),
    ("volumes: [/data]", {"mounts": [{"type": "volume", "target": "/data"}]}),
    ("volumes: [{type: bind, source: /x, target: /y, read_only: true, bind: {create_host_path: false}}]",
     {"mounts": [{"type": "bind", "target": "/y", "source": "/x", "read_only": True}]}),
    ("restart: always", {"restart": {"policy": "always"}}),
    ("deploy: {restart_policy: {condition: any, delay: 5s, window: 1m}}",
     {"restart": {"policy": "always", "delay": 5.0, "window": 60.0}}),
    ("blkio_config: {weight: 5, device_read_bps: [{path: /dev/sda, rate: 1k}]}",
     {"limits": {"blkio": {"weight": 5, "device_read_bps": [{"path": "/dev/sda", "rate": 1024}]}}}),
    ("memswap_limit: -1", {"limits": {"memory_swap": -1}}),
    ("devices: ['/dev/null:/dev/x:r']",
     {"devices": [{"source": "/dev/null", "target": "/dev/x", "permissions": "r"}]}),
    ("logging: {options: {max-size: 5m}}", {"logging": {"driver": "json-file", "options": {"max-size": "5m"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "spec"), CHANGES, ids=[written[:40] for written, _ in CHANGES])
def test_a_key_and_its_canonical_form(tmp_path: Path, written: str, spec: dict[str, Any]) -> None:
    wanted = {"image": "nginx", "networks": {"default": {}}} | spec
    assert web(compiled(tmp_path, f"{HEALTHY}    {written}\n")) == {
        key: value for key, value in wanted.items() if value is not None
    }


def test_mounts_are_in_the_order_in_which_they_can_be_made(tmp_path: Path) -> None:
    made = web(compiled(tmp_path, f"{HEALTHY}    volumes: [/b/c/d, /b, /a/c, /z]\n    tmpfs: [/b/c]\n"))
    assert [item["target"] for item in made["mounts"]] == ["/b", "/z", "/a/c", "/b/c", "/b/c/d"]


def test_dependencies(tmp_path: Path) -> None:
    made = compiled(tmp_path, """\
name: shop
services:
  web:
    image: nginx
    networks: [front]
    volumes: ["data:/data", {type: image, source: assets, target: /assets}]
    secrets: [key]
    depends_on: {db: {condition: service_healthy, restart: true, required: false}}
    links: [cache]
    pre_start: [{image: tool, command: [prepare]}]
  db: {image: postgres}
  cache: {image: redis, network_mode: "service:db"}
networks: {front: {internal: true}}
volumes: {data: {}}
secrets: {key: {environment: KEY}}
""", environ={"KEY": "k"})  # fmt: skip
    found = made.services["web"].depends_on
    assert set(found) == {
        Dependency(Address("image", "nginx")), Dependency(Address("image", "assets")),
        Dependency(Address("image", "tool")), Dependency(Address("network", "front")),
        Dependency(Address("volume", "data")), Dependency(Address("secret", "key")),
        Dependency(Address("service", "db"), "healthy", False, True),
        Dependency(Address("service", "cache"), "started", True, True),
    }  # fmt: skip
    assert Dependency(Address("service", "db"), "started", True, True) in made.services["cache"].depends_on
    assert made.resources[Address("network", "front")].spec == {"name": "shop_front", "internal": True}
    assert [str(address) for address in made.resources] == [
        "image.assets", "image.nginx", "image.postgres", "image.redis", "image.tool", "network.default",
        "network.front", "volume.data", "secret.key", "service.cache", "service.db", "service.web",
    ]  # fmt: skip


def test_every_value_knows_where_it_was_written(tmp_path: Path) -> None:
    made = compiled(tmp_path, """\
name: shop
services:
  web:
    image: nginx
    environment:
      A: a
      B: b
    ports:
      - "81:81"
      - "80:80"
    volumes:
      - /b/c
      - /b
    deploy: {resources: {limits: {memory: 1g}}}
""")  # fmt: skip
    item = made.services["web"]

    def place(path: str) -> str:
        return item.origin(path).removeprefix(f"{tmp_path}/compose.yaml:")

    assert place("environment.B") == "7:10"
    assert [place(f"ports[{index}].target") for index in (0, 1)] == ["10:9", "9:9"]
    assert [place(f"mounts[{index}]") for index in (0, 1)] == ["13:9", "12:9"]
    assert place("limits.memory") == "14:43"
    assert place("image") == "4:12"
    assert place("") == "4:5"


def test_warnings_for_what_is_not_honoured(tmp_path: Path) -> None:
    made = compiled(tmp_path, f"{HEALTHY}    isolation: hyperv\n    cpu_count: 2\njobs: {{}}\n")
    assert [(item.code, item.source and item.source.line) for item in made.warnings] == [
        ("not-honoured", 5), ("not-honoured", 6),
    ]  # fmt: skip


def test_two_builds_of_one_name_are_two_images(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS a\nFROM scratch AS b\n")
    made = compiled(tmp_path, """\
name: shop
services:
  web: {build: {context: ., target: a}, image: one}
  job: {build: {context: ., target: b}, image: one}
  api: {build: {context: ., target: b}, image: one}
""")  # fmt: skip
    assert {name: item.spec["image"] for name, item in made.services.items()} == {
        "api": "one", "job": "one", "web": "shop-web",
    }  # fmt: skip
    assert [item.code for item in made.warnings] == ["two-builds"]


def test_builds_are_named_as_compose_names_them(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS api\n")
    made = compiled(tmp_path, """\
name: shop
services:
  web: {build: .}
  api: {build: {context: ., target: api}, image: "shop/api:1"}
  job: {image: "shop/api:1"}
""")  # fmt: skip
    assert web(made)["image"] == "shop-web"
    api = made.resources[Address("image", "shop/api:1")]
    assert api.spec["build"]["context"] == str(tmp_path)
    assert api.spec["build"]["target"] == "api"
    assert Dependency(Address("image", "shop/api:1")) in made.services["job"].depends_on
    (tmp_path / "Dockerfile").write_text("FROM scratch AS api\nENV A=1\n")
    again = compiled(tmp_path, (tmp_path / "compose.yaml").read_text())
    assert again.resources[Address("image", "shop/api:1")].fingerprint != api.fingerprint
