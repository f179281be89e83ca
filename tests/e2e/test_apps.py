"""Public applications run as they are (cases/e2e/apps.yaml): the page is served, a second `up` changes nothing, data
outlives down and up, and `down --volumes` leaves nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.debian import debian_home
from tests.support.project import Project
from tests.support.upstream import APPS, provide

CASES = YAML(typ="safe").load(Path(__file__).parents[1] / "cases" / "e2e" / "apps.yaml")
_PATIENCE = 90.0


def _rows(heavy: bool) -> list[Any]:
    return [pytest.param(case, id=case["app"]) for case in CASES if case.get("heavy", False) == heavy]


@pytest.fixture(scope="module")
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An ENVKIT_HOME with the images of all applications that this run is about. ENVKIT_APPS_HOME names one to keep."""
    top = tmp_path_factory.mktemp("apps")
    kept = os.environ.get("ENVKIT_APPS_HOME") or debian_home(tmp_path_factory, top / "home")
    chosen = [item.callspec.params["case"] for item in request.session.items if item.path == request.path]
    provide(kept, {key for case in chosen for key in case["images"]}, str(top / "images"))
    yield kept
    subprocess.run(["rm", "-rf", str(top)], check=True, timeout=300)  # a third of what shutil takes for whole roots


@pytest.mark.root
@pytest.mark.slow(100)
@pytest.mark.parametrize("case", _rows(heavy=False))
def test_application(case, home, tmp_path):
    _lives(case, home, tmp_path)


@pytest.mark.apps
@pytest.mark.parametrize("case", _rows(heavy=True))
def test_heavy_application(case, home, tmp_path):
    _lives(case, home, tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("case", [case for case in CASES if case["app"] in ("caddy", "flask-redis")],
                         ids=lambda case: str(case["app"]))  # fmt: skip
def test_application_with_a_proposed_file(case, home, tmp_path):
    """What `init --from-compose` proposes is valid, is applied as it is, and serves the page."""
    with Application(tmp_path, home, case) as app:
        app.envkit("init", "--from-compose")
        app.envkit("validate")
        app.envkit("plan")
        app.envkit("apply")
        app.shows("/", case.get("page", case["kept"]))
        app.use()
        app.shows(case.get("path", "/"), case["kept"])
        app.envkit("plan", "--expect-no-changes")
        app.envkit("down", "--volumes", "--yes")
        app.is_gone()


def _lives(case: Mapping[str, Any], home: str, directory: Path) -> None:
    with Application(directory, home, case) as app:
        app.envkit("up", "-d")
        app.shows("/", case.get("page", case["kept"]))
        app.use()
        path = case.get("path", "/")
        app.shows(path, case["kept"])
        app.answered_by(case.get("names", 0), path)
        assert app.envkit("up", "-d").stderr.count("✓") == 0, "a second `up` changes something"
        app.envkit("plan", "--detailed-exitcode")
        app.envkit("down")
        assert app.envkit("ps", "--all", "--json").json == []
        app.envkit("up", "-d")
        app.shows(path, case["kept"])
        if "after" in case:
            app.shows(case["after"]["path"], case["after"]["shows"])
        app.envkit("down", "--volumes", "--yes")
        app.is_gone()


class Application(Project):
    """An application whose start page is published on a free port."""

    def __init__(self, directory: Path, home: str, case: Mapping[str, Any]) -> None:
        super().__init__(directory, {}, home)
        self.directory = str(directory / case["app"])  # which is the environment's name
        shutil.copytree(os.path.join(APPS, case["app"]), self.directory)
        self._case = case
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]

    def environ(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        return super().environ({"HTTP_PORT": str(self._port), **(variables or {})})

    def envkit(self, *words: str) -> Any:
        outcome = self.run(*words, timeout=900)
        if outcome.code:
            raise AssertionError(f"{outcome}\n{self.state()}")
        return outcome

    def state(self) -> str:
        """What a person would look at when something is wrong."""
        return f"{self.run('ps', '--all').stdout}\n{self.run('logs', '--no-color', '--tail', '40').stdout[-6000:]}"

    def fetch(self, path: str, form: Mapping[str, str] | None = None) -> tuple[int, str]:
        """A page's status and text; status 0 and the reason where nobody answers."""
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", data, timeout=30) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)

    def until(self, wanted: Callable[[int, str], bool], what: str, path: str, form: Any = None) -> None:
        """Fetch a page until it is as wanted."""
        deadline = time.monotonic() + _PATIENCE
        while not wanted(*(found := self.fetch(path, form))):
            if time.monotonic() > deadline:
                raise AssertionError(f"{path} never {what}: {found[0]} {found[1][-2000:]!r}\n{self.state()}")
            time.sleep(0.4)

    def shows(self, path: str, text: str) -> None:
        """Wait until the page has the text."""
        self.until(lambda status, page: text in page, f"shows {text!r}", path)

    def use(self) -> None:
        for step in self._case.get("write", ()):
            if "run" in step:
                self.envkit(*step["run"])
            else:
                self.until(lambda status, page: status == 200, "accepts the form", step["path"], step["form"])

    def answered_by(self, count: int, path: str) -> None:
        """The page is answered by this many hosts, in turn."""
        seen: set[str] = set()
        deadline = time.monotonic() + _PATIENCE
        while len(seen) < count and time.monotonic() < deadline:
            seen.add(self.fetch(path)[1].partition(":")[0])
        assert not count or len(seen) == count, f"{count} replicas, but only {seen} answer\n{self.state()}"

    def is_gone(self) -> None:
        """Nothing of the environment is left in the home."""
        name = json.loads(self.envkit("config", "--format", "json").stdout)["name"]
        for kind in ("environments", "volumes"):
            path = os.path.join(self.home, kind, name)
            assert not os.path.exists(path) or not os.listdir(path), f"{path} has {os.listdir(path)}"
