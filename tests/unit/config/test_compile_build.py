"""`build:` in canonical form: what an image depends on, and a Dockerfile's mistakes as diagnostics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from envkit.address import Address
from envkit.config.compile import compile_environment
from envkit.config.load import load_model
from envkit.config.options import LoadOptions
from envkit.errors import InputError
from envkit.host.home import Home
from envkit.spec.environment import Dependency, Environment


class Project:
    """A directory with a compose file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        full = self.directory / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
        full.chmod(mode)

    def compiled(self, text: str, name: str = "compose.yaml") -> Environment:
        self.write(name, text)
        options = LoadOptions(str(self.directory), files=(str(self.directory / name),), environ={})
        return compile_environment(load_model(options), Home(str(self.directory.parent / "home")))

    def image(self, text: str, name: str = "p-web") -> Any:
        return self.compiled(text).resources[Address("image", name)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


WEB = "name: p\nservices:\n  web:\n    build: .\n"


@pytest.mark.parametrize(
    "path, counts",
    [
        ("used/file", True), ("unused", False), ("used/left.log", False), ("used/empty.dir/x", True),
        ("mounted", True), ("other-stage", False), ("Dockerfile.dockerignore", False),
    ],
)
def test_only_what_the_needed_stages_read_counts(project: Project, path: str, counts: bool) -> None:
    project.write("Dockerfile", "FROM scratch AS no\nCOPY other-stage /\nFROM scratch\nCOPY used /used\n"
                  "RUN --mount=target=/m,source=mounted true\n")  # fmt: skip
    project.write(".dockerignore", "**/*.log\n")
    project.write("used/there", "1")
    project.write("mounted", "1")
    before = project.image(WEB)
    project.write(path, "changed")
    assert (project.image(WEB).fingerprint != before.fingerprint) is counts


def test_modes_count_and_times_do_not(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY . /\n")
    project.write("f", "x")
    before = project.image(WEB).fingerprint
    os.utime(project.directory / "f", (5, 5))
    assert project.image(WEB).fingerprint == before
    project.write("f", "x", 0o600)
    assert project.image(WEB).fingerprint != before


def test_a_dockerfile_has_its_own_ignore_file(project: Project) -> None:
    project.write("web.Dockerfile", "FROM scratch\nCOPY . /\n")
    project.write("web.Dockerfile.dockerignore", "left\n")
    project.write(".dockerignore", "*\n")
    text = WEB.replace("build: .", "build: {context: ., dockerfile: web.Dockerfile}")
    before = project.image(text).fingerprint
    project.write("left", "x")
    assert project.image(text).fingerprint == before
    project.write("kept", "x")
    assert project.image(text).fingerprint != before


def test_the_dockerfile_itself_counts(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\n")
    before = project.image(WEB).fingerprint
    project.write("Dockerfile", "FROM scratch\nENV A=1\n")
    assert project.image(WEB).fingerprint != before


def test_contexts_and_bases_of_other_services_are_needed_first(project: Project) -> None:
    project.write("a/Dockerfile", "FROM parent\nCOPY --from=p-third /x /x\n")
    project.write("more/x", "x")
    made = project.compiled("""\
name: p
services:
  web:
    build:
      context: a
      additional_contexts: {parent: "service:base", more: ./more}
  base:
    image: own/base:1
    build: {context: ., dockerfile_inline: "FROM scratch"}
  third:
    build: {context: ., dockerfile_inline: "FROM own/base:1"}
""")
    web = made.resources[Address("image", "p-web")]
    assert web.spec["build"]["additional_contexts"] == {
        "parent": "image:own/base:1", "more": str(project.directory / "more"),
    }  # fmt: skip
    assert Dependency(Address("image", "own/base:1")) in web.depends_on
    assert Dependency(Address("image", "p-third")) in web.depends_on
    third = made.resources[Address("image", "p-third")]
    assert third.depends_on == (Dependency(Address("image", "own/base:1")),)
    before = web.fingerprint
    project.write("more/x", "changed")
    assert project.image((project.directory / "compose.yaml").read_text()).fingerprint != before


def test_mistakes_are_diagnostics_at_their_place(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\n\nCOPI a b\n")
    with pytest.raises(InputError) as caught:
        project.compiled(WEB)
    problem = caught.value.diagnostics[0]
    assert problem.code == "unknown-instruction"
    assert problem.source is not None
    assert (problem.source.file, problem.source.line, problem.source.column) == (
        str(project.directory / "Dockerfile"), 3, 1,
    )  # fmt: skip


def test_mistakes_of_an_inline_dockerfile_name_the_yaml(project: Project) -> None:
    text = WEB.replace("build: .", "build:\n      dockerfile_inline: |\n        FROM scratch\n        COPI a b")
    with pytest.raises(InputError) as caught:
        project.compiled(text)
    problem = caught.value.diagnostics[0]
    assert problem.source is not None
    assert problem.source.file.endswith("compose.yaml") and problem.detail == "line 2: COPI"


def test_a_stage_that_is_not_there(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch AS one\n")
    with pytest.raises(InputError) as caught:
        project.compiled(WEB.replace("build: .", "build: {context: ., target: two}"))
    assert caught.value.diagnostics[0].hint == "there is one"


def test_builds_of_each_other_are_a_cycle(project: Project) -> None:
    with pytest.raises(InputError) as caught:
        project.compiled("""\
name: p
services:
  a: {build: {context: ., dockerfile_inline: "FROM p-b"}}
  b: {build: {context: ., dockerfile_inline: "FROM p-a"}}
""")
    assert [item.code for item in caught.value.diagnostics if item.is_error] == ["cycle"]


def test_what_has_no_effect_is_said(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\n")
    made = project.compiled(WEB.replace("build: .", "build: {context: ., cache_from: [x], sbom: true}"))
    assert [item.code for item in made.warnings] == ["not-honoured", "not-honoured"]
    assert not {"cache_from", "sbom"} & made.resources[Address("image", "p-web")].spec["build"].keys()


def test_a_dockerfile_can_be_a_base(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\n")
    made = project.compiled("images: {app: {from: {dockerfile: ./Dockerfile}}}\nservices: {web: {image: app}}\n",
                            "envkit.yaml")  # fmt: skip
    base = made.resources[Address("image", "app")].spec["base"]["build"]
    assert base["dockerfile"] == str(project.directory / "Dockerfile")
    assert base["inputs"].startswith("sha256:")


@pytest.mark.parametrize(
    "path, counts",
    [
        ("data/table", False), ("data[1]/x", False), ("pkg/__pycache__/a.pyc", False), ("fixed/x", True),
        ("app.py", True),
    ],
)
def test_what_containers_write_is_no_reason_to_build(project: Project, path: str, counts: bool) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY . /code\n")
    for name in ("data/there", "data[1]/there", "fixed/there", "pkg/__init__.py"):
        project.write(name, "1")
    mounts = "['./data:/data', './data[1]:/more', './fixed:/fixed:ro']"
    text = f"{WEB}    volumes: {mounts}\n"
    before = project.image(text).fingerprint
    project.write(path, "2")
    assert (project.image(text).fingerprint != before) is counts


def test_what_is_copied_by_its_own_name_counts_all_the_same(project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY data /data\n")
    project.write("data/there", "1")
    text = f"{WEB}    volumes: ['./data:/data']\n"
    before = project.image(text).fingerprint
    project.write("data/there", "2")
    assert project.image(text).fingerprint != before


@pytest.mark.parametrize(
    "path, counts", [("package.json", True), ("package-lock.json", True), ("lib/x", True), ("app.js", False)]
)
def test_a_context_that_is_mounted_is_live_but_for_what_is_named(project: Project, path: str, counts: bool) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY package*.json ./\nCOPY lib lib\nRUN true\nCOPY . .\n")
    project.write("package.json", "1")
    project.write("lib/there", "1")
    text = f"{WEB}    volumes: ['.:/code']\n"
    before = project.image(text).fingerprint
    project.write(path, "2")
    assert (project.image(text).fingerprint != before) is counts
