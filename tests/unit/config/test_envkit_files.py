"""envkit.yaml: found first, its own keys kept, its vocabulary only where such a file takes part."""

from __future__ import annotations

from pathlib import Path

import pytest

from envkit.errors import InputError
from tests.support import judge

ENVKIT = """\
images: {app: {from: scratch}}
services: {web: {image: app, read_only: false}}
targets: {team: {backend: docker}}
"""


def load(tmp_path: Path, files: dict[str, str], *args: str) -> judge.Model:
    case = judge.Case("envkit", list(args), files=files)
    return case.load(case.write(tmp_path / "proj"))


def test_envkit_yaml_wins_over_compose_yaml(tmp_path: Path) -> None:
    model = load(tmp_path, {"envkit.yaml": ENVKIT, "compose.yaml": "services: {b: {image: i}}"})
    assert model.hardened
    assert [Path(file).name for file in model.files] == ["envkit.yaml"]
    assert model.plain["images"] == {"app": {"from": "scratch"}}
    assert model.plain["targets"] == {"team": {"backend": "docker"}}
    assert model.services["web"]["image"] == "app"


def test_its_override_file_is_its_own(tmp_path: Path) -> None:
    files = {"envkit.yaml": ENVKIT, "envkit.override.yml": "services: {web: {tty: true}}",
             "compose.override.yaml": "services: {web: {image: no}}"}  # fmt: skip
    model = load(tmp_path, files)
    assert model.services["web"]["tty"] is True
    assert model.services["web"]["image"] == "app"


def test_compose_yaml_does_not_know_its_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, {"compose.yaml": ENVKIT})
    assert "unknown-key" in [item.code for item in caught.value.diagnostics]


@pytest.mark.parametrize(("order", "hardened"), [(("compose.yaml", "envkit.yaml"), False),
                                                 (("envkit.yaml", "compose.yaml"), True)])  # fmt: skip
def test_the_first_file_selects_the_defaults(tmp_path: Path, order: tuple[str, str], hardened: bool) -> None:
    files = {"envkit.yaml": ENVKIT, "compose.yaml": "services: {web: {tty: true}}"}
    model = load(tmp_path, files, "-f", order[0], "-f", order[1])
    assert model.hardened is hardened
    assert model.services["web"]["tty"] is True and "app" in model.plain["images"]


def test_a_compose_file_may_include_an_envkit_file(tmp_path: Path) -> None:
    files = {"compose.yaml": "include: [sub/envkit.yaml]\nservices: {b: {image: i}}", "sub/envkit.yaml": ENVKIT}
    model = load(tmp_path, files)
    assert not model.hardened
    assert set(model.services) == {"b", "web"} and "app" in model.plain["images"]


def test_every_look_at_the_disk_is_remembered(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "include: [inc.yaml]\nservices: {a: {extends: {file: base.yaml, service: a}, env_file: e.env}}",
        "inc.yaml": "services: {b: {image: i}}", "base.yaml": "services: {a: {image: i}}", "e.env": "A=1",
        ".env": "B=1",
    }  # fmt: skip
    sources = load(tmp_path, files).sources
    read = {Path(path).name for path, digest in sources.files.items() if digest != "absent"}
    assert read == {"compose.yaml", "inc.yaml", "base.yaml", "e.env", ".env"}
    looked = {Path(path).name: kind for path, kind in sources.found.items()}
    assert looked["envkit.yaml"] == "absent" and looked["compose.override.yaml"] == "absent"
