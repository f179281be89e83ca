"""Every attribute that does something, by its effect in a real container (cases/e2e/attributes.yaml).

All rows share one environment, applied once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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


@pytest.fixture
def everything(tmp_path: Path, home: str) -> Iterator[Whole]:
    whole = start(str(tmp_path), home, ROWS)
    with whole.project:
        yield whole
    for group in Path("/sys/fs/cgroup").glob("**/envkit-test-parent"):
        with suppress(OSError):  # as with Docker, a parent that the user has named stays; another run may be in it
            group.rmdir()


def test_every_attribute_has_its_effect(everything: Whole) -> None:
    """One test for all: what each test costs around it would be more than the looks themselves."""
    everything.applied.assert_success()
    with ThreadPoolExecutor(4) as pool:
        wrong = list(filter(None, pool.map(lambda row: problem(row, everything), ROWS)))
    assert not wrong, "\n\n".join(wrong)


def problem(row: dict[str, Any], everything: Whole) -> str:
    """What is not as the row says; "" when all is."""
    told = everything.applied.stderr
    if "warns" in row and not re.search(rf"^ +--> compose\.yaml:\d+:\d+(\n.*)+?{row['warns']}", told, re.MULTILINE):
        return f"{row['name']}: there is no warning"
    try:
        said = look(everything.project, row)
    except AssertionError as error:
        return f"{row['name']}: {error}"
    if "lines" in row:
        return "" if len(said.splitlines()) == row["lines"] else f"{row['name']}: {said!r}"
    if "not" in row:
        return "" if said != known(row["not"]) else f"{row['name']}: {said!r}"
    expected = known(row["says"])
    if len(expected) > 1 and expected.startswith("/") and expected.endswith("/"):
        met = re.search(expected[1:-1], said) is not None
    else:
        met = said == expected
    return "" if met else f"{row['name']}: {said!r} instead of {expected!r}"


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
