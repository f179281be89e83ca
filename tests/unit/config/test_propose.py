"""Proposals of an envkit.yaml: Dockerfiles as layers, compose files, containers; what they say and what they leave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from envkit.config.load import load_model
from envkit.config.options import LoadOptions
from envkit.config.propose.check import hardened
from envkit.config.propose.compose import compose_files, propose
from envkit.config.propose.containers import draft
from envkit.config.propose.proposal import Proposal
from envkit.host.home import Home
from tests.support.upstream import APPS

CASES = YAML(typ="safe").load(Path(__file__).parents[2] / "cases" / "propose" / "dockerfiles.yaml")
FILES = ("requirements.txt", "app.py", "package.json", "package-lock.json", "src/main.py", "tool.tar.gz")


def proposed(directory: Path, files: Mapping[str, str], *names: str) -> Proposal:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    given = tuple(str(directory / name) for name in names or compose_files(str(directory)))
    home = Home(str(directory / "home"))
    return propose(LoadOptions(str(directory), given), home, str(directory / "envkit.yaml"))


def plain(proposal: Proposal) -> Any:
    return YAML(typ="safe").load(proposal.text)


def notes(proposal: Proposal, kind: str) -> str:
    return "\n".join(f"{note.subject}: {note.text}" for note in proposal.notes if note.kind == kind)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_dockerfile(case: Any, tmp_path: Path) -> None:
    files = {f"web/{name}": "" for name in FILES} | {"web/Dockerfile": case["text"]}
    files |= {"web/.dockerignore": case["ignore"]} if "ignore" in case else {}
    made = proposed(tmp_path, {**files, "compose.yaml": "services: {web: {build: ./web}}\n"})
    image = plain(made)["images"]["web"]
    if "kept" in case:
        assert image == {"from": {"dockerfile": "./web/Dockerfile"}}
        assert f"stays a Dockerfile: {case['kept']}" in notes(made, "kept")
    else:
        assert image == case["image"]


COMPOSE = """\
version: "3"
# the shop
x-common: &common
  restart: always
services:
  # what people see
  web:
    <<: *common
    image: registry.example/web:${TAG:-1}  # the tag
    environment:
      API_TOKEN: ${API_TOKEN-none}
      PLAIN: "1"
    ports: ["80:80"]
    depends_on: [db, once]
    volumes: ["./missing:/data", "/var/run/docker.sock:/run/docker.sock"]

  # where it is kept
  db:
    image: docker.io/library/postgres:16
    environment:
      - POSTGRES_PASSWORD=pa$$word
      - POSTGRES_USER=shop
  admin:
    image: adminer
    depends_on: {once: {condition: service_completed_successfully}}
    tmpfs: /cache
  once:
    image: busybox
  cache:
    image: mariadb
    environment: {MYSQL_ROOT_PASSWORD: "${ROOT}", MYSQL_PASSWORD: "pa$$word"}
"""


def test_a_compose_file(tmp_path: Path) -> None:
    made = proposed(tmp_path, {"compose.yaml": COMPOSE, ".env": "ROOT=r\n"})
    found = plain(made)
    web, db, cache = (found["services"][name] for name in ("web", "db", "cache"))
    kept = ("# the shop", "# what people see\n  web:", "web:${TAG:-1}  # the tag", "# where it is kept\n  db:")
    assert all(text in made.text for text in kept)
    assert "version" not in found
    assert db["environment"] == ["POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password", "POSTGRES_USER=shop"]
    assert cache["environment"]["MYSQL_PASSWORD_FILE"] == "/run/secrets/postgres_password", "one secret for one value"
    assert found["secrets"] == {"postgres_password": {"file": "./secrets/postgres_password"},
                                "mysql_root_password": {"environment": "ROOT"}}  # fmt: skip
    assert made.secrets == {"secrets/postgres_password": b"pa$word"}
    assert web["environment"]["API_TOKEN"] == "${API_TOKEN-none}" and "A secret?" in made.text
    assert "API_TOKEN looks like a secret" in notes(made, "check")
    assert web["restart"] == "always" and found["services"]["once"]["restart"] == "no"
    assert web["depends_on"] == {"db": {"condition": "service_healthy"}, "once": {"condition": "service_started"}}
    assert web["volumes"][0]["bind"] == {"create_host_path": True} and web["allow"] == ["runtime-socket"]
    assert found["services"]["admin"]["tmpfs"] == ["/cache", "/tmp", "/run"]
    rows = {(row.service, row.field): (row.before, row.after) for row in made.differences}
    assert rows["web", "read_only"] == (False, True)
    assert rows["web", "ports[80]"] == ("every address:80", "127.0.0.1:80")
    assert rows["db", "environment.POSTGRES_PASSWORD"] == ("set", None)
    assert ("web", "restart") not in rows
    assert "pa$word" not in made.text and "pa$$word" not in repr(rows)


def test_an_override_is_merged_and_short_forms_stay(tmp_path: Path) -> None:
    web = "{image: 'nginx:${V}', ports: ['8080:80'], volumes: ['data:/x:ro']}"
    base = f"services: {{web: {web}}}\nvolumes: {{data: }}\n"
    over = "services:\n  web:\n    environment: {A: b}\n    ports: ['53:53/udp']\n"
    made = proposed(tmp_path, {"compose.yaml": base, "compose.override.yaml": over, ".env": "V=1\n"})
    found = plain(made)["services"]["web"]
    assert found["image"] == "nginx:${V}" and found["environment"] == {"A": "b"}
    assert found["ports"] == ["8080:80", "53:53/udp"]
    assert found["volumes"] == ["data:/x:ro", {"type": "tmpfs", "target": "/var/cache/nginx"}]


def test_comments_behind_what_is_replaced_stay(tmp_path: Path) -> None:
    text = "services:\n  a:\n    build:\n      context: .  # here\n\n  # the second\n  b:\n    image: x\n"
    made = proposed(tmp_path, {"compose.yaml": text, "Dockerfile": "FROM debian:bookworm\n"})
    assert "    image: a  # here\n\n  # the second\n  b:\n" in made.text


def test_services_that_build_the_same_share_an_image(tmp_path: Path) -> None:
    first = "  a: {build: ., image: shop}\n  b: {build: .}\n  c: {image: shop}\n"
    text = f"services:\n{first}  d: {{build: {{context: ., shm_size: 1m}}}}\n"
    made = proposed(tmp_path, {"compose.yaml": text, "Dockerfile": "FROM debian:bookworm\n"})
    found = plain(made)
    assert found["images"] == {"a": {"from": {"debian": "bookworm"}}}
    assert [found["services"][name].get("image") for name in "abc"] == ["a", "a", "a"]
    assert found["services"]["d"]["build"]["shm_size"] == "1m" and "no shm_size" in notes(made, "kept")


@pytest.mark.parametrize("name", sorted(set(os.listdir(APPS)) - {"images"}))
def test_applications_become_valid_files(name: str, tmp_path: Path) -> None:
    """Their proposals load by themselves, and nothing is lost: the same services, ports and volumes."""
    directory = os.path.join(APPS, name)
    files = tuple(os.path.join(directory, file) for file in compose_files(directory))
    profiles = ("*",)
    output = os.path.join(directory, "envkit.yaml")
    options = LoadOptions(directory, files, profiles=profiles)
    made = propose(options, Home(str(tmp_path)), output)
    found, before = plain(made), load_model(options)
    assert set(found["services"]) == set(before.services)
    for service, spec in before.services.items():
        assert len(found["services"][service].get("ports") or ()) == len(spec.get("ports") or ())
    changed = {row.field.partition("[")[0].partition(".")[0] for row in made.differences}
    assert changed <= {
        "cap_add", "cap_drop", "environment", "healthcheck", "init", "limits", "logging", "mounts", "no_new_privileges",
        "ports", "read_only", "restart", "secrets",
    }  # fmt: skip


# -- containers

IMAGE = {
    "RepoDigests": ["web@sha256:1"],
    "Config": {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["serve"], "Entrypoint": None, "Labels": {"a": "b"},
               "Volumes": {"/cache": {}}, "WorkingDir": "/srv"},
}  # fmt: skip


def container(name: str = "web", host: Mapping[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return {
        "Id": "c" * 64, "Name": f"/{name}", "Image": "sha256:1", "Mounts": [],
        "Config": {"Image": "web:1", "Env": ["PATH=/bin", "LANG=C"], "Cmd": ["serve"], "Hostname": "c" * 12,
                   "Labels": {"a": "b"}, "WorkingDir": "/srv", **config},
        "HostConfig": {"NetworkMode": "bridge", "RestartPolicy": {"Name": "no"}, "ShmSize": 64 << 20, **(host or {})},
        "NetworkSettings": {"Networks": {"bridge": {}}},
    }  # fmt: skip


def imported(directory: Path, *containers: Mapping[str, Any], networks: Mapping[str, Any] | None = None) -> Proposal:
    made = draft(containers, {"sha256:1": IMAGE}, networks or {})
    options = LoadOptions(str(directory))
    return hardened(made, options, Home(str(directory / "home")), str(directory / "envkit.yaml"))


def test_what_the_image_says_is_not_said_again(tmp_path: Path) -> None:
    made = imported(tmp_path, container())
    assert plain(made) == {"services": {"web": {"image": "web:1"}}}
    assert not made.secrets


def test_a_container_with_everything(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    item = container(
        host={
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}],
                             "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "Memory": 1 << 26, "MemorySwap": 1 << 27,
            "NanoCpus": 500000000, "PidsLimit": 50, "CapDrop": ["ALL"],
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "Tmpfs": {"/t": ""},
            "Runtime": "runsc", "ExtraHosts": ["db:10.0.0.1"],
        },
        Env=["PATH=/bin", "LANG=C", "MODE=a$b", "API_KEY=k-1", "DSN=pg://u:p@h/d"], Cmd=["run", "$x"], User="1000",
        Healthcheck={"Test": ["CMD", "true"], "Interval": 2000000000}, Labels={"a": "b", "team": "x"},
    )  # fmt: skip
    item["Mounts"] = [
        {"Type": "bind", "Source": str(tmp_path / "site"), "Destination": "/site", "RW": False},
        {"Type": "volume", "Name": "data", "Destination": "/data", "RW": True},
        {"Type": "volume", "Name": "d" * 64, "Destination": "/cache", "RW": True},
    ]
    made = imported(tmp_path, item)
    found = plain(made)
    web = found["services"]["web"]
    assert web["environment"] == {"MODE": "a$$b"} and web["command"] == ["run", "$$x"] and web["user"] == "1000"
    assert made.secrets == {"secrets/web.env": b"API_KEY=k-1\nDSN=pg://u:p@h/d\n"}
    assert web["env_file"] == [{"path": "./secrets/web.env", "format": "raw"}]
    assert "k-1" not in made.text and "u:p" not in made.text and "k-1" not in repr(made.notes) + repr(made.differences)
    assert web["ports"] == ["127.0.0.1::53/udp", "8080:80"]
    assert web["volumes"] == ["data:/data", f"{tmp_path}/site:/site:ro", {"type": "tmpfs", "target": "/t"}]
    assert found["volumes"] == {"data": {"name": "data", "external": True}}
    assert (web["restart"], web["mem_limit"], web["cpus"], web["pids_limit"]) == ("on-failure:3", 1 << 26, 0.5, 50)
    assert web["cap_drop"] == ["ALL"] and web["ulimits"] == {"nofile": {"soft": 1, "hard": 2}}
    assert web["healthcheck"] == {"test": ["CMD", "true"], "interval": "2s"} and web["labels"] == {"team": "x"}
    assert "the runtime runsc" in notes(made, "left out")
    assert "anonymous volume at /cache" in notes(made, "check") and "0.0.0.0:8080:80" in notes(made, "check")


def test_containers_of_a_project_of_composes(tmp_path: Path) -> None:
    def member(service: str, number: int, **host: Any) -> dict[str, Any]:
        labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": service,
                  "com.docker.compose.depends_on": "db:service_healthy:false" if service == "web" else ""}  # fmt: skip
        made = container(f"shop-{service}-{number}", host={"NetworkMode": "shop_default", **host}, Labels=labels)
        made["Id"] = f"{service}{number}".ljust(64, "0")
        made["NetworkSettings"] = {"Networks": {
            "shop_default": {"Aliases": [f"shop-{service}-{number}", service]},
            "shop_back": {"Aliases": ["other"], "IPAMConfig": {"IPv4Address": "10.1.0.5"}},
        }}  # fmt: skip
        made["Mounts"] = [{"Type": "volume", "Name": "shop_data", "Destination": "/d", "RW": True}]
        return made

    db = member("db", 1)
    db["Config"] |= {"Image": "postgres:16", "Env": ["POSTGRES_PASSWORD=x$y"]}
    networks = {"shop_back": {"Driver": "bridge", "Internal": True, "IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}]}}}
    made = imported(tmp_path, db, member("web", 1), member("web", 2), networks=networks)
    found = plain(made)
    assert found["name"] == "shop" and set(found["services"]) == {"db", "web"}
    assert found["services"]["web"]["deploy"] == {"replicas": 2}
    assert found["services"]["web"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert found["services"]["web"]["volumes"] == ["data:/d"] and found["volumes"] == {"data": {}}
    assert found["networks"] == {"back": {"internal": True, "ipam": {"config": [{"subnet": "10.1.0.0/24"}]}}}
    assert found["services"]["db"]["networks"]["back"] == {"aliases": ["other"], "ipv4_address": "10.1.0.5"}
    assert found["services"]["db"]["environment"] == {"POSTGRES_PASSWORD_FILE": "/run/secrets/postgres_password"}
    assert made.secrets == {"secrets/postgres_password": b"x$y"}
