"""`envkit audit`: what the files allow beyond envkit's own defaults."""

import json

import pytest

from envkit.cli.main import main

LOOSE = """\
services:
  web:
    image: nginx
    ports: ["80:80"]
    environment: {DB_PASSWORD: x, LEVEL: info}
    volumes: ["/run/docker.sock:/run/docker.sock", "/etc:/x:ro"]
    pid: host
  db:
    image: redis:7
    cap_add: [SYS_ADMIN]
    network_mode: host
  root: {image: redis:7, privileged: true}
"""
TIGHT = """\
images: {app: {from: scratch}}
services:
  web: {image: app, deploy: {resources: {limits: {memory: 64M}}}}
"""
EXPECTED = {
    ("high", "service.web", "pid"), ("high", "service.web", "mounts[1]"),
    ("high", "service.web", "environment.DB_PASSWORD"),
    ("medium", "service.web", "mounts[0]"), ("medium", "service.web", "ports[0]"), ("low", "service.web", "image"),
    ("low", "service.web", "healthcheck"), ("high", "service.db", "cap_add"), ("medium", "service.db", "network_mode"),
    ("high", "service.root", "privileged"),
    *((weight, f"service.{name}", path) for name in ("web", "db") for weight, path in (
        ("medium", "cap_drop"), ("medium", "no_new_privileges"))),
    *((weight, f"service.{name}", path) for name in ("web", "db", "root") for weight, path in (
        ("medium", "read_only"), ("medium", "limits.pids"), ("low", "limits.memory"), ("low", "logging"))),
}  # fmt: skip


@pytest.fixture
def findings(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ENVKIT_HOME", str(tmp_path / "home"))

    def ask(name, text, *words):
        (tmp_path / name).write_text(text)
        code = main(["-f", str(tmp_path / name), "audit", "--json", *words])
        return code, json.loads(capsys.readouterr().out)["findings"]

    return ask


def test_everything_that_is_loose_is_found_at_its_place(findings):
    code, found = findings("compose.yaml", LOOSE)
    assert code == 0
    assert {(item["weight"], item["address"], item["path"]) for item in found} == EXPECTED
    weights = [item["weight"] for item in found]
    assert weights == sorted(weights, key=["high", "medium", "low"].index)
    places = {item["path"]: item["source"].rpartition("/")[2] for item in found if item["address"] == "service.web"}
    assert places["environment.DB_PASSWORD"] == "compose.yaml:5:32"
    assert places["pid"] == "compose.yaml:7:10"
    assert "x" not in {item["what"] for item in found}


def test_the_defaults_of_envkit_yaml_leave_nothing_to_say(findings):
    assert findings("envkit.yaml", TIGHT) == (0, [])


@pytest.mark.parametrize(("weight", "code"), [("high", 1), ("medium", 1), ("low", 1)])
def test_a_weight_can_fail_the_command(findings, weight, code):
    assert findings("compose.yaml", LOOSE, "--fail-on", weight)[0] == code
    assert findings("envkit.yaml", TIGHT, "--fail-on", weight)[0] == 0
