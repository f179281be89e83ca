"""What is shown, without a terminal: rows, columns that fit, lines of change."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from envkit.backend.base import Usage
from envkit.errors import HostError, InputError
from envkit.observed.state import Health, Instance, InstanceState
from envkit.views.live.columns import fitting, summary, width_of
from envkit.views.live.feed import Feed
from envkit.views.live.lines import Changes, render_status
from envkit.views.live.picture import ABSENT, Picture, Row, changes, duration, picture_json, rows_of
from envkit.views.live.text import keys, log_line
from envkit.views.live.themes import chosen
from envkit.views.terminal import Style
from tests.support.environments import environment, resource
from tests.support.live import Stage

PLAIN = Style(False)


def instance(service: str, replica: int = 1, state: str = "running", **more: object) -> Instance:
    given: dict[str, object] = {
        "health": Health.NONE, "exit_code": None, "pid": 1, "image": "i", "ports": (), "started_at": "", **more,
    }  # fmt: skip
    return Instance(service, replica, "id", "name", InstanceState(state), **given)  # type: ignore[arg-type]


def test_rows_are_instances_and_what_is_missing() -> None:
    desired = environment(*(resource(f"service.{name}", {"image": "i"}) for name in ("web", "db", "api")))
    found = [
        instance("web", 10), instance("web", 2, health=Health.UNHEALTHY), instance("web"), instance("job", 0),
        instance("db", state="exited", exit_code=137, detail="OOM-killed", started_at="2026-01-01T00:00:00.123456789Z"),
    ]  # fmt: skip
    rows = rows_of(found, [Usage("service.web[2]", 0.5, 1 << 20, 0, 1, 0, 0, 0, 0)], desired, time.time())
    assert [row.name for row in rows] == ["api", "db", "web", "web[2]", "web[10]"]
    by_name = {row.name: row for row in rows}
    assert (by_name["api"].state, by_name["api"].address) == (ABSENT, "")
    assert by_name["db"].condition == "exited (137, OOM-killed)"
    assert by_name["db"].uptime is None
    assert (by_name["web[2]"].mood, by_name["web[2]"].cpu, by_name["web[2]"].address) == ("bad", 0.5, "service.web[2]")
    assert [row.name for row in rows_of(found, [], desired, 0, ["db", "api"])] == ["api", "db"]


def test_an_uptime_is_read_with_nanoseconds() -> None:
    (row,) = rows_of([instance("web", started_at="1970-01-01T00:01:00.123456789Z")], [], environment(), 90.0)
    assert row.uptime == pytest.approx(29.9, abs=0.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0s"), (9, "9s"), (59, "55s"), (60, "1m"), (3600, "1h 00m"), (11100, "3h 05m"), (180000, "2d 2h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


FULL = Row("a-service", "service.a-service", "exited", "(137, OOM-killed)", "unhealthy", 0.5, 100 << 20, 1 << 30,
           ("127.0.0.1:8080->80/tcp", "127.0.0.1:8443->443/tcp", "127.0.0.1:53->53/udp"), 3, 4000.0)  # fmt: skip


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 120, 160])
def test_columns_fit(width: int) -> None:
    columns = fitting([FULL], width)
    assert [column.key for column in columns][:2] == ["service", "state"]
    assert sum(width_of(column, [FULL]) + 2 for column in columns) <= max(width, 29)
    if width == 80:
        assert [column.key for column in columns] == ["service", "state", "health", "cpu", "memory", "ports"]
    if width == 160:
        assert len(columns) == 8


def test_the_last_keys_stay() -> None:
    pairs = [("r", "restart"), ("s", "stop"), ("q", "leave"), ("^C", "stop all")]
    assert keys(pairs, 80, 2).plain == " r restart  s stop  q leave  ^C stop all"
    assert keys(pairs, 30, 2).plain == " q leave  ^C stop all"


@pytest.mark.parametrize(
    ("line", "plain"),
    [("a\x07b\rc\x9b", "abc"), ("\x1b[31mred\x1b[0m", "red"), ("\x1b[2Jgone\x1b[5;5H", "gone"), ("\x1bz", "z"),
     ("a\tb", "a       b"), ("[bold]x[/]", "[bold]x[/]")],
)  # fmt: skip
def test_log_lines_cannot_move_the_cursor(line: str, plain: str) -> None:
    assert log_line(line, colour=True).plain == plain
    assert not log_line(line, colour=False).spans


def test_themes() -> None:
    assert chosen("light", {}, colour=True) == "envkit-light"
    assert chosen("auto", {"COLORFGBG": "15;0"}, colour=True) == "envkit-dark"
    assert chosen("auto", {"COLORFGBG": "0;default;15"}, colour=True) == "envkit-light"
    assert chosen("auto", {}, colour=True) == chosen("dark", {}, colour=False) == "ansi-dark"


@pytest.fixture(name="stage")
def _stage(tmp_path: os.PathLike[str]) -> Iterator[Stage]:
    yield Stage(str(tmp_path))


def test_one_look_at_a_shop_that_has_drifted(stage: Stage) -> None:
    stage.drift()
    picture = stage.feed().look()
    assert (picture.drifted, picture.pending, picture.problem) == (2, 2, "")
    assert summary(picture) == (
        "5 of 7 running · 2 failing · 2 drifted · 2 to apply · cpu 49% · memory 450 MiB"
    )
    text = render_status(picture, PLAIN, 80)
    assert all(len(line) <= 80 for line in text.splitlines()[2:10]), text
    assert "limits.memory  536870912 -> 67108864" in text
    assert "Will change" not in text
    found = json.loads(json.dumps(picture_json(picture)))
    assert (found["drifted"], found["changes"]) == (2, 2)
    assert {row["name"]: row["state"] for row in found["services"]}["cache"] == "exited"


def test_a_feed_says_what_it_cannot_know(stage: Stage) -> None:
    def broken() -> object:
        raise InputError(())

    feed = Feed(stage.memory, stage.desired, broken)  # type: ignore[arg-type]
    picture = feed.look()
    assert picture.plan is None and picture.drifted is None
    assert "problems in the configuration" in picture.problem
    assert len(picture.rows) == 7

    def down(environment: str) -> list[Usage]:
        raise HostError("the engine is gone")

    stage.memory.usage = down  # type: ignore[method-assign]
    feed = stage.feed()
    assert feed.look().problem == "the engine is gone"


def test_lines_tell_changes_once() -> None:
    before, after = Row("web", "service.web", "running"), Row("web", "service.web", "exited", "(1)")
    assert changes([before], [after, before.__class__("db", "", ABSENT)]) == [("web", "exited (1)"), ("db", ABSENT)]
    assert changes([before], []) == [("web", "gone")]
    told = Changes(PLAIN, as_json=False)
    first = told.lines(Picture("shop", "memory", (before,)))
    assert [line.partition("  ")[2] for line in first] == ["web  running"]
    assert told.lines(Picture("shop", "memory", (before,))) == []
    told = Changes(PLAIN, as_json=True)
    assert [json.loads(line)["state"] for line in told.lines(Picture("shop", "memory", (after,)))] == ["exited"]
