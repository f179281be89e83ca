"""After a reboot: `start` puts everything back, `apply` makes what the files say, no volume loses a byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.boxes import box_home
from tests.support.project import Project
from tests.support.reboot import reboot

pytestmark = pytest.mark.root

FILES = {
    "envkit.yaml": """
        name: boots
        x-box: &box {image: "box:1", command: [sleep, inf], stop_signal: SIGKILL}
        services:
          db: {<<: *box, volumes: ["data:/data"], secrets: [token]}
          web:
            <<: *box
            read_only: false
            ports: ["127.0.0.1:18506:80"]
            depends_on: [db]
        volumes: {data: {}}
        secrets: {token: {file: ./token}}
        """,
    "token": "very-secret",
}


@pytest.fixture(name="there")
def _there(tmp_path: object) -> Iterator[Project]:
    with Project(str(tmp_path), FILES, box_home(str(tmp_path))) as there:
        there.run("apply").assert_success()
        there.run("exec", "db", "sh", "-c", "echo precious > /data/kept").assert_success()
        there.run("exec", "web", "sh", "-c", "echo own > /root/written").assert_success()
        reboot(there.home)
        yield there


def states(there: Project) -> dict[str, str]:
    return {row["service"]: row["state"] for row in there.run("ps", "--json").assert_success().json}


def test_start_puts_everything_back(there: Project) -> None:
    assert set(states(there).values()) == {"exited"}
    there.run("start", "db").assert_success()
    assert states(there) == {"db": "running", "web": "exited"}
    there.run("start").assert_success()
    assert states(there) == {"db": "running", "web": "running"}
    assert there.run("exec", "db", "cat", "/data/kept", "/run/secrets/token").stdout == "precious\nvery-secret"
    assert there.run("exec", "web", "cat", "/root/written").stdout == "own\n"
    there.run("exec", "web", "nslookup", "db").assert_success()
    there.run("plan", "--expect-no-changes").assert_success()
    reboot(there.home)
    there.run("restart").assert_success()
    there.run("plan", "--expect-no-changes").assert_success()


def test_apply_makes_what_the_files_say(there: Project) -> None:
    there.run("plan").assert_text("service.web", "has vanished")
    there.run("apply").assert_success()
    assert set(states(there).values()) == {"running"}
    there.run("plan", "--expect-no-changes").assert_success()
    assert there.run("exec", "db", "cat", "/data/kept").stdout == "precious\n"


def test_down_takes_away_what_is_left(there: Project) -> None:
    there.run("down").assert_success()
    assert there.run("ps", "--json").json == []
    assert [row["key"] for row in there.run("volume", "ls", "--json").json] == ["data"]
