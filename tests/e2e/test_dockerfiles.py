"""`build:` from the command line: names, order, what is built again and what the plan says of it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root

COMPOSE = """\
name: built
services:
  web:
    build:
      context: web
      args: {WORD: one}
      secrets: [token]
      tags: [own/web:extra]
      additional_contexts: {parent: "service:base"}
    command: [sh, -c, "cat /out; exec sleep 1000"]
    stop_grace_period: 0s
  base:
    image: own/base:1
    build: {context: ., dockerfile_inline: "FROM box:1\\nRUN --network=none echo base > /base\\n"}
    command: [sleep, "1000"]
    stop_grace_period: 0s
secrets: {token: {file: ./token}}
"""
DOCKERFILE = """\
FROM parent
ARG WORD
RUN --network=none --mount=type=secret,id=token,required=true \\
  echo "$WORD $(cat /base) $(wc -c < /run/secrets/token)" > /out
COPY index.html /srv/
"""


@pytest.fixture
def shop(project):
    return project({"compose.yaml": COMPOSE, "web/Dockerfile": DOCKERFILE, "web/index.html": "1", "token": "secret"})


def test_up_builds_what_is_missing_and_what_has_changed(shop):
    shop.run("up", "-d").assert_success()
    assert "one base 6" in shop.run("logs", "--no-log-prefix", "web").stdout
    shop.run("up", "-d").assert_success()
    shop.run("plan", "--expect-no-changes").assert_success()
    shop.write({"web/index.html": "2", "web/unrelated": "x"})
    made = shop.run("plan").assert_success()
    made.assert_text("~ image.built-web", "= layer 1: RUN", "+ layer 2: COPY index.html /srv/  # its inputs are new")
    made.assert_no_text("image.own/base:1")
    image, service = shop.run("plan", "--json").json["changes"]
    assert [(row["number"], row["cached"]) for row in image["layers"]] == [(1, True), (2, False)]
    assert service["action"] == "replace"
    shop.run("up", "-d").assert_success()
    shop.run("plan", "--expect-no-changes").assert_success()
    assert shop.run("image", "ls").stdout.count("own/web:extra") == 1


def test_build(shop):
    first = shop.run("build", "--json").assert_success().json_lines[-1]
    assert set(first) == {"built-web", "own/base:1"}
    assert shop.run("build", "-q", "web").assert_success().stdout.split()[0] == first["built-web"]
    other = shop.run("build", "-q", "--build-arg", "WORD=two", "web").assert_success().stdout.split()
    assert first["built-web"] not in other
    again = shop.run("build", "-q", "--no-cache", "base").assert_success().stdout.split()
    assert again == [first["own/base:1"]]
    shop.run("build", "--check").assert_success().assert_text("Check complete")
    shop.run("build", "nothing").assert_code(125)


def test_mistakes_are_shown_with_their_line(shop):
    shop.write({"web/Dockerfile": "FROM parent\nRUN --network=none echo said; exit 9\n"})
    failed = shop.run("build", "web").assert_failure("Dockerfile:2:1: exit code 9", "| said")
    failed.assert_text("2 | RUN --network=none echo said; exit 9")
    shop.write({"web/Dockerfile": "FROM parent\nCOPPY a b\n"})
    wrong = shop.run("plan").assert_failure("web/Dockerfile:2:1", "did you mean COPY?")
    wrong.assert_text("COPPY a b", "^^^^^")


def test_a_secret_is_nowhere(shop):
    shop.write({"token": "do-not-keep-me"})
    outcome = shop.run("build", "--json").assert_success()
    outcome.assert_no_text("do-not-keep-me")
    shop.run("image", "inspect", "built-web", "--json").assert_success().assert_no_text("do-not-keep-me")
