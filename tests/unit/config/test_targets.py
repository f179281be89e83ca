"""`targets:`: what a place injects, who wins, and that a place that is not chosen is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envkit.cli.compare import differences
from envkit.config.compile import compile_environment
from envkit.config.environment import load_environment
from envkit.config.load import load_model
from envkit.config.model import Model
from envkit.config.options import LoadOptions
from envkit.errors import InputError
from envkit.host.home import Home
from envkit.spec.environment import Environment

FILE = """\
name: shop
services:
  web:
    image: nginx:1
    environment: {LEVEL: "${LEVEL:-info}", DB_PASSWORD: "${PASSWORD:-none}", ZONE: "${ZONE:-none}"}
    ports: ["0.0.0.0:8080:80"]
  metrics: {image: "prom:1", profiles: [metrics]}
targets:
  here: {backend: embedded}
  team:
    backend: docker
    host: "ssh://${TEAM_HOST:-team.example}"
    environment: {LEVEL: debug}
    env_file: [team.env, more.env]
    profiles: [metrics]
    overrides:
      services:
        web: {deploy: {replicas: 2}, labels: {at: team}, ports: !override ["0.0.0.0::80"]}
  prod: {backend: swarm, host: "${NOT_SET?}", overrides: {services: {web: {image: "${NEVER_SET}"}}}}
"""


def project(tmp_path: Path, text: str = FILE, files: dict[str, str] | None = None) -> Path:
    (tmp_path / "envkit.yaml").write_text(text)
    named = {"team.env": "LEVEL=file\nPASSWORD=hunter2\nZONE=a\n", "more.env": "ZONE=b\n", **(files or {})}
    for name, content in named.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def load(directory: Path, target: str, **options: Any) -> Model:
    return load_model(LoadOptions(str(directory), target=target, **options))


def compiled(directory: Path, target: str, **options: Any) -> Environment:
    return compile_environment(load(directory, target, **options), Home(str(directory / "home")))


def problems(directory: Path, target: str) -> list[Any]:
    with pytest.raises(InputError) as caught:
        load(directory, target)
    return list(caught.value.diagnostics)


def test_no_target_is_as_before(tmp_path: Path) -> None:
    made = compiled(project(tmp_path), "")
    assert made.target == ""
    assert made.services["web"].spec["environment"]["LEVEL"] == "info"
    assert list(made.services) == ["web"] and "labels" not in made.services["web"].spec


def test_a_place_injects_variables_profiles_and_overrides(tmp_path: Path) -> None:
    made = compiled(project(tmp_path), "team")
    spec = made.services["web"].spec
    assert spec["environment"] == {"LEVEL": "debug", "DB_PASSWORD": "hunter2", "ZONE": "b"}
    assert (spec["replicas"], spec["labels"]) == (2, {"at": "team"})
    assert [port["published"] for port in spec["ports"]] == [""]
    assert sorted(made.services) == ["metrics", "web"]
    assert made.target == "team"
    assert made.targets["team"] == {"backend": "docker", "host": "ssh://team.example"}


def test_every_value_has_its_origin(tmp_path: Path) -> None:
    web = compiled(project(tmp_path), "team").services["web"]
    assert [web.origin(path).rpartition("/")[2] for path in ("labels.at", "replicas")] == [
        "envkit.yaml:18:51", "envkit.yaml:18:34",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("environ", "env_files", "level"),
    [
        ({}, (), "debug"), ({"LEVEL": "shell"}, (), "shell"), ({}, ("flag.env",), "flag"),
        ({"LEVEL": "shell"}, ("flag.env",), "shell"),
    ],
)  # fmt: skip
def test_who_wins(tmp_path: Path, environ: dict[str, str], env_files: tuple[str, ...], level: str) -> None:
    directory = project(tmp_path, files={".env": "LEVEL=dotenv\n", "flag.env": "LEVEL=flag\n"})
    model = load(directory, "team", environ=environ, env_files=env_files)
    assert model.services["web"]["environment"]["LEVEL"] == level


def test_another_name_is_an_error_with_a_hint(tmp_path: Path) -> None:
    found = problems(project(tmp_path), "taem")
    assert [(item.code, item.hint, item.source.line) for item in found] == [
        ("unknown-target", 'did you mean "team"?', 9)
    ]


def test_a_file_without_targets_says_so(tmp_path: Path) -> None:
    found = problems(project(tmp_path, "services: {web: {image: a}}\n"), "team")
    assert found[0].hint.startswith("declare it")


def test_a_missing_env_file_has_its_place(tmp_path: Path) -> None:
    directory = project(tmp_path)
    (directory / "more.env").unlink()
    found = problems(directory, "team")
    assert [(item.code, str(item.source).rpartition("/")[2]) for item in found] == [
        ("file-missing", "envkit.yaml:14:26")
    ]


def test_a_place_that_is_not_chosen_needs_no_variables(tmp_path: Path) -> None:
    directory = project(tmp_path)
    assert load(directory, "here").warnings == ()
    assert [item.code for item in problems(directory, "prod")] == ["variable-required"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("backend: dokcer", "dokcer"), ("backend: docker, hots: x", "hots"),
        ("backend: docker, overrides: {services: {web: {imgae: x}}}", "imgae"), ("host: x", "backend"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_any_place_is_found(tmp_path: Path, wrong: str, words: str) -> None:
    found = problems(project(tmp_path, f"services: {{web: {{image: a}}}}\ntargets: {{x: {{{wrong}}}}}\n"), "")
    assert words in f"{found[0].summary} {found[0].detail}"
    assert found[0].source.line == 2


def test_later_files_add_to_a_place(tmp_path: Path) -> None:
    directory = project(tmp_path)
    (directory / "envkit.override.yaml").write_text(
        "targets: {team: {registry: r.example/x, overrides: {services: {web: {labels: {at: later}}}}}}\n"
    )
    made = compiled(directory, "team")
    assert made.targets["team"]["registry"] == "r.example/x"
    assert made.services["web"].spec["labels"] == {"at": "later"}
    assert made.services["web"].spec["replicas"] == 2


def test_the_instances_of_a_cluster_may_publish_one_port(tmp_path: Path) -> None:
    text = "services: {web: {image: a, ports: ['0.0.0.0:80:80'], deploy: {replicas: 2}}}\ntargets: {c: {backend: %s}}\n"
    assert compiled(project(tmp_path, text % "swarm"), "c").services
    with pytest.raises(InputError):
        compiled(project(tmp_path, text % "docker"), "c")
    with pytest.raises(InputError):
        compiled(project(tmp_path, text % "swarm"), "")
    assert compiled(tmp_path, "", backend="swarm").services


def test_the_cache_tells_places_apart(tmp_path: Path) -> None:
    directory, home = project(tmp_path), Home(str(tmp_path / "home"))

    def level(target: str) -> tuple[bool, str, str]:
        loaded = load_environment(LoadOptions(str(directory), target=target), home, write_cache=True)
        spec = loaded.environment.services["web"].spec
        return loaded.from_cache, loaded.environment.target, spec["environment"]["LEVEL"]

    assert [level("team"), level(""), level("team"), level("")] == [
        (False, "team", "debug"), (False, "", "info"), (True, "team", "debug"), (True, "", "info"),
    ]  # fmt: skip
    (directory / "more.env").write_text("ZONE=c\n")
    assert level("team")[0] is False
    assert level("")[0] is True


def test_the_difference_of_two_places(tmp_path: Path) -> None:
    directory = project(tmp_path)
    rows = list(differences(compiled(directory, "here"), compiled(directory, "team")))
    found = {(row["address"], row["path"]): row.get("what") or (row["a"], row["b"]) for row in rows}
    assert found == {
        ("target", "backend"): ("embedded", "docker"), ("target", "host"): (None, "ssh://team.example"),
        ("image.prom:1", ""): "only at team", ("service.metrics", ""): "only at team",
        ("service.web", "environment.LEVEL"): ("info", "debug"),
        ("service.web", "environment.DB_PASSWORD"): "changed",
        ("service.web", "environment.ZONE"): ("none", "b"),
        ("service.web", "labels.at"): (None, "team"), ("service.web", "replicas"): (None, 2),
        ("service.web", "ports[80/tcp].published"): ("8080", ""),
    }  # fmt: skip
    assert "hunter2" not in repr(rows)
