"""Every attribute that does something, by its effect in a real container (cases/e2e/attributes.yaml).

All rows share one environment, applied once; each test then looks at its own service.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.support.boxes import BOX
from tests.support.project import Outcome, Project

ROWS: list[dict[str, Any]] = YAML(typ="safe").load(Path(__file__).parents[1] / "cases" / "e2e" / "attributes.yaml")
SHELL = {"SECRET_IN_SHELL": "from the shell", "PORT_FROM_SHELL": "8080"}
LIMITS = {
    "memory": ("memory.max", "memory/memory.limit_in_bytes"), "pids": ("pids.max", "pids/pids.max"),
    "cpu_quota": ("cpu.max", "cpu/cpu.cfs_quota_us"),
}  # fmt: skip
"""Where a container sees its limits: on cgroup v2 and on v1."""
pytestmark = pytest.mark.root


class Whole(NamedTuple):
    project: Project
    applied: Outcome


def document(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """(compose.yaml, further files) of rows."""
    whole: dict[str, Any] = {"name": "attributes", "services": {}}
    files: dict[str, str] = {}
    for row in rows:
        services = {row["name"]: row["service"], **row.get("with", {})}
        for name, service in services.items():
            assert name not in whole["services"], f"two services are called {name}"
            waits = {} if {"command", "entrypoint"} & service.keys() else {"command": ["sleep", "600"]}
            whole["services"][name] = {"image": BOX, "stop_grace_period": "0s", **waits, **service}
        for section, entries in row.get("top", {}).items():
            whole.setdefault(section, {}).update(entries)
        files.update(row.get("files", {}))
    return whole, files


def known(text: str) -> str:
    """@host-KIND stands for a namespace of this machine."""
    return os.readlink(f"/proc/self/ns/{text[6:]}") if text.startswith("@host-") else text


def start(directory: str, home: str, rows: list[dict[str, Any]]) -> Whole:
    whole, files = document(rows)
    project = Project(directory, {"compose.yaml": json.dumps(whole, indent=1), **files}, home)
    return Whole(project, project.run("up", "-d", variables={**SHELL, "PWD": project.directory}, timeout=300))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, home: str) -> Iterator[Whole]:
    whole = start(str(tmp_path_factory.mktemp("attributes")), home, ROWS)
    with whole.project:
        yield whole
    for group in Path("/sys/fs/cgroup").rglob("envkit-test-parent"):
        group.rmdir()  # as with Docker, a parent that the user has named is the user's


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_attribute(row: dict[str, Any], everything: Whole) -> None:
    project = everything.project
    everything.applied.assert_success()
    if warns := row.get("warns"):
        assert re.search(r"compose\.yaml:\d+:\d+.*", everything.applied.stderr)
        assert warns in everything.applied.stderr
    said = look(project, row)
    if "lines" in row:
        assert len(said.splitlines()) == row["lines"], said
    if "not" in row:
        assert said != known(row["not"])
    if "says" in row:
        expected = known(row["says"])
        if len(expected) > 1 and expected.startswith("/") and expected.endswith("/"):
            assert re.search(expected[1:-1], said), said
        else:
            assert said == expected


def look(project: Project, row: dict[str, Any]) -> str:
    """What the row's probe, command, record or bundle says."""
    if "command" in row:
        return project.run(*row["command"], variables=SHELL).assert_success().stdout.strip()
    directory = f"{project.home}/environments/attributes/instances/{row['name']}.1"
    for kind, file in (("record", "record.json"), ("bundle", "config.json")):
        if kind in row:
            value = json.loads(Path(directory, file).read_text())
            for key in re.split(r"(?<!\\)\.", row[kind]):
                value = value[key.replace("\\.", ".")]
            return json.dumps(value)
    probe = row.get("probe") or limit_probe(row["limit"])
    outcome = project.run("exec", "-T", row["name"], "sh", "-c", probe, variables=SHELL)
    return outcome.assert_code(row.get("code", 0)).stdout.strip()


def limit_probe(name: str) -> str:
    second, first = LIMITS[name]
    return f"cat /sys/fs/cgroup/{first} 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/{second}"
