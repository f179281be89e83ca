"""The defaults of an envkit.yaml: what they are, and that each gives way to the YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envkit.config.hardened import CAPABILITIES
from envkit.errors import InputError
from tests.unit.config.test_compile import HEALTHY, compiled, web

MEMORY: dict[str, Any] = {"nosuid": True, "nodev": True, "noexec": True, "options": ["tmpcopyup"]}
DEFAULTS: dict[str, Any] = {
    "image": "nginx",
    "networks": {"default": {}},
    "read_only": True,
    "mounts": [
        {"type": "tmpfs", "target": "/run", **MEMORY},
        {"type": "tmpfs", "target": "/tmp", **MEMORY},
    ],
    "cap_drop": ["ALL"],
    "cap_add": list(CAPABILITIES),
    "no_new_privileges": True,
    "limits": {"pids": 512},
    "restart": {"policy": "on-failure", "max_attempts": 5},
    "logging": {"driver": "json-file", "options": {"max-file": "3", "max-size": "10m"}},
    "init": True,
}
RUN, TMP = DEFAULTS["mounts"]


def hardened(directory: Path, text: str) -> dict[str, Any]:
    return web(compiled(directory, f"{HEALTHY}    {text}\n" if text else HEALTHY, "envkit.yaml"))


def test_the_defaults(tmp_path: Path) -> None:
    assert hardened(tmp_path, "") == DEFAULTS


OVERRIDES: list[tuple[str, dict[str, Any]]] = [
    ("read_only: false", {"read_only": None, "mounts": None}),
    ("tmpfs: []", {"mounts": None}),
    ("tmpfs: ['/tmp:size=1m']",
     {"mounts": [{"type": "tmpfs", "target": "/tmp", "nosuid": True, "nodev": True, "noexec": True, "size": 1 << 20}]}),
    ("volumes: [/run]", {"mounts": [{"type": "volume", "target": "/run", "nosuid": True, "nodev": True}, TMP]}),
    ("init: false", {"init": None}),
    ('restart: "no"', {"restart": None}),
    ("restart: always", {"restart": {"policy": "always"}}),
    ("deploy: {restart_policy: {condition: none}}", {"restart": None}),
    ("logging: {driver: none}", {"logging": {"driver": "none"}}),
    ("pids_limit: 20", {"limits": {"pids": 20}}),
    ("pids_limit: -1", {"limits": {"pids": -1}}),
    ("pids_limit: 0", {"limits": None}),
    ("deploy: {resources: {limits: {pids: 7}}}", {"limits": {"pids": 7}}),
    ("deploy: {resources: {limits: {pids: 0}}}", {"limits": None}),
    ("mem_limit: 1k", {"limits": {"memory": 1024, "pids": 512}}),
    ("cap_add: [NET_ADMIN]", {"cap_add": sorted([*CAPABILITIES, "NET_ADMIN"])}),
    ("cap_drop: [CHOWN]", {"cap_add": [name for name in CAPABILITIES if name != "CHOWN"]}),
    ("cap_drop: [ALL]", {"cap_add": None}),
    ("{cap_drop: [ALL], cap_add: [SETUID]}", {"cap_add": ["SETUID"]}),
    ("cap_drop: []", {"cap_drop": None, "cap_add": None}),
    ("privileged: true", {"privileged": True, "cap_drop": None, "cap_add": None, "no_new_privileges": None}),
    ('security_opt: ["no-new-privileges:false"]', {"no_new_privileges": None}),
    ('security_opt: ["label=disable"]', {"security_opt": ["label=disable"]}),
    ('ports: ["8080:80"]',
     {"ports": [{"target": 80, "published": "8080", "protocol": "tcp", "host_ip": "127.0.0.1"}]}),
    ('ports: ["0.0.0.0:8080:80"]',
     {"ports": [{"target": 80, "published": "8080", "protocol": "tcp", "host_ip": "0.0.0.0"}]}),
    ("volumes: ['data:/d']", {"mounts": [
        {"type": "volume", "target": "/d", "source": "data", "nosuid": True, "nodev": True}, RUN, TMP]}),
    ("{volumes: ['data:/d'], allow: [suid-mounts]}", {"mounts": [
        {"type": "volume", "target": "/d", "source": "data"}, RUN, TMP]}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "changed"), OVERRIDES, ids=[written for written, _ in OVERRIDES])
def test_the_yaml_wins(tmp_path: Path, written: str, changed: dict[str, Any]) -> None:
    text = "name: shop\nservices:\n  web:\n    image: nginx\n"
    if written.startswith("{"):
        written = written[1:-1].replace(", ", "\n    ", 1)
    text += f"    {written}\nvolumes: {{data: {{}}}}\n"
    wanted = {key: value for key, value in (DEFAULTS | changed).items() if value is not None}
    assert web(compiled(tmp_path, text, "envkit.yaml")) == wanted


def test_a_compose_file_has_none_of_them(tmp_path: Path) -> None:
    assert web(compiled(tmp_path, HEALTHY)) == {"image": "nginx", "networks": {"default": {}}}


def test_defaults_have_no_place_in_the_yaml(tmp_path: Path) -> None:
    item = compiled(tmp_path, f"{HEALTHY}    mem_limit: 1g\n    cap_add: [NET_ADMIN]\n", "envkit.yaml").services["web"]
    for path in ("read_only", "mounts[0]", "restart", "init", "limits.pids", "cap_drop", "logging.driver"):
        assert item.origin(path) == "", path
    assert item.origin("limits.memory").endswith("envkit.yaml:5:16")


MISSING = "{type: bind, source: ./made, target: /made%s}"


def test_a_missing_source_is_an_error_unless_it_is_to_be_made(tmp_path: Path) -> None:
    for written in ("'./made:/made'", MISSING % ""):
        with pytest.raises(InputError) as caught:
            hardened(tmp_path, f"volumes: [{written}]")
        assert [item.code for item in caught.value.diagnostics] == ["missing-file"]
    made = hardened(tmp_path, f"volumes: [{MISSING % ', bind: {create_host_path: true}'}]")
    assert made["mounts"][0]["create_host_path"] is True
    (tmp_path / "made").mkdir()
    assert "create_host_path" not in hardened(tmp_path, "volumes: ['./made:/made']")["mounts"][0]


@pytest.mark.parametrize("source", ["/etc/localtime", "/etc/ssl/certs"])
def test_what_everybody_mounts_is_not_refused_when_read_only(tmp_path: Path, source: str) -> None:
    mount = f"{{type: bind, source: {source}, target: {source}, read_only: %s, bind: {{create_host_path: true}}}}"
    assert hardened(tmp_path, f"volumes: [{mount % 'true'}]")["mounts"]
    with pytest.raises(InputError, match="1 problem"):
        hardened(tmp_path, f"volumes: [{mount % 'false'}]")


def test_a_project_below_a_sensitive_directory_may_mount_itself(tmp_path: Path) -> None:
    from envkit.config.hardened import is_sensitive

    assert not is_sensitive("/etc/shop/data", "/etc/shop")
    assert is_sensitive("/etc/shadow", "/etc/shop")
    assert not is_sensitive("/root/shop/data", "/root/shop")
