"""What is made again, what is not, and that the plan says so beforehand."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from envkit.errors import ApplyError
from envkit.host.home import Home
from envkit.host.mounts import mount_table
from envkit.image.foresee import foresee
from tests.support.dockerfiles import Kitchen

pytestmark = pytest.mark.root

TEXT = """\
FROM busybox AS build
COPY src /src
RUN cat /src/* > /out
FROM busybox AS check
RUN echo checked > /checked
FROM busybox
RUN echo own > /own
COPY --from=build /out /out
ARG LATE=1
RUN echo $LATE > /late
"""


def test_only_what_depends_on_a_change_is_made_again(kitchen: Kitchen) -> None:
    kitchen.write("src/a", "a1")
    kitchen.write("unrelated", "1")
    first = kitchen.build(TEXT)
    assert first.made == [1, 2, 3, 4, 5]  # stage check is not needed
    assert kitchen.build(TEXT).made == []
    kitchen.write("unrelated", "2")
    os.utime(kitchen.write("src/a", "a1"), (0, 0))
    assert kitchen.build(TEXT).made == []
    assert kitchen.build("# a comment\n" + TEXT.replace("cat", "cat \\\n# another\n")).made in ([], [2])
    kitchen.build(TEXT)
    kitchen.write("src/a", "a2")
    assert [step.cached for step in kitchen.plan()] == [False, False, True, False, False]
    changed = kitchen.build(TEXT)
    assert changed.made == [1, 2, 4, 5]
    assert changed.content("/out") == "a2"
    assert kitchen.build(TEXT, args={"LATE": "2"}).made == [5]


def test_a_stage_that_comes_out_the_same_changes_nothing_after_it(kitchen: Kitchen) -> None:
    text = "FROM busybox AS b\nCOPY in /in\nRUN wc -c < /in > /out\nFROM busybox\nCOPY --from=b /out /\nRUN cat /out\n"
    kitchen.write("in", "ab")
    kitchen.build(text)
    kitchen.write("in", "cd")
    assert kitchen.build(text).made == [1, 2]


def test_modes_count_times_do_not(kitchen: Kitchen) -> None:
    text = "FROM busybox\nCOPY f /f\n"
    kitchen.write("f", "x")
    one = kitchen.build(text)
    kitchen.write("f", "x", 0o755)
    assert kitchen.build(text).made == [1]
    kitchen.write("f", "x")
    assert kitchen.build(text).digest == one.digest


def test_a_copy_survives_what_is_below_it(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    text = "FROM busybox\nARG A=1\nRUN echo $A > /a\nCOPY f /f\n"
    kitchen.build(text)
    assert kitchen.build(text, args={"A": "2"}).made == [1]


def test_two_installations_make_one_image(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.write("f", "x")
    text = "FROM busybox\nWORKDIR /w\nCOPY f /a/b/\nRUN echo y > y && mkdir d\nADD f /z\n"
    one = kitchen.build(text)
    other = Kitchen(Home(str(tmp_path / "home")), str(tmp_path / "elsewhere"))
    time.sleep(1.1)
    other.write("f", "x")
    assert other.build(text).digest == one.digest


def test_no_cache(kitchen: Kitchen) -> None:
    text = "FROM busybox AS a\nRUN echo a > /a\nFROM busybox\nCOPY --from=a /a /a\nRUN echo b > /b\n"
    kitchen.build(text)
    assert kitchen.build(text, no_cache_filter=["a"]).made == [1]
    assert kitchen.build(text, no_cache=True).made == [1, 2, 3]
    assert kitchen.build(text, fresh=True).made == [1, 2, 3]
    assert kitchen.plan(no_cache_filter=["a"])[0].reason == "it is to be made anew"


def test_a_plan_looks_and_leaves_nothing(kitchen: Kitchen) -> None:
    kitchen.write("f", "1")
    kitchen.build("FROM busybox\nRUN echo 1 > /a\nCOPY f /f\n")
    kitchen.write("f", "2")
    spec: Any = {"name": "test/image", "build": {"context": kitchen.directory}}
    before = sorted(os.listdir(kitchen.home.cache))
    found = foresee({"app": spec, "other": {"name": "x", "reference": "x"}}, home=kitchen.home,
                    directory=kitchen.directory, images={})  # fmt: skip
    assert [(row["title"], row["cached"]) for row in found["app"]] == [
        ("RUN /bin/sh -c echo 1 > /a", True), ("COPY f /f", False),
    ]  # fmt: skip
    assert list(found) == ["app"]
    assert sorted(os.listdir(kitchen.home.cache)) == before
    assert not [mount for mount in mount_table() if mount.target.startswith(kitchen.home.root)]


def test_the_plan_before_anything_is_there(kitchen: Kitchen) -> None:
    kitchen.write("Dockerfile", "FROM localhost:1/absent AS a\nRUN x\nFROM scratch\nCOPY --from=a /x /\n")
    first, second = kitchen.plan()
    assert (first.cached, first.reason) == (False, "localhost:1/absent is not here yet")
    assert (second.cached, second.reason) == (False, "it depends on stage a, which is made anew")
    assert second.title.startswith("1: COPY")


def test_independent_stages_are_built_at_the_same_time(kitchen: Kitchen) -> None:
    kitchen.write("Dockerfile", """\
FROM busybox AS a
RUN --mount=type=cache,target=/meet,id=meeting touch /meet/a; for i in $(seq 100); do [ -e /meet/b ] && exit; \
 sleep 0.1; done; exit 1
FROM busybox AS b
RUN --mount=type=cache,target=/meet,id=meeting touch /meet/b; for i in $(seq 100); do [ -e /meet/a ] && exit; \
 sleep 0.1; done; exit 1
FROM scratch
COPY --from=a /etc/passwd /a
COPY --from=b /etc/passwd /b
""")  # fmt: skip
    assert kitchen.build().names == {"/a", "/b"}


def test_the_error_of_a_stage_is_the_one_that_is_shown(kitchen: Kitchen) -> None:
    with pytest.raises(ApplyError, match="Dockerfile:2:1: exit code 4"):
        kitchen.build("FROM busybox AS a\nRUN exit 4\nFROM a\nRUN true\n")


def test_a_dockerfile_of_its_own_ignore_file(kitchen: Kitchen) -> None:
    for name in ("a", "b"):
        kitchen.write(name, name)
    kitchen.write(".dockerignore", "a\n")
    kitchen.write("other.Dockerfile.dockerignore", "b\n")
    text = "FROM scratch\nCOPY . /\n"
    assert "/a" not in kitchen.build(text).names
    own = kitchen.build(text, dockerfile="other.Dockerfile").names
    assert "/a" in own and "/b" not in own


def test_inline(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    assert kitchen.build(dockerfile_inline="FROM scratch\nCOPY f /\n").names == {"/f"}


def test_shared_and_locked_caches(kitchen: Kitchen) -> None:
    mount = "--mount=type=cache,target=/c,id=kept,sharing=locked"
    text = f"FROM busybox\nARG N\nRUN {mount} echo $N >> /c/n; cat /c/n > /n\n"
    kitchen.build(text, args={"N": "1"})
    assert kitchen.build(text, args={"N": "2"}).content("/n") == "1\n2\n"
    private = text.replace("locked", "private").replace("kept", "alone")
    assert kitchen.build(private, args={"N": "1"}).content("/n") == "1\n"
