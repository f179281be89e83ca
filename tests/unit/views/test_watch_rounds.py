"""The line of a round."""

from __future__ import annotations

import re

import pytest

from envkit.errors import ApplyError
from envkit.reconcile.watch.round import Act, Round
from envkit.views.terminal import Style
from envkit.views.watch import render_round, round_json, seconds


def line(*acts: Act, **more: object) -> str:
    text = render_round(Round(list(acts), seconds=0.0412, **more), Style(False))  # type: ignore[arg-type]
    return re.sub(r"\d\d:\d\d:\d\d ", "", text.splitlines()[-1])


@pytest.mark.parametrize("acts, said", [
    ([Act("sync", "service.web", 1, "app.py")], "app.py synced to web (41 ms)"),
    ([Act("sync", "service.web", 1, "a"), Act("sync", "service.web", 2), Act("sync", "service.web[2]", 3)],
     "3 files synced to web; 3 files synced to web[2] (41 ms)"),
    ([Act("replace", "service.web", detail="environment.A"), Act("delete", "service.db")],
     "web replaced (environment.A); db removed (41 ms)"),
    ([Act("update", "image.app"), Act("restart", "service.web")], "image.app built; web restarted (41 ms)"),
    ([Act("exec", "service.web", detail="make x")], "ran 'make x' in web (41 ms)"),
    ([Act("create", f"service.s{number}") for number in range(9)],
     "s0 created; s1 created; s2 created; s3 created; and 5 more (41 ms)"),
])  # fmt: skip
def test_one_line_says_what_was_done(acts: list[Act], said: str) -> None:
    assert line(*acts) == said


def test_problems_come_before_it() -> None:
    made = Round(problems=[ApplyError("It cannot be", "because", address="service.web")], seconds=2.5)
    text = render_round(made, Style(False))
    assert text.index("It cannot be") < text.index("what was running runs on (2.5 s)")
    assert round_json(made)["problems"][0]["address"] == "service.web"
    assert line(mended=True) == "the files are valid again (41 ms)"
    assert not Round(seconds=1.0) and Round(mended=True)


def test_how_long() -> None:
    assert [seconds(value) for value in (0.0094, 0.999, 1.25)] == ["9 ms", "999 ms", "1.2 s"]
