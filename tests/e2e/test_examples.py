"""The main example and the templates, as a user meets them: built from Debian's packages, applied, asked, taken down.

All of them share one installation.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from envkit.resources import template_names
from tests.support.debian import debian_home
from tests.support.project import Project

pytestmark = [pytest.mark.root, pytest.mark.slow(200)]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONG = 900.0  # seconds that a build may take where the mirror is slow


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The installation of this file's tests."""
    return debian_home(tmp_path_factory, tmp_path_factory.mktemp("debian") / "home")


@contextmanager
def copied(directory, source: str, home: str) -> Iterator[Project]:
    """A project with an example's files."""
    shutil.copytree(source, os.path.join(directory, "project"))
    with Project(directory, {}, home) as project:
        yield project


@pytest.fixture(scope="module")
def guestbook(tmp_path_factory, debian):
    with copied(tmp_path_factory.mktemp("guestbook"), os.path.join(ROOT, "examples", "guestbook"), debian) as project:
        project.write({".env": "HTTP_PORT=18701\n", "secrets/db_password": "of-this-test-only\n"})
        project.run("build", timeout=LONG).assert_success()
        yield project


def get(address: str, **form: str) -> str:
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(f"http://{address}/", data, timeout=10) as page:
        return page.read().decode()


def asked(address: str, seconds: float = 20.0) -> str:
    """What the address answers, once it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return get(address)
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_the_guestbook(guestbook):
    """Entries survive `down` and `apply`, and are gone after `down --volumes`."""
    plan = guestbook.run("plan", "--json").assert_success().json
    assert plan["summary"]["create"] == 6, "four services, a network and a volume"
    guestbook.run("apply").assert_success()
    address = guestbook.run("port", "web", "8080").assert_success().stdout.strip()
    assert address == "127.0.0.1:18701"
    assert "<h1>" in get(address)
    get(address, name="Ada", message="first entry")
    assert "first entry" in get(address)
    again = guestbook.run("apply").assert_success()
    assert again.stdout.count("\n") == 1 and not again.stderr, str(again)
    guestbook.run("plan", "--detailed-exitcode").assert_success()

    guestbook.run("down").assert_success()
    assert guestbook.run("ps", "--json").json == []
    guestbook.run("apply").assert_success()
    assert "first entry" in get(address)

    before = {row["service"]: row["id"] for row in guestbook.run("ps", "--json").json}
    guestbook.write({".env": "HTTP_PORT=18701\nGREETING=Hello from the test\n"})
    changed = guestbook.run("plan", "--json").json["changes"]
    assert [item["address"] for item in changed if item["action"] != "noop"] == ["service.app"]
    guestbook.run("apply").assert_success()
    assert "Hello from the test" in asked(address)
    after = {row["service"]: row["id"] for row in guestbook.run("ps", "--json").json}
    assert {name for name in after if after[name] != before[name]} == {"app"}

    for service in after:
        guestbook.run("exec", "-T", service, "touch", "/usr/here").assert_code(1).assert_text("Read-only file system")
        environ = f"/proc/{next(row['pid'] for row in guestbook.run('ps', '--json').json if row['service'] == service)}"
        with open(f"{environ}/environ", "rb") as file:
            assert b"of-this-test-only" not in file.read()
    assert "of-this-test-only" not in guestbook.run("plan", "--json").stdout

    guestbook.run("down", "--volumes", "--yes").assert_success()
    guestbook.run("apply").assert_success()
    assert "first entry" not in get(address)
    guestbook.run("down", "--volumes", "--yes").assert_success()


def test_a_foreign_reader_accepts_the_image(guestbook, tmp_path):
    """What the example's image is, skopeo reads as well."""
    import subprocess

    path = str(tmp_path / "web.tar")
    guestbook.run("image", "save", "web", "-o", path, "--format", "oci").assert_success()
    subprocess.run(["skopeo", "inspect", f"oci-archive:{path}"], check=True, capture_output=True, timeout=60)
    layers = guestbook.run("image", "layers", "web", "--json").json
    assert layers[-1]["source"].startswith("envkit.yaml:")


@pytest.mark.parametrize("template", template_names())
def test_a_template_is_valid(tmp_path, debian, template):
    there = Project(tmp_path, {}, debian)
    there.run("init", template, "--name", "fresh").assert_success()
    there.run("validate").assert_success()
    assert there.run("plan", "--json").assert_success().json["summary"]["create"] > 1
    there.run("init", template).assert_failure("exist")


@pytest.mark.parametrize("template", ["python-web", "static-site", "worker-queue"])
def test_a_template_runs(tmp_path, debian, guestbook, template):
    with Project(tmp_path, {}, debian) as there:
        there.run("init", template, "--name", f"fresh-{template}").assert_success()
        with open(os.path.join(there.directory, ".env"), "a", encoding="utf-8") as file:
            file.write("\nHTTP_PORT=18702\n")
        there.run("apply", timeout=LONG).assert_success()
        published = [port for row in there.run("ps", "--json").json for port in row["ports"]]
        assert asked(published[0].partition("->")[0])
        there.run("plan", "--expect-no-changes").assert_success()


def test_the_monitoring_template_measures(tmp_path, debian):
    """Prometheus has asked the other service, with success; what it has measured outlives the service."""
    with Project(tmp_path, {}, debian) as there:
        there.run("init", "monitoring", "--name", "fresh-monitoring").assert_success()
        there.write({".env": "HTTP_PORT=18703\n"})
        there.run("apply", timeout=LONG).assert_success()
        assert '"1"]' in measured("node_load1 > bool -1", 18703)
        there.run("plan", "--expect-no-changes").assert_success()
        there.run("exec", "-T", "prometheus", "touch", "/usr/here").assert_code(1).assert_text("Read-only file system")


def measured(query: str, port: int, seconds: float = 40.0) -> str:
    """What Prometheus answers to a query, once it has a value."""
    deadline = time.monotonic() + seconds
    address = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    answer = ""
    while '"value"' not in answer and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=10) as page:
            answer = page.read().decode()
        time.sleep(0.3)
    return answer
