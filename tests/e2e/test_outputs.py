"""Every command that answers a question gives JSON, and nothing else, with --json; no output has an escape sequence
where NO_COLOR or --no-color asks for none, nor a question where --plain is given."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from envkit.cli.commands import COMMANDS
from tests.support.boxes import LOOP
from tests.support.project import Project

pytestmark = pytest.mark.root

FILE = f"""
name: outputs
services:
  web: {{image: "box:1", command: [/bin/sh, -c, {LOOP!r}], ports: ["18497:80"], volumes: ["data:/data"]}}
volumes: {{data: {{}}}}
targets: {{here: {{backend: embedded}}, there: {{backend: embedded}}}}
"""

QUERIES = """
init --list
validate
config
fmt --check
doctor
plan
wait nobody
status
ps
ps --all
logs
logs web
events --since 1h --until 0s
stats --no-stream
top
port web 80
ls
ls --all
history
diff web
diff --targets here,there
explain service.web
explain unknown-key
explain --list
graph
image ls
image inspect box:1
image layers box:1
images
volume ls
volume snapshots
volumes
audit
gc --dry-run
schema
version
"""
"""A question of every command that has one."""

NO_QUESTION = {
    "import", "apply", "up", "watch", "create", "scale", "down", "build", "pull", "push", "stop", "start", "restart",
    "rm", "kill", "pause", "unpause", "exec", "run", "attach", "cp", "rollback", "lock", "completion",
}  # fmt: skip
"""Commands that do something; what they print with --json is told by events, and has tests of its own."""

MANY = """
import json, os, sys, tempfile
from envkit.cli.main import main
done = []
for words in json.load(sys.stdin):
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out.seek(0), err.seek(0)
    done.append([code, out.read().decode(), err.read().decode()])
json.dump(done, sys.stdout)
"""
"""Many command lines by one process, each in a fork of its own."""


def lines() -> list[str]:
    return QUERIES.strip().splitlines()


def run(there: Project, flags: tuple[str, ...], **variables: str) -> dict[str, tuple[int, str, str]]:
    """Every question with the flags -> exit code, stdout, stderr."""
    asked = [[*line.split(), *flags] for line in lines()]
    done = subprocess.run(
        [sys.executable, "-c", MANY], cwd=there.directory, env=there.environ(variables), input=json.dumps(asked),
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return {line: tuple(row) for line, row in zip(lines(), json.loads(done.stdout), strict=True)}


@pytest.fixture(scope="module")
def there(home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with Project(tmp_path_factory.mktemp("outputs"), {"envkit.yaml": FILE}, home) as made:
        made.run("apply").assert_success()
        yield made


@pytest.fixture(scope="module")
def as_json(there: Project) -> dict[str, tuple[int, str, str]]:
    return run(there, ("--json",), FORCE_COLOR="1")


@pytest.fixture(scope="module")
def as_text(there: Project) -> dict[str, tuple[int, str, str]]:
    return run(there, ("--plain",), FORCE_COLOR="1")


def test_a_port_as_data(as_json):
    assert json.loads(as_json["port web 80"][1]) == {"address": "127.0.0.1", "port": 18497}


def values(text: str) -> list[Any]:
    """One JSON value, or one a line."""
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("line", lines())
def test_json_and_nothing_else(line: str, as_json):
    code, out, err = as_json[line]
    assert "Traceback" not in err and "bug in envkit" not in err, err
    assert "\x1b" not in out + err
    assert values(out) or line.startswith(("events", "logs")), f"nothing was printed: {code} {err}"


@pytest.mark.parametrize("line", lines())
def test_no_escape_sequences(line: str, as_text):
    code, out, err = as_text[line]
    assert "\x1b" not in out + err and "Traceback" not in err
    assert code in (0, 1), err


def test_every_command_is_asked_or_asks_nothing():
    asked = {line.split()[0] for line in lines()}
    assert {item.name for item in COMMANDS} - asked - NO_QUESTION == set()


def test_colours_are_there_where_they_are_wanted(there: Project):
    wanted = there.run("status", variables={"NO_COLOR": "", "FORCE_COLOR": "1"})
    assert "\x1b[" in wanted.assert_success().stdout
    for refused in ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"NO_COLOR": "", "TERM": "dumb"}):
        assert "\x1b" not in there.run("status", variables=refused).stdout
    assert "\x1b" not in there.run("status", "--no-color", variables={"NO_COLOR": "", "FORCE_COLOR": "1"}).stdout


@pytest.mark.parametrize("line", ["down --volumes", "rollback", "volume rm data"])
def test_plain_and_json_ask_nothing(line: str, there: Project):
    for flag in ("--plain", "--json"):
        outcome = there.run(*line.split(), flag, stdin="yes\n")
        assert outcome.code in (1, 125) and "Traceback" not in outcome.stderr
    assert len(there.run("ps", "--json").json) == 1


def test_completion_knows_the_images_of_the_store_and_the_volumes(there: Project):
    assert there.run("completion", "--words", "image", "inspect", "box").stdout == "box:1\n"
    assert there.run("completion", "--words", "volume", "snapshot", "out").stdout == "outputs_data\n"
    assert there.run("completion", "--words", "-p", "outputs", "logs", "").stdout == "web\n"
