"""`envkit init` as it is typed: what it offers, what it refuses, what it writes and what a dry run does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envkit.resources import template_names
from tests.support.project import Project

COMPOSE = """
    services:
      db:
        image: postgres:16  # the newest
        environment: {POSTGRES_PASSWORD: correct-horse}
        ports: ["5432:5432"]
"""


@pytest.fixture
def there(tmp_path: Path) -> Project:
    return Project(tmp_path, {"compose.yaml": COMPOSE, ".gitignore": "*.pyc"}, str(tmp_path / "home"))


def test_a_compose_file_that_is_here_is_offered(there: Project) -> None:
    there.run("init").assert_code(125).assert_text("compose.yaml is here", "--from-compose", "envkit apply")
    assert sorted(os.listdir(there.directory)) == [".gitignore", "compose.yaml"]


def test_a_dry_run_shows_and_writes_nothing(there: Project) -> None:
    shown = there.run("init", "--from-compose", "--dry-run").assert_success()
    assert "image: postgres:16  # the newest" in shown.stdout and "correct-horse" not in str(shown)
    shown.assert_text("POSTGRES_PASSWORD_FILE", "read_only", "127.0.0.1:5432")
    made = there.run("init", "--from-compose", "--dry-run", "--json").assert_success().json
    assert made["text"] == shown.stdout and made["written"] == [] and made["secrets"] == ["secrets/postgres_password"]
    assert {"service": "db", "field": "read_only", "before": False, "after": True} in made["differences"]
    assert sorted(os.listdir(there.directory)) == [".gitignore", "compose.yaml"]


def test_a_proposal_is_written_once(there: Project) -> None:
    directory = Path(there.directory)
    there.run("init", "--from-compose").assert_success().assert_text("envkit plan").assert_no_text("correct-horse")
    secret = directory / "secrets/postgres_password"
    assert secret.read_text() == "correct-horse" and secret.stat().st_mode & 0o777 == 0o600
    assert (directory / ".gitignore").read_text() == "*.pyc\n.envkit/\nsecrets/\n"
    there.run("validate").assert_success().assert_text("envkit.yaml: valid, 1 service")
    there.run("fmt", "--check").assert_success()
    there.run("init", "--from-compose").assert_failure("exist", "--force")
    there.run("init", "--from-compose", "compose.yaml", "-o", "envkit.prod.yaml").assert_success().assert_text(
        "envkit -f envkit.prod.yaml plan"
    )


def test_what_cannot_be_is_refused(there: Project) -> None:
    there.run("init", "--from-compose", "-o", "other.yaml").assert_code(125).assert_text("envkit.NAME.yaml")
    there.run("init", "--from-compose", "-o", "sub/envkit.yaml").assert_code(125).assert_text("relative paths")
    there.run("init", "--from-compose", "nothing.yaml").assert_failure("nothing.yaml")
    there.run("init", "compose.yaml").assert_failure("--from-compose compose.yaml")
    there.run("init", "monitorin").assert_failure("did you mean monitoring?")
    there.write({"compose.yaml": "services: {web: {imag: x}}\n"})
    there.run("init", "--from-compose").assert_failure("imag", "compose.yaml:1")


def test_templates(tmp_path: Path) -> None:
    there = Project(tmp_path, {}, str(tmp_path / "home"))
    listed = there.run("init", "--list", "--json").assert_success().json
    assert [row["name"] for row in listed] == template_names() and "monitoring" in template_names()
    there.run("init", "static-site", "--dry-run").assert_success().assert_text("site/index.html")
    assert os.listdir(there.directory) == []
