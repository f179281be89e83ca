"""`envkit watch` as a user has it: files are edited, and the containers follow.

What is measured is `python -m tests.bench.watch`; here only what happens counts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.boxes import BOX, LOOP
from tests.support.project import Project
from tests.support.watching import Watching, churn, tree

pytestmark = [pytest.mark.root, pytest.mark.slow(60)]
Make = Callable[..., Project]
SERVICE = f"""
services:
  web:
    image: {BOX}
    command: ["sh", "-c", "{LOOP}"]
    stop_signal: SIGKILL
"""
SYNC = SERVICE + """
    environment: {MARKER: "1"}
    develop:
      watch:
        - {path: ./src, action: sync, target: /srv/app, initial_sync: true, ignore: ["*.log"]}
"""


def acts(made: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(act["verb"], act["address"], act["files"]) for act in made["acts"]]


def synced(project: Project, watching: Watching) -> bool:
    return tree(f"{project.directory}/src") == tree(f"{watching.root()}/srv/app")


def test_files_reach_a_read_only_root(project: Make) -> None:
    made = project({"envkit.yaml": SYNC, "src/a": "one", "src/d/b": "two"})
    source = f"{made.directory}/src"
    with Watching(made) as watching:
        assert acts(watching.round()) == [("sync", "service.web", 3)]
        assert synced(made, watching)

        os.chmod(f"{source}/a", 0o750)
        os.symlink("a", f"{source}/link")
        watching.quiet()
        shutil.rmtree(f"{source}/d")
        watching.quiet()
        assert synced(made, watching)

        before = len(watching.rounds)
        os.utime(f"{source}/a")
        made.write({"src/a": "one", "src/.a.swp": "x", "src/x.log": "x", "src/.git/index": "x"})
        os.chmod(f"{source}/a", 0o750)
        assert watching.quiet() == [], "what is as it was, and what passes, is nothing to do"
        made.write({"src/a~new": "saved by renaming"})
        os.rename(f"{source}/a~new", f"{source}/a")
        assert acts(watching.round()) == [("sync", "service.web", 1)]
        assert len(watching.rounds) == before + 1
        for name in (".a.swp", "x.log"):
            os.unlink(f"{source}/{name}")
        shutil.rmtree(f"{source}/.git")
        assert synced(made, watching)

        refused = made.run("exec", "-T", "web", "sh", "-c", "touch /srv/app/mine")
        assert refused.code and "Read-only" in refused.stderr
        made.run("plan", "--expect-no-changes").assert_success()

        made.write({"envkit.yaml": SYNC.replace('"1"', '"2"')})
        done = watching.round("replace")
        assert [act for act in acts(done) if act[0] != "sync"] == [("replace", "service.web", 0)]
        assert synced(made, watching), "a new instance is synced anew"
    made.run("plan", "--expect-no-changes").assert_success()
    made.run("exec", "-T", "web", "cat", "/srv/app/a").assert_success().assert_text("saved by renaming")


def test_a_bad_edit_is_explained_and_the_last_good_state_stays(project: Make) -> None:
    made = project({"envkit.yaml": SYNC, "src/a": "one"})
    with Watching(made) as watching:
        watching.round("sync")
        made.write({"envkit.yaml": SYNC.replace("command:", "comand:")})
        problem = watching.round()
        assert "comand" in str(problem["problems"]) and not problem["acts"]
        made.write({"src/a": "two"})
        assert acts(watching.round()) == [("sync", "service.web", 1)], "the last good rules hold"
        made.write({"envkit.yaml": SYNC + "# a comment\n"})
        mended = watching.round()
        assert mended["mended"] and not mended["acts"] and not mended["problems"]
        made.write({"envkit.yaml": SYNC})
        assert watching.quiet() == []


COMPOSE = f"""
x-box: &box {{image: "{BOX}", command: ["sh", "-c", "echo begun; {LOOP}"], stop_signal: SIGKILL}}
services:
  again:
    <<: *box
    develop: {{watch: [{{path: ./conf/again.conf, action: sync+restart, target: /etc/again.conf}}]}}
  hook:
    <<: *box
    develop:
      watch:
        - path: ./conf
          include: hook.conf
          action: sync+exec
          target: /opt/conf/
          exec:
            command: ["sh", "-c", "echo said; cp /opt/conf/hook.conf /tmp/got-$$WORD"]
            environment: {{WORD: it}}
  only:
    <<: *box
    develop: {{watch: [{{path: ./conf/only.conf, action: restart}}]}}
  bound:
    <<: *box
    volumes: [./conf:/conf]
    develop: {{watch: [{{path: ./conf, action: sync, target: /conf}}]}}
"""
PLACES = f"""
services:
  web:
    image: {BOX}
    command: ["sh", "-c", "{LOOP}"]
    user: app
    stop_signal: SIGKILL
    tmpfs: [/scratch]
    volumes: ["data:/data"]
    develop:
      watch:
        - {{path: ./src, action: sync, target: /scratch/src, initial_sync: true}}
        - {{path: ./src, action: sync, target: /data/src, initial_sync: true}}
        - {{path: ./src/a, action: sync, target: /srv/one/b, initial_sync: true}}
volumes: {{data: {{}}}}
"""


def test_restarts_and_commands(project: Make) -> None:
    made = project({"compose.yaml": COMPOSE, **{f"conf/{name}.conf": "1" for name in ("again", "hook", "only")}})
    with Watching(made) as watching:
        (warning,) = watching.begun["warnings"]
        assert "services.bound" in warning and "is bound where it would sync to" in warning
        made.write({"conf/again.conf": "2"})
        assert acts(watching.round()) == [("sync", "service.again", 1), ("restart", "service.again", 0)]
        made.write({"conf/hook.conf": "2"})
        assert acts(watching.round()) == [("sync", "service.hook", 1), ("exec", "service.hook", 0)]
        made.write({"conf/only.conf": "2"})
        assert acts(watching.round()) == [("restart", "service.only", 0)]
        root = watching.root("hook")
        assert Path(f"{root}/tmp/got-it").read_text() == "2" and os.listdir(f"{root}/opt/conf") == ["hook.conf"]
        assert Path(f"{watching.root('again')}/etc/again.conf").read_text() == "2"
        assert watching.quiet() == []
    assert "said" in watching.stderr
    made.run("diff", "hook").assert_success().assert_no_text("hook.conf")


def test_volumes_and_tmpfs_are_places_too(project: Make) -> None:
    made = project({"envkit.yaml": PLACES, "src/a": "1", "src/d/b": "1"})
    with Watching(made) as watching:
        watching.round("sync")
        for number in range(2):
            root = watching.root()
            assert tree(f"{root}/scratch/src") == tree(f"{root}/data/src") == tree(f"{made.directory}/src")
            assert Path(f"{root}/srv/one/b").read_text() == "1"
            made.run("restart").assert_success()
            if not number:
                watching.round("sync")  # what was on the tmpfs is gone
    made.run("plan", "--expect-no-changes").assert_success()


INPUTS = SERVICE + """
    env_file: [app.env]
    secrets: [token]
    develop: {watch: [{path: ./web/live, action: sync, target: /srv/live}]}
  built:
    build: {context: web}
    stop_signal: SIGKILL
secrets: {token: {file: token.txt}}
"""


def test_everything_that_decides_about_the_environment_is_watched(project: Make) -> None:
    made = project({
        "envkit.yaml": INPUTS, "app.env": "A=1\n", "token.txt": "one", "web/page": "1", "web/live/x": "1",
        "web/Dockerfile": f'FROM {BOX}\nCOPY . /srv/\nCMD ["sh", "-c", "{LOOP}"]\n',
    })  # fmt: skip
    with Watching(made) as watching:
        watching.quiet()
        made.write({"app.env": "A=2\n"})
        assert acts(watching.round()) == [("replace", "service.web", 0)]
        made.write({"token.txt": "two"})
        assert acts(watching.round()) == [("replace", "service.web", 0)]
        made.write({"web/page": "2"})
        done = {act[:2] for act in acts(watching.round("replace"))}
        assert ("replace", "service.built") in done and ("replace", "service.web") not in done
        assert Path(f"{watching.root('built')}/srv/page").read_text() == "2"
        made.write({"web/live/x": "2"})
        assert acts(watching.round()) == [("sync", "service.web", 1)], "what is synced is no reason to build"
        made.write({"web/page": "2"})
        assert watching.quiet() == []
        more = f"  more: {{image: '{BOX}', command: [sleep, '1000'], stop_signal: SIGKILL}}\n  built:"
        made.write({"envkit.yaml": INPUTS.replace("  built:", more)})
        assert acts(watching.round())[0] == ("create", "service.more", 0)
        made.write({"envkit.yaml": INPUTS})
        assert acts(watching.round()) == [("delete", "service.more", 0)]


def test_many_files_at_once_and_lost_events(project: Make) -> None:
    made = project({"envkit.yaml": SYNC, "src/a": "one"})
    with Watching(made) as watching:
        watching.round("sync")
        began = time.monotonic()
        for number in range(1000):
            made.write({f"src/d{number % 10}/f{number}": str(number)})
        took = time.monotonic() - began
        rounds = [watching.round("sync")]
        while not synced(made, watching):
            rounds.append(watching.round("sync"))
        rounds += watching.quiet()
        assert sum(act["files"] for item in rounds for act in item["acts"]) == 1010, "nothing is missed or done twice"
        assert len(rounds) == 1 or took > 1.0, "one round, more where the machine holds up the writer"

        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
            limit = int(file.read())
        os.kill(watching.process.pid, signal.SIGSTOP)
        for _ in range(limit // 2 + 100):  # an event each, and none that is like the one before
            os.utime(f"{made.directory}/src/d0/f0")
            os.utime(f"{made.directory}/src/d0/f10")
        made.write({"src/last": "after the queue was full"})
        shutil.rmtree(f"{made.directory}/src/d5")
        os.kill(watching.process.pid, signal.SIGCONT)
        while not synced(made, watching):
            watching.round("sync")


def churned(made: Project, seconds: float) -> None:
    with Watching(made) as watching:
        watching.round("sync")
        assert churn(f"{made.directory}/src", seconds, seed=int(seconds)) > 50
        while watching.quiet():
            continue
        here, there = tree(f"{made.directory}/src"), tree(f"{watching.root()}/srv/app")
        assert {path for path in here.keys() | there.keys() if here.get(path) != there.get(path)} == set()
        assert not any(item["problems"] for item in watching.rounds)


@pytest.mark.parametrize("seconds", [8, pytest.param(600, marks=pytest.mark.apps)])
def test_whatever_is_done_to_the_files(project: Make, seconds: int) -> None:
    churned(project({"envkit.yaml": SYNC.replace(', ignore: ["*.log"]', ""), "src/a": "one"}), seconds)


def test_a_change_during_an_apply_is_applied_after_it(project: Make) -> None:
    slow = SYNC + '    post_start: [{command: ["sleep", "1"]}]\n'
    made = project({"envkit.yaml": slow, "src/a": "one"})
    with Watching(made) as watching:
        watching.round("sync")
        made.write({"envkit.yaml": slow.replace('"1"}', '"2"}')})
        time.sleep(0.6)
        made.write({"envkit.yaml": slow.replace('"1"}', '"3"}'), "src/a": "two"})
        rounds = [watching.round("replace"), watching.round("replace")]
        assert len(rounds) == 2 and synced(made, watching)
    made.run("exec", "-T", "web", "sh", "-c", "echo $MARKER").assert_one_line("3")


def test_the_end(project: Make) -> None:
    made = project({"envkit.yaml": SYNC, "src/a": "one"})
    with Watching(made) as watching:
        assert watching.end(signal.SIGINT) == 0
    made.run("exec", "-T", "web", "cat", "/srv/app/a")
    with Watching(made, "--no-up", "--down") as watching:
        watching.round("sync")
        assert watching.end(signal.SIGTERM) == 0
    made.run("ps", "-q").assert_success().assert_no_text("web")


def test_up_with_watch(project: Make) -> None:
    made = project({"envkit.yaml": SYNC, "src/a": "one"})
    process = subprocess.Popen(
        [sys.executable, "-m", "envkit.cli.main", "up", "--watch"], cwd=made.directory, env=made.environ(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    for marker, edit in (
        ("synced to web", {"envkit.yaml": SYNC.replace('"1"}', '"2"}')}), ("web replaced", None)
    ):  # fmt: skip
        while marker not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        made.write(edit or {})
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said + rest
    assert "exited" in made.run("ps", "-a").assert_success().stdout.lower()
    made.run("up", "--watch", "-d").assert_text("exclude each other")

