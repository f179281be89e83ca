"""What a shell is offered: sub-commands, their flags, volumes and snapshots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from envkit.backend.base import SnapshotInfo, VolumeInfo
from envkit.cli.complete import candidates, script

SNAPSHOT = SnapshotInfo("shop_data", "one", "data", "shop", 0.0, 1, 1)
VOLUME = VolumeInfo("shop_data", "data", "shop", "/data", "local", ())
DATA = SimpleNamespace(snapshots=lambda name=None: [SNAPSHOT])
CONTEXT: Any = SimpleNamespace(backend=SimpleNamespace(volumes=lambda name: [VOLUME], volume_data=lambda: DATA))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("volume re", ["restore"]),
        ("volume snapshot", ["snapshots", "snapshot"]),
        ("volume restore ", ["shop_data"]),
        ("volume restore data ", ["one"]),
        ("volume restore shop_data o", ["one"]),
        ("volume rm shop_data@", ["shop_data@one"]),
        ("volume snapshot --pa", ["--parallel", "--pause"]),
        ("volume import data --st", ["--stop"]),
        ("image ins", ["inspect"]),
        ("down --vol", ["--volumes"]),
    ],
)
def test_what_may_come_next(line, offered):
    assert candidates(CONTEXT, line.split(" ")) == offered


FILE = """
name: shop
services:
  web: {image: "app:1"}
  worker: {image: "app:1", profiles: [batch]}
  db: {image: "db:1"}
volumes: {data: {}}
targets: {team: {backend: docker}, prod: {backend: swarm}}
"""


def in_bash(line: str, directory: Path, shell: str = "bash") -> list[str]:
    """What bash itself would offer for the line, by the script that `envkit completion bash` prints."""
    test = f"""
envkit() {{ {sys.executable} -m envkit.cli.main "$@"; }}
{script("bash")}
COMP_LINE=$1 COMP_POINT=${{#1}}
_envkit
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        [shell, "-uc", test, shell, line], cwd=directory, capture_output=True, text=True, timeout=30, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "ENVKIT_HOME": str(directory / "home"),
             "PYTHONPATH": str(Path(__file__).parents[3]), "ENVKIT_BACKEND": "memory"},
    )  # fmt: skip
    assert not done.stderr and not done.returncode, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("envkit logs ", {"web", "db"}),
        ("envkit logs w", {"web"}),
        ("envkit exec web ", set()),
        ("envkit --target ", {"team", "prod"}),
        ("envkit up --target=t", {"team"}),
        ("envkit up --profile ", {"batch"}),
        ("envkit --profile batch logs w", {"web", "worker"}),
        ("envkit -f other.yaml logs ", {"elsewhere"}),
        ("envkit --context ", {"default", "lab"}),
        ("envkit --backend emb", {"embedded"}),
        ("envkit graph --format d", {"dot"}),
        ("envkit init python", {"python-web"}),
        ("envkit scale ", {"web=", "db="}),
        ("envkit explain unknown-k", {"unknown-key"}),
        ("envkit explain service.w", {"service.web"}),
        ("envkit compl", {"completion"}),
        ("envkit nothing ", set()),
    ],
)
def test_in_bash(line, offered, tmp_path):
    (tmp_path / "envkit.yaml").write_text(FILE)
    (tmp_path / "other.yaml").write_text("services: {elsewhere: {image: x}}\n")
    meta = tmp_path / ".docker" / "contexts" / "meta" / "abc"
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text('{"Name": "lab"}')
    assert set(in_bash(line, tmp_path)) == offered


def test_files_with_problems_are_no_trouble(tmp_path):
    (tmp_path / "envkit.yaml").write_text("services: [")
    assert in_bash("envkit logs ", tmp_path) == []
    assert in_bash("envkit --target ", tmp_path) == []
