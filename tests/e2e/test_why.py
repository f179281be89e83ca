"""diff, explain, graph, history and rollback, as a user has them."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.boxes import LOOP

pytestmark = pytest.mark.root

FILES = {
    "envkit.yaml": f"""
        name: why
        images: {{app: {{from: "box:1", layers: [{{copy: ./file, to: /file}}]}}}}
        services:
          web:
            image: app
            read_only: false
            command: [sh, -c, "{LOOP}"]
            environment: {{COLOUR: green, API_TOKEN: hush}}
            depends_on: [db]
          db: {{image: "box:1", command: [sh, -c, "{LOOP}"], volumes: ["data:/d"]}}
        volumes: {{data: {{}}}}
        """,
    "file": "first\n",
}
GIT = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]


def commit(there, message: str) -> None:
    for words in (["init", "-q", "."], ["add", "-A"], ["commit", "-q", "-m", message]):
        subprocess.run([*GIT, *words], cwd=there.directory, check=True, capture_output=True)


def change(there) -> None:
    """The second shape: another variable, another layer."""
    there.write({"envkit.yaml": FILES["envkit.yaml"].replace("green", "black"), "file": "second\n"})


@pytest.fixture
def there(project):
    made = project(FILES)
    commit(made, "the first shape")
    made.run("apply").assert_success()
    return made


def test_files_that_die_with_an_instance(there):
    there.run("diff", "web").assert_success().assert_text("has written nothing")
    there.run("exec", "web", "sh", "-c", "mkdir /new; echo x > /new/file; echo >> /etc/passwd; rm /etc/group")
    there.run("diff", "web").assert_success()
    assert there.run("diff", "web", "--json").json == {"service.web": [
        {"kind": "deleted", "path": "/etc/group"}, {"kind": "changed", "path": "/etc/passwd"},
        {"kind": "added", "path": "/new/"}, {"kind": "added", "path": "/new/file"},
    ]}  # fmt: skip
    there.run("plan").assert_success().assert_one_line("No changes. The environment matches envkit.yaml.")
    change(there)
    there.run("plan").assert_success().assert_text("will be lost", "service.web: /etc/group", "envkit diff web")
    there.run("diff", "db").assert_success().assert_text("has written nothing")
    there.run("diff", "nobody").assert_failure("nobody")


def test_why_a_value_is_what_it_is(there):
    change(there)
    commit(there, "black is the new green")
    there.run("apply").assert_success()
    told = there.run("explain", "service.web", "--json").assert_success().json
    assert told["address"] == "service.web" and told["now"]["state"] == "running"
    values = {row["path"]: row for row in told["values"]}
    colour = values["environment.COLOUR"]
    assert colour["value"] == "black" and colour["source"].endswith("envkit.yaml:8:27")
    assert (colour["commit"]["author"], colour["commit"]["summary"]) == ("Ada", "black is the new green")
    assert values["environment.API_TOKEN"]["value"] == "(sensitive value)"
    assert values["command"]["commit"]["summary"] == "the first shape"
    assert values["no_new_privileges"]["source"] == "" and values["no_new_privileges"]["commit"] is None
    assert [row["action"] for row in told["history"]] == ["create", "replace"]
    text = there.run("explain", "web").assert_success()
    text.assert_text("envkit.yaml:8:27, ", "Ada", "black is the new green", "replaced because environment.COLOUR")
    text.assert_no_text("hush")
    there.run("explain", "volume.data").assert_success().assert_text("volume.data")
    there.run("explain", "wbe").assert_failure("wbe", "web")


def test_the_graph(there):
    told = there.run("graph", "--json").assert_success().json
    assert {"from": "service.web", "to": "service.db", "condition": "started"} in told["edges"]
    there.run("graph").assert_success().assert_text("flowchart LR", "service_web -->|started| service_db")
    there.run("graph", "--format", "dot").assert_success().assert_text('"service.db" -> "volume.data"')
    picture = there.run("graph", "--format", "svg").assert_success().stdout
    from xml.etree import ElementTree

    texts = [item.text for item in ElementTree.fromstring(picture).iter() if item.tag.endswith("text")]
    assert {"service.web", "service.db", "volume.data", "image.app"} <= set(texts)


def test_the_way_back(there):
    there.run("rollback", "--yes").assert_failure("nothing to go back to")
    there.run("exec", "db", "sh", "-c", "echo kept > /d/file")
    change(there)
    there.run("apply").assert_success()
    look = ("exec", "web", "sh", "-c", "cat /file; echo $COLOUR")
    assert there.run(*look).stdout == "second\nblack\n"
    there.run("rollback").assert_code(125).assert_text("--yes", "service.web")
    assert there.run(*look).stdout == "second\nblack\n"
    there.run("gc").assert_success()
    there.run("rollback", "--yes").assert_success().assert_no_text("bug in envkit", "layer 1/1")
    assert there.run(*look).stdout == "first\ngreen\n"
    assert there.run("exec", "db", "cat", "/d/file").stdout == "kept\n"
    entries = there.run("history", "--json").json
    assert [entry["command"] for entry in entries] == ["apply", "apply", "rollback"]
    assert all(entry["done"] == entry["predicted"] and entry["differs"] == [] for entry in entries)
    there.run("rollback", "1", "--yes").assert_success().assert_text("No changes")
    there.run("rollback", "7", "--yes").assert_failure("7", "1, 2, 3")
    there.run("apply").assert_success()
    assert there.run(*look).stdout == "second\nblack\n"


def test_drift_that_may_be_is_silent(project):
    text = FILES["envkit.yaml"].replace("volumes: {{", "volumes: {")
    rule = "        drift: {ignore: [{address: service.web, path: root.read_only, reason: a debugger does it}]}\n"
    there = project({**FILES, "envkit.yaml": text.rstrip(" ") + rule})
    there.run("apply").assert_success()
    pid = next(row["pid"] for row in there.run("ps", "--json").json if row["service"] == "web")
    subprocess.run(["nsenter", "-t", str(pid), "-m", "mount", "-o", "remount,bind,ro", "none", "/"], check=True)
    there.run("plan").assert_success().assert_one_line("No changes. The environment matches envkit.yaml.")
    there.run("apply").assert_success().assert_text("No changes")
