"""`images:` -> ImageSpec: bases, layers, configuration, and the digests of what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envkit.address import Address
from envkit.spec.environment import Dependency, Environment
from tests.unit.config.test_compile import compiled


def built(directory: Path, image: str) -> Environment:
    (directory / "app").mkdir(exist_ok=True)
    (directory / "app/main.py").write_text("print()\n")
    (directory / "requirements.txt").write_text("flask\n")
    (directory / "base.tar").write_bytes(b"tar")
    indented = image.replace("\n", "\n    ")
    text = "name: shop\nservices: {web: {image: app}}\nimages:\n  base: {from: scratch}\n  app:\n    "
    text += f"{indented}\n"
    return compiled(directory, text, "envkit.yaml")


def app(environment: Environment) -> dict[str, Any]:
    return dict(environment.resources[Address("image", "app")].spec)


BASES = [
    ("scratch", {"scratch": True}),
    ("base", {"image": "base"}),
    ("debian:bookworm", {"reference": "debian:bookworm"}),
    ("{debian: trixie}", {"debian": "trixie"}),
    ("{debian: trixie, variant: essential, packages: [b, a, b]}",
     {"debian": "trixie", "variant": "essential", "packages": ["a", "b"]}),
    ("{debian: trixie, variant: minbase}", {"debian": "trixie"}),
    ("{image: base}", {"image": "base"}),
    ("{reference: base}", {"reference": "base"}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "base"), BASES)
def test_bases(tmp_path: Path, written: str, base: dict[str, Any]) -> None:
    made = built(tmp_path, f"from: {written}")
    assert app(made) == {"name": "shop/app:latest", "base": base}
    needed = [item.address.name for item in made.resources[Address("image", "app")].depends_on]
    assert needed == [base[kind] for kind in ("image", "reference") if kind in base]
    assert all(Address("image", name) in made.resources for name in needed)


def test_an_archive_is_known_by_its_content(tmp_path: Path) -> None:
    first = app(built(tmp_path, "from: {archive: ./base.tar, tag: '1'}"))["base"]
    assert first["archive"] == str(tmp_path / "base.tar")
    assert first["tag"] == "1"
    assert first["inputs"].startswith("sha256:")


LAYERS = [
    ("{apt: [b, a, b]}", {"packages": ["a", "b"]}),
    ("{apt: curl, recommends: true}", {"packages": ["curl"], "recommends": True}),
    ("{pip: [flask], venv: /opt/venv}", {"packages": ["flask"], "venv": "/opt/venv"}),
    ("{npm: [typescript]}", {"packages": ["typescript"]}),
    ("{copy: /bin/x, from: base, to: /bin/x}",
     {"sources": ["/bin/x"], "to": "/bin/x", "from": {"image": "base"}}),
    ("{copy: /bin/x, from: 'alpine:3', to: /bin/x, owner: 'root:root'}",
     {"sources": ["/bin/x"], "to": "/bin/x", "from": {"reference": "alpine:3"}}),
    ("{files: {/a: x, /b: {content: y, mode: '0600', owner: app}}}",
     {"files": {"/a": {"content": "x"}, "/b": {"content": "y", "mode": 0o600, "owner": "app"}}}),
    ("{files: {/a: {content: x, mode: 0o644, owner: root}}}", {"files": {"/a": {"content": "x"}}}),
    (f"{{archive: 'https://example.org/a.tgz', to: /opt, sha256: {'a' * 64}, strip: 1}}",
     {"source": "https://example.org/a.tgz", "to": "/opt", "sha256": "a" * 64, "strip": 1}),
    ("{user: app}", {"name": "app"}),
    ("{user: {name: app, uid: 0, groups: [video, audio]}}", {"name": "app", "uid": 0, "groups": ["audio", "video"]}),
    ("{link: {/a: b}}", {"links": {"/a": "b"}}),
    ("{remove: [/b, /a]}", {"paths": ["/a", "/b"]}),
    ("{run: make}", {"argv": ["/bin/sh", "-ec", "make"]}),
    ("{run: [make, all], user: root, workdir: /, network: default, cache: []}", {"argv": ["make", "all"]}),
    ("{run: x, user: 5, workdir: /w, network: none, environment: {A: true}, cache: [/c]}",
     {"argv": ["/bin/sh", "-ec", "x"], "user": "5", "workdir": "/w", "network": "none", "environment": {"A": "true"},
      "cache": ["/c"]}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "args"), LAYERS, ids=[written[:40] for written, _ in LAYERS])
def test_layers(tmp_path: Path, written: str, args: dict[str, Any]) -> None:
    made = app(built(tmp_path, f"from: scratch\nlayers: [{written}]"))["layers"]
    kind = "run" if "run" in written else written[1 : written.index(":")]
    assert made == [{"kind": kind, "args": args}]


def test_layers_that_read_the_project_have_the_digest_of_what_they_read(tmp_path: Path) -> None:
    image = """\
from: scratch
layers:
  - {copy: ./app, to: /srv, exclude: ['*.log']}
  - {pip: [], requirements: ./requirements.txt}
  - {run: make, mounts: [{from: ./app, to: /src}]}
  - {files: {/a: {file: ./app/main.py}}}"""
    first = app(built(tmp_path, image))["layers"]
    assert all(item["inputs"].startswith("sha256:") for item in first)
    assert first[0]["args"]["sources"] == [str(tmp_path / "app")]
    (tmp_path / "app/debug.log").write_text("x")
    second = app(built(tmp_path, image))["layers"]
    assert [one == other for one, other in zip(first, second, strict=True)] == [True, True, False, True]
    (tmp_path / ".envkitignore").write_text("app/secret\n")
    (tmp_path / "app/secret").write_text("x")
    third = app(built(tmp_path, image))["layers"]
    assert [one == other for one, other in zip(second, third, strict=True)] == [True, True, False, True]
    (tmp_path / "app/main.py").chmod(0o755)
    (tmp_path / "app/more.py").write_text("")
    fourth = app(built(tmp_path, image))["layers"]
    assert [one == other for one, other in zip(third, fourth, strict=True)] == [False, True, False, False]


def test_a_clone_with_another_umask_has_the_same_inputs(tmp_path: Path) -> None:
    image = "from: scratch\nlayers: [{copy: ./app, to: /srv}]"
    first = app(built(tmp_path, image))["layers"]
    (tmp_path / "app").chmod(0o700)
    (tmp_path / "app/main.py").chmod(0o600)
    assert app(built(tmp_path, image))["layers"] == first


def test_the_configuration(tmp_path: Path) -> None:
    made = app(built(tmp_path, """\
from: scratch
user: 1000
workdir: /srv
environment: [A=1, B]
entrypoint: tini --
command: [run]
labels: {a: true}
expose: [80, 53/udp, "80"]
volumes: [/b, /a]
stop_signal: int
healthcheck: {test: "true", interval: 5s}
"""))["config"]  # fmt: skip
    assert made == {
        "user": "1000", "workdir": "/srv", "environment": {"A": "1"}, "entrypoint": ["tini", "--"], "command": ["run"],
        "labels": {"a": "true"}, "expose": ["53/udp", "80/tcp"], "volumes": ["/a", "/b"], "stop_signal": "SIGINT",
        "healthcheck": {"test": ["CMD-SHELL", "true"], "interval": 5.0},
    }  # fmt: skip


def test_secrets_of_a_run_layer_count_as_used(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    text = """\
name: shop
services: {web: {image: app}}
images: {app: {from: scratch, layers: [{run: x, secrets: [token]}]}}
secrets: {token: {file: ./token}, unused: {file: ./gone}}
"""
    made = compiled(tmp_path, text, "envkit.yaml")
    assert Dependency(Address("secret", "token")) in made.resources[Address("image", "app")].depends_on
    assert made.get("secret", "unused") is None


def test_a_service_finds_its_image_by_key_and_by_reference(tmp_path: Path) -> None:
    made = built(tmp_path, "from: scratch")
    assert made.services["web"].spec["image"] == "shop/app:latest"
    assert Dependency(Address("image", "app")) in made.services["web"].depends_on
