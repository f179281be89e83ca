"""Updates as a user sees them: start-first in the plan, what hinders it at its line, what a failed one says."""

from __future__ import annotations

import pytest

from tests.support.boxes import LOOP

pytestmark = [pytest.mark.root, pytest.mark.long]

FILE = """
name: updates
services:
  web:
    image: "box:1"
    command: [/bin/sh, -c, %r]
    environment: {ROUND: "${ROUND:-0}"}
    stop_grace_period: 1s
    deploy:
      replicas: 2
      update_config: {order: start-first, monitor: 200ms}
  named:
    image: "box:1"
    command: [/bin/sh, -c, %r]
    container_name: updates-only
    stop_grace_period: 1s
    deploy: {update_config: {order: start-first, failure_action: rollbak}}
""" % (LOOP, LOOP)  # noqa: UP031  (braces everywhere)


def test_start_first(project):
    there = project({"compose.yaml": FILE})
    first = there.run("apply").assert_success()
    first.assert_text("compose.yaml:16:", "replaced stop-first", "container_name", "rollbak")
    before = {row["id"] for row in there.run("ps", "--json").assert_success().json}
    plan = there.run("plan", variables={"ROUND": "1"}).assert_success()
    plan.assert_text("+/- service.web", "+/- service.web[2]").assert_no_text("service.named will")
    there.run("apply", variables={"ROUND": "1"}).assert_success().assert_text("service.web replaced")
    there.run("plan", "--expect-no-changes", variables={"ROUND": "1"}).assert_success()
    rows = there.run("ps", "--json").assert_success().json
    assert len(rows) == 3
    assert len({row["id"] for row in rows} & before) == 1

    broken = FILE.replace(f"command: [/bin/sh, -c, {LOOP!r}]", 'command: [/bin/sh, -c, "echo why; exit 7"]', 1)
    there.write({"compose.yaml": broken})
    failed = there.run("apply", variables={"ROUND": "1"}).assert_failure("service.web[2]", "exit code 7", "why")
    failed.assert_text("the update is paused")
    assert {row["id"] for row in there.run("ps", "--json").json} == {row["id"] for row in rows}
    there.run("plan", variables={"ROUND": "1"}).assert_text("+/- service.web[2]", "+/- service.web ")
