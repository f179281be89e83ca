"""Laws of plan and apply on real containers, over generated environments, each applied on top of the one before.

The same laws hold for thousands of environments on the memory backend (tests/unit/reconcile/test_laws.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.boxes import box_home
from tests.support.project import Project
from tests.support.warm import Warm

pytestmark = [pytest.mark.root, pytest.mark.long]

laws = settings(
    max_examples=int(os.environ.get("ENVKIT_REAL_EXAMPLES", "10")), deadline=None, database=None, derandomize=True,
    phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
)  # fmt: skip


@st.composite
def environments(draw: Any) -> dict[str, Any]:
    """envkit.yaml of one to three services with what has a live object: networks, volumes, limits, ports, replicas."""
    networks = draw(st.sets(st.sampled_from(["front", "back"])))
    services: dict[str, Any] = {}
    for number, name in enumerate(("a", "b", "c")[: draw(st.integers(1, 3))]):
        service: dict[str, Any] = {"image": "box:1", "command": ["sleep", "inf"], "stop_signal": "SIGKILL"}
        service["environment"] = {"LEVEL": draw(st.sampled_from(["info", "debug"]))}
        service["read_only"] = draw(st.booleans())
        if joined := sorted(name for name in networks if draw(st.booleans())):
            service["networks"] = joined
        if draw(st.booleans()):
            service["volumes"] = ["data:/data"]
        if draw(st.booleans()):
            service["mem_limit"] = draw(st.sampled_from(["64m", "96m"]))
        if draw(st.booleans()):
            service["ports"] = [f"127.0.0.1:{18520 + number}:{draw(st.integers(80, 82))}"]
        elif draw(st.booleans()):
            service["deploy"] = {"replicas": draw(st.integers(0, 2))}
        if services and draw(st.booleans()):
            service["depends_on"] = {"a": {"condition": "service_started", "restart": draw(st.booleans())}}
        services[name] = service
    made: dict[str, Any] = {"name": "laws", "services": services, "volumes": {"data": {}}}
    if networks:
        made["networks"] = {name: {"internal": draw(st.booleans())} for name in sorted(networks)}
    return made


class Place:
    """A project whose file changes."""

    def __init__(self, project: Project, warm: Warm) -> None:
        self.project, self.warm = project, warm

    def run(self, *words: str) -> tuple[int, str]:
        return self.warm.run(words, cwd=self.project.directory, environ=self.project.environ())

    def must(self, *words: str) -> str:
        code, output = self.run(*words)
        assert code == 0, f"envkit {' '.join(words)}: exit code {code}\n{output}"
        return output

    def state(self) -> dict[str, tuple[int, int]]:
        """Everything on the disk, by path: inode and time of the last change."""
        found = {}
        for place, _, files in os.walk(self.project.home):
            for name in files:
                info = os.lstat(os.path.join(place, name))
                found[os.path.join(place, name)] = (info.st_ino, info.st_mtime_ns)
        return found


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = str(tmp_path_factory.mktemp("laws"))
    with Warm() as warm:
        yield Place(Project(base, {}, box_home(base)), warm)


@pytest.fixture(autouse=True)
def _down(place: Place) -> Iterator[None]:
    yield
    place.must("down", "--volumes", "--yes", "--timeout", "0")


@laws
@given(desired=environments(), saved=st.booleans())
def test_plan_tells_the_truth(place: Place, desired: dict[str, Any], saved: bool) -> None:
    """It is the same one twice and writes nothing; after an apply, of the files or of the saved plan, it is empty."""
    place.project.write({"envkit.yaml": json.dumps(desired)})
    path = os.path.join(place.project.directory, "saved.json")
    first = place.must("plan", "--json", "-o", path)
    before = place.state()
    assert place.must("plan", "--json") == first
    assert place.state() == before
    place.must("apply", *([path] if saved else []), "--yes")
    code, output = place.run("plan", "--expect-no-changes")
    assert code == 0, output


def test_plan_needs_to_write_nothing(place: Place) -> None:
    """It says the same where the installation cannot be written to."""
    service = {"image": "box:1", "command": ["sleep", "inf"], "stop_signal": "SIGKILL", "environment": {"A": "${A:-1}"}}
    place.project.write({"envkit.yaml": json.dumps({"name": "laws", "services": {"web": service}})})
    frozen = 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-ec", frozen, place.project.home)
    for number, changed in (("1", False), ("2", True)):
        place.must("apply")
        free = place.project.run("plan", "--json", variables={"A": number}).assert_success()
        tied = place.project.run("plan", "--json", variables={"A": number}, prefix=prefix).assert_success()
        assert tied.json == free.json
        assert bool(tied.json["changes"] and any(row["action"] != "noop" for row in tied.json["changes"])) is changed
