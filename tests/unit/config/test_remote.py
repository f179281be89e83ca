"""`-f`, `include` and `extends` of files in a Git repository: Compose's model, but for where the copy is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envkit.errors import InputError
from tests.support import judge
from tests.support.repository import commit, git, served

FILES = {
    "compose.yaml": 'services: {r: {image: "r:${V:-none}", volumes: ["./d:/d"], env_file: [e.env], build: .}}',
    "e.env": "E=1",
    ".env": "V=repository",
    "sub/other.yaml": 'services: {o: {image: o, volumes: ["./q:/q"]}}',
    "sub/compose.yaml": "include: [other.yaml]\nservices: {s: {extends: {file: ../compose.yaml, service: r}}}",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    place = tmp_path_factory.mktemp("served") / "x.git"
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text + "\n")
    commit(str(place))
    with served(place) as url:
        yield url, place


def case(root: Path, url: str, files: dict[str, str], args: list[str]) -> tuple[judge.Case, Path]:
    made = judge.Case("remote", [word.replace("URL", url) for word in args] + ["config"], files={
        name: text.replace("URL", url) for name, text in files.items()})  # fmt: skip
    made.env = {"XDG_CACHE_HOME": str(root / "cache"), "ENVKIT_HOME": str(root / "home")}
    return made, made.write(root / "proj")


def model(value: Any) -> str:
    return re.sub(r'/[^"]*?(docker-compose|home/cache/git)/[0-9a-f]+', "COPY", judge.canonical(value))


@pytest.mark.parametrize(
    ("files", "args"),
    [
        ({"compose.yaml": 'include: ["URL#main"]\nservices: {a: {image: a}}\n'}, []),
        ({"compose.yaml": 'include: ["URL#main:sub"]\n'}, []),
        ({"compose.yaml": 'include: ["URL#main:sub/other.yaml"]\nservices: {o: {hostname: x}}\n'}, []),
        ({"compose.yaml": 'services: {a: {extends: {file: "URL", service: r}, volumes: ["./own:/own"]}}\n'}, []),
        ({".env": "V=here\n", "o.yaml": 'services: {r: {volumes: ["./o:/o"]}}\n'}, ["-f", "URL#main", "-f", "o.yaml"]),
        ({"compose.yaml": 'services: {l: {image: l, volumes: ["./l:/l"]}}\n'}, ["-f", "compose.yaml", "-f", "URL"]),
        ({"compose.yaml": 'include:\n  - {path: ["URL", over.yaml], project_directory: .}\n', "e.env": "E=2\n",
          "over.yaml": "services: {r: {hostname: h}}\n"}, []),
    ],
)  # fmt: skip
def test_as_compose(repository: tuple[str, Path], tmp_path: Path, files: dict[str, str], args: list[str]) -> None:
    made, cwd = case(tmp_path, repository[0], files, args)
    said = made.ask_compose(cwd)
    assert said.returncode == 0, said.stderr
    loaded = made.load(cwd)
    assert model(loaded.plain) == model(judge.undouble(json.loads(said.stdout)))
    assert not loaded.sources.lasting


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("URL#absent", "cannot be fetched"), ("URL#main:nope", "has no such directory"),
        ("oci://registry.example/app:1", "OCI"), ("https://example.org/compose.yaml", "no Git repository"),
    ],
)  # fmt: skip
def test_what_cannot_be_had(repository: tuple[str, Path], tmp_path: Path, name: str, words: str) -> None:
    made, cwd = case(tmp_path, repository[0], {"compose.yaml": f'include: ["{name}"]\n'}, [])
    with pytest.raises(InputError) as caught:
        made.load(cwd)
    (found,) = caught.value.diagnostics
    assert words in f"{found.summary}: {found.detail}" and found.hint
    assert found.source is not None and found.source.line == 1


def test_a_branch_is_looked_up_each_time(repository: tuple[str, Path], tmp_path: Path) -> None:
    url, place = repository
    made, cwd = case(tmp_path, url, {"compose.yaml": 'include: ["URL#main:sub/other.yaml"]\n'}, [])
    assert made.load(cwd).services["o"]["image"] == "o"
    (place / "sub" / "other.yaml").write_text("services: {o: {image: newer}}\n")
    git(str(place), "commit", "--quiet", "-a", "-m", "y")
    assert made.load(cwd).services["o"]["image"] == "newer"
