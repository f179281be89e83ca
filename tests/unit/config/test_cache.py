"""load_environment and its cache: what a hit costs, and what ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envkit.config.environment import Loaded, load_environment
from envkit.config.keyed import UNSALTED, ensure_salt, keyed_digest, read_salt
from envkit.config.options import LoadOptions
from envkit.errors import InputError, NotFoundError
from envkit.host.home import Home

FILE = """\
name: shop
include: [more.yaml]
services:
  web:
    image: "nginx:${TAG:-1}"
    environment: [PASSED]
    env_file: [{path: ./web.env, required: false}]
    secrets: [password, token]
    configs: [settings]
    volumes: [./html:/html]
    isolation: hyperv
  app: {image: app}
images:
  app: {from: scratch, layers: [{copy: ./app, to: /srv}]}
secrets: {password: {file: ./password}, token: {environment: TOKEN}}
configs: {settings: {content: "a=1"}}
"""


class Project:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "project"
        self.home = Home(str(directory / "home"))
        self.environ = {"PASSED": "1", "TOKEN": "very secret", "IRRELEVANT": "1", "PATH": "/bin"}
        self.write("envkit.yaml", FILE)
        self.write("more.yaml", "services: {more: {image: more}}\n")
        self.write("password", "hunter2")
        self.write("app/main.py", "print()")
        self.write("html/index.html", "")

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def load(self, *, write_cache: bool = True, **options: object) -> Loaded:
        asked = LoadOptions(str(self.directory), environ=self.environ, **options)  # type: ignore[arg-type]
        return load_environment(asked, self.home, write_cache=write_cache)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_a_hit_is_equal_to_what_was_compiled(project: Project) -> None:
    first, second = project.load(), project.load()
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.environment == first.environment
    assert [item.detail for item in second.environment.warnings] == [item.detail for item in first.environment.warnings]
    web = second.environment.services["web"]
    assert dict(web.origins) == dict(first.environment.services["web"].origins)
    assert web.origin("image").endswith("envkit.yaml:5:12")


ENDS: dict[str, Callable[[Project], object]] = {
    "the file": lambda project: project.write("envkit.yaml", FILE.replace("hyperv", "process")),
    "an included file": lambda project: project.write("more.yaml", "services: {more: {image: other}}\n"),
    "an override that appears": lambda project: project.write("envkit.override.yaml", "services: {web: {user: a}}\n"),
    "a .env that appears": lambda project: project.write(".env", "TAG=2\n"),
    "an env file that appears": lambda project: project.write("web.env", "A=1\n"),
    "a variable that is passed on": lambda project: project.environ.update(PASSED="2"),
    "a variable that is interpolated": lambda project: project.environ.update(TAG="3"),
    "a variable with a secret": lambda project: project.environ.update(TOKEN="other"),
    "a secret file": lambda project: project.write("password", "hunter3"),
    "a build input": lambda project: project.write("app/main.py", "print(1)"),
    "a new build input": lambda project: project.write("app/other.py", ""),
    "an ignore file that appears": lambda project: project.write(".dockerignore", "app/main.py\n"),
    "Compose's own variables": lambda project: project.environ.update(COMPOSE_PROFILES="x"),
    "the salt": lambda project: Path(project.home.salt).write_bytes(b"other"),
}


@pytest.mark.parametrize("what", ENDS)
def test_a_changed_input_ends_it(project: Project, what: str) -> None:
    project.load()
    assert project.load().from_cache
    ENDS[what](project)
    assert not project.load().from_cache
    assert project.load().from_cache


def test_a_bind_source_that_goes_ends_it(project: Project) -> None:
    project.load()
    (project.directory / "html/index.html").unlink()
    assert project.load().from_cache
    (project.directory / "html").rmdir()
    with pytest.raises(InputError):
        project.load()


KEEPS: dict[str, Callable[[Project], object]] = {
    "another variable": lambda project: project.environ.update(IRRELEVANT="2", NEW="1"),
    "a file that nothing names": lambda project: project.write("notes.txt", "x"),
    "times": lambda project: os.utime(project.directory / "envkit.yaml", (1, 1)),
}


@pytest.mark.parametrize("what", KEEPS)
def test_what_does_not_matter_keeps_it(project: Project, what: str) -> None:
    project.load()
    KEEPS[what](project)
    assert project.load().from_cache


def test_other_options_are_another_entry(project: Project) -> None:
    project.load()
    assert not project.load(profiles=("x",)).from_cache
    assert not project.load(project_name="other").from_cache
    assert project.load().from_cache


def entries(project: Project) -> list[Path]:
    return sorted(Path(project.home.cache, "environments").iterdir())


def test_no_entry_has_a_secret(project: Project) -> None:
    project.load()
    for path in entries(project):
        assert path.stat().st_mode & 0o777 == 0o600
        assert "hunter2" not in path.read_text()
        assert "very secret" not in path.read_text()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"made_by": 1}', b"\xff\x00", b'{"words": 1}'])
def test_a_broken_entry_counts_as_none(project: Project, content: bytes) -> None:
    first = project.load()
    for path in entries(project):
        path.write_bytes(content)
    again = project.load()
    assert not again.from_cache
    assert again.environment == first.environment
    assert project.load().from_cache


def test_a_lost_file_of_origins_loses_origins_alone(project: Project) -> None:
    first = project.load()
    for path in entries(project):
        if path.name.endswith(".origins"):
            path.unlink()
    again = project.load()
    assert again.from_cache
    assert again.environment.services["web"].spec == first.environment.services["web"].spec
    assert again.environment.services["web"].origin("image") == ""


def test_an_entry_with_any_key_taken_away_is_none(project: Project) -> None:
    project.load()
    path = next(item for item in entries(project) if not item.name.endswith(".origins"))
    entry = json.loads(path.read_text())
    for key in entry:
        path.write_text(json.dumps({name: value for name, value in entry.items() if name != key}))
        assert not project.load(write_cache=False).from_cache, key


def test_reading_writes_nothing(project: Project, tmp_path: Path) -> None:
    made = project.load(write_cache=False)
    assert not Path(project.home.root).exists()
    assert made.environment.services["web"].spec["secret_digests"] == {"password": UNSALTED, "token": UNSALTED}
    project.load()
    before = {path: path.stat().st_mtime_ns for path in Path(project.home.root).rglob("*")}
    project.write("app/main.py", "print(2)")
    assert not project.load(write_cache=False).from_cache
    assert {path: path.stat().st_mtime_ns for path in Path(project.home.root).rglob("*")} == before


def test_a_hit_imports_neither_yaml_nor_pydantic_nor_the_pipeline(project: Project) -> None:
    project.load()
    program = f"""
import sys
from envkit.config.environment import load_environment
from envkit.config.options import LoadOptions
from envkit.host.home import Home
options = LoadOptions({str(project.directory)!r}, environ={project.environ!r})
made = load_environment(options, Home({project.home.root!r}))
assert made.from_cache and made.materials.secret("password") == b"hunter2"
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.split())
    room = {name.removeprefix("envkit.config.") for name in loaded if name.startswith("envkit.config.")}
    assert room == {"cache", "environment", "inputs", "keyed", "materials", "options", "sources"}
    assert not loaded & {"pydantic", "ruamel", "_ruamel_yaml", "jsonschema", "requests", "rich", "asyncio"}


def test_missing_files_are_no_error_for_commands_that_only_look(project: Project) -> None:
    (project.directory / "password").unlink()
    with pytest.raises(InputError):
        project.load()
    asked = LoadOptions(str(project.directory), environ=project.environ)
    assert load_environment(asked, project.home, tolerant=True).environment.name == "shop"


def test_materials(project: Project) -> None:
    for _ in range(2):
        materials = project.load().materials
        assert materials.secret("password") == b"hunter2"
        assert materials.secret("token") == b"very secret"
        assert materials.config("settings") == b"a=1"
        with pytest.raises(NotFoundError):
            materials.secret("other")
    (project.directory / "password").unlink()
    with pytest.raises(NotFoundError, match="password"):
        materials.secret("password")


def test_a_secret_from_the_env_file(project: Project) -> None:
    del project.environ["TOKEN"]
    project.write(".env", "TOKEN=from-env-file\n")
    project.load()
    hit = project.load()
    assert hit.from_cache
    assert hit.materials.secret("token") == b"from-env-file"


def test_digests_are_keyed(tmp_path: Path) -> None:
    home = Home(str(tmp_path / "home"))
    assert keyed_digest(read_salt(home), "secret.a", b"x") == UNSALTED
    ensure_salt(home)
    salt = read_salt(home)
    ensure_salt(home)
    assert read_salt(home) == salt
    assert salt is not None and len(salt) == 32
    assert os.stat(home.salt).st_mode & 0o777 == 0o600
    digests = {keyed_digest(salt, purpose, content) for purpose in ("secret.a", "secret.b") for content in (b"x", b"y")}
    assert len(digests) == 4
    assert keyed_digest(b"other", "secret.a", b"x") not in digests
