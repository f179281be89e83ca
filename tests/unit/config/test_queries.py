"""`config`'s flags, each held against docker-compose on one project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envkit.config.load import load_model
from envkit.config.model import Model
from envkit.config.queries import (
    listing,
    model_json,
    model_yaml,
    origin_lines,
    origin_records,
    service_hashes,
    variable_table,
)
from envkit.errors import InputError
from tests.support import judge

PROJECT = judge.Case(
    "queries",
    ["--profile", "p"],
    {"TAG": "2", "C": "c$x"},
    files={
        "compose.yaml": """\
name: proj
x-top: {when: 2024-01-01, list: [1, "2"]}
services:
  a:
    image: "i<&>:${TAG:-latest}"
    build: {context: "./${D:-d}", args: [A, TAG]}
    command: "a 'b $$C' c"
    environment: [A, "B=$C", "E=yes", "F=1"]
    env_file: [e.env]
    ports: ["${P:-8000}:80", "8080-8081:80-81"]
    volumes: ["./x:/x", "v:/v"]
    profiles: [p]
    depends_on: [b]
    labels: {a: 1, "traefik.rule": "Host(`x`)"}
    secrets: [s]
    healthcheck: {test: x, interval: 90s}
    ulimits: {nofile: 5, nproc: {soft: 1, hard: 2}}
    extra_hosts: ["a:1.1.1.1"]
    restart: always
    deploy: {replicas: 2, labels: {x: y}, resources: {limits: {cpus: "${CPU-0.5}"}}}
  b: {image: b, links: [c], container_name: bb, scale: 1}
  c: {build: ., privileged: true, entrypoint: , dns: 1.1.1.1, networks: [n], tty: true}
  d: {image: d, profiles: [q]}
volumes: {v: , w: {driver: x}}
networks: {n: {driver: bridge, ipam: {config: [{subnet: 10.1.0.0/16}]}}, unused: }
secrets: {s: {file: ./s}}
""",
        "e.env": "Q=1\nR=${TAG}\n",
        ".env": "FROM_FILE=1\nTAG=1\n",
    },
)


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    return PROJECT.write(tmp_path / "proj")


@pytest.fixture
def model(cwd: Path) -> Model:
    return PROJECT.load(cwd)


def ask(cwd: Path, *words: str) -> str:
    answer = PROJECT.ask_compose(cwd, *words)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_json(model: Model, cwd: Path) -> None:
    printed = ask(cwd, "--format", "json")
    # in the same order and layout; Compose also escapes <, > and & for HTML
    assert model_json(model) == json.dumps(json.loads(printed), indent=2, ensure_ascii=False)


@pytest.mark.parametrize("kind", ["services", "images", "volumes", "networks", "profiles", "models"])
def test_lists(model: Model, cwd: Path, kind: str) -> None:
    assert sorted(listing(model, kind)) == sorted(ask(cwd, f"--{kind}").split())


def test_environment(model: Model, cwd: Path) -> None:
    assert listing(model, "environment") == ask(cwd, "--environment").splitlines()


def test_variables(model: Model, cwd: Path) -> None:
    asked = json.loads(ask(cwd, "--variables", "--format", "json"))
    expected = sorted(
        (name, item["Required"], item["DefaultValue"], item["PresenceValue"]) for name, item in asked.items()
    )
    assert variable_table(model) == expected
    assert listing(model, "variables")[0].split() == ["NAME", "REQUIRED", "DEFAULT", "VALUE", "ALTERNATE", "VALUE"]


def test_hashes(model: Model, cwd: Path) -> None:
    assert service_hashes(model, "*") == ask(cwd, "--hash", "*").splitlines()
    assert service_hashes(model, "b,c") == ask(cwd, "--hash", "b,c").splitlines()


def test_without_interpolation(cwd: Path) -> None:
    case = judge.Case(PROJECT.name, [*PROJECT.args, "--no-interpolate"], PROJECT.env, files=PROJECT.files)
    asked = json.loads(ask(cwd, "--format", "json", "--no-interpolate"))
    assert judge.canonical(json.loads(model_json(case.load(cwd)))) == judge.canonical(asked)


def test_yaml_reads_back_as_the_model(model: Model, cwd: Path) -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    ours, theirs = yaml.load(model_yaml(model)), yaml.load(ask(cwd, "--format", "yaml"))
    theirs["x-top"]["when"] = "2024-01-01T00:00:00Z"
    assert judge.canonical(ours) == judge.canonical(theirs)


def test_ssh_key_with_a_path_has_no_json(tmp_path: Path) -> None:
    case = judge.Case("ssh", files={"compose.yaml": "services: {a: {build: {context: ., ssh: ['k=/p']}}}"})
    cwd = case.write(tmp_path / "p")
    assert case.ask_compose(cwd).returncode != 0
    with pytest.raises(InputError):
        model_json(case.load(cwd))


def test_origins_tell_files_variables_and_what_was_replaced(tmp_path: Path) -> None:
    case = judge.Case(
        "origins",
        ["-f", "a.yaml", "-f", "b.yaml"],
        {"SHELL_VAR": "s"},
        files={
            "a.yaml": "services:\n  web:\n    image: i:${TAG}\n    environment:\n      A: ${SHELL_VAR}\n      B: 1\n"
            "    ports: ['80:80']\n",
            "b.yaml": "services:\n  web:\n    environment: [B=2]\n    env_file: e.env\n    command: ${NONE:-x}\n",
            "e.env": "# first\nB=3\nC=4\n",
            ".env": "\nTAG=7\n",
        },
    )
    cwd = case.write(tmp_path / "p")
    lines = origin_lines(case.load(cwd), str(cwd))
    assert lines == [
        'name = "p"  (filled in)',
        'networks.default.name = "p_default"  (filled in)',
        "networks.default.ipam = {}  (filled in)",
        'services.web.command[0] = "x"  b.yaml:5:14',
        "    $NONE: its default",
        "services.web.entrypoint = null  (filled in)",
        'services.web.environment.A = "s"  a.yaml:5:10',
        "    $SHELL_VAR: the environment",
        'services.web.environment.B = "2"  b.yaml:3:19',
        '    replaces "B=1"  a.yaml:6:10',
        '    replaces "3"  e.env:2:1',
        'services.web.environment.C = "4"  e.env:3:1',
        'services.web.image = "i:7"  a.yaml:3:12',
        "    $TAG: .env:2:1",
        "services.web.networks.default = null  (filled in)",
        'services.web.ports[0].mode = "ingress"  a.yaml:7:13',
        "services.web.ports[0].target = 80  a.yaml:7:13",
        'services.web.ports[0].published = "80"  a.yaml:7:13',
        'services.web.ports[0].protocol = "tcp"  a.yaml:7:13',
    ]
    records = {item["path"]: item for item in origin_records(case.load(cwd), str(cwd))}
    assert records["services.web.image"]["variables"] == {"TAG": ".env:2:1"}


def test_written_but_left_out_values_keep_their_origin(tmp_path: Path) -> None:
    case = judge.Case("false", files={"compose.yaml": "services: {a: {image: i, read_only: false, cpus: 0}}\n"})
    model = case.load(case.write(tmp_path / "p"))
    assert "read_only" not in model.services["a"]
    assert "services.a.read_only" in model.origins
    assert "services.a.cpus" in model.origins
    assert "services.a.tty" not in model.origins


def test_load_is_repeatable(cwd: Path) -> None:
    assert model_json(PROJECT.load(cwd)) == model_json(load_model(PROJECT.options(cwd)))
