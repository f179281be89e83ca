"""The live view under textual's Pilot, on the memory backend: what the keys do, and how it looks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from envkit.address import Address
from envkit.backend.base import LogEntry
from envkit.views.live.app import INTERRUPT, QUIT, LiveView
from envkit.views.live.screens import LogPane, LogScreen
from tests.support.live import Stage, picture_of, shown

Scene = Callable[[LiveView, Pilot[str]], Awaitable[None]]


@pytest.fixture(name="stage")
def _stage(tmp_path: os.PathLike[str]) -> Stage:
    return Stage(str(tmp_path))


def play(view: LiveView, scene: Scene, size: tuple[int, int] = (80, 24)) -> LiveView:
    """Let the scene happen on a screen of this size; the view, which has been left."""

    async def run() -> None:
        async with view.run_test(size=size) as pilot:
            await until(pilot, lambda: bool(view.rows))
            await scene(view, pilot)
        for thread in view.working:
            thread.join(5)

    asyncio.run(run())
    return view


async def until(pilot: Pilot[str], condition: Callable[[], bool], what: str = "") -> None:
    for _ in range(100):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError(f"{what or 'it'} never came:\n{shown(pilot.app)}")  # type: ignore[arg-type]


async def sees(view: LiveView, pilot: Pilot[str], *texts: str) -> None:
    for text in texts:
        await until(pilot, lambda text=text: text in shown(view), text)


def test_arrows_choose_and_the_log_is_that_of_the_chosen(stage: Stage) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await sees(view, pilot, "log of api", "the worker does not answer")
        await pilot.press("down")
        await sees(view, pilot, "log of cache")
        await pilot.press("j", "k", "j")
        await sees(view, pilot, "log of db", "ready to accept connections")
        stage.memory.world.end("shop", Address("service", "db"), 1)
        view.feed.hurry()
        await sees(view, pilot, "exited (1)", "ended with 1")
        assert view.row is not None and view.row.name == "db"
        await pilot.press("q")

    assert play(stage.view(), scene).return_value == QUIT
    assert not stage.calls


def test_restart_stop_and_start(stage: Stage) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await pilot.press("r")
        await sees(view, pilot, "api restarted (")
        await pilot.press("s")
        await sees(view, pilot, "api stopped (", "exited (0)", "s start")
        await pilot.press("s")
        await sees(view, pilot, "api started (", "s stop")
        stage.fail = "It would not"
        await pilot.press("r")
        await sees(view, pilot, "It would not: service.api (look closer)")

    play(stage.view(), scene)
    assert stage.calls == [(verb, "service.api") for verb in ("restart", "stop", "start", "restart")]


def test_drift_is_shown_with_its_fields_and_a_applies(stage: Stage) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        assert "drift" not in shown(view) and "a apply" not in shown(view)
        await pilot.press("a")
        await sees(view, pilot, "there is nothing to apply")
        stage.drift()
        view.feed.hurry()
        await sees(view, pilot, "limits.memory  536870912 -> 67108864", "2 drifted", "a apply")
        await pilot.press("a")
        await sees(view, pilot, "Apply this to shop?")
        await pilot.press("r", "n")
        await until(pilot, lambda: len(view.screen_stack) == 1)
        assert not stage.calls
        await pilot.press("a")
        await sees(view, pilot, "Apply this to shop?")
        await pilot.press("y")
        await sees(view, pilot, "applied: 2 changes (")
        await until(pilot, lambda: "drift" not in shown(view))

    play(stage.view(), scene)
    assert stage.calls == [("apply",)]


def test_the_filter_narrows_and_escape_widens(stage: Stage) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await pilot.press("slash", *"web")
        await until(pilot, lambda: [row.name for row in view.rows] == ["web", "web[2]"])
        assert not stage.calls, "letters are typed, not obeyed"
        await pilot.press("enter", "down", "r")
        await sees(view, pilot, "web[2] restarted", "filter: web")
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: not view.rows)
        await pilot.press("r")
        await pilot.press("escape")
        await until(pilot, lambda: len(view.rows) == 7)
        await pilot.press("slash", *"unhealthy")
        await until(pilot, lambda: [row.name for row in view.rows] == ["worker"])

    play(stage.view(), scene)
    assert stage.calls == [("restart", "service.web[2]")]


def test_the_log_on_the_whole_screen(stage: Stage) -> None:
    log = stage.memory.world.find("shop", Address("service", "api")).log
    log += [f"line {number} " + "x" * 90 for number in range(80)]

    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await sees(view, pilot, "line 79")
        await pilot.press("l")
        await sees(view, pilot, "line 79", "Esc back")
        assert isinstance(view.screen, LogScreen)
        await pilot.press("pageup")
        await until(pilot, lambda: "line 79" not in shown(view))
        await pilot.press("end")
        await sees(view, pilot, "line 79")
        await pilot.press("w")
        await until(pilot, lambda: shown(view).count("xxx\n") > 18 or "line 60" in shown(view), "cut lines")
        await pilot.press("r", "q")
        await until(pilot, lambda: len(view.screen_stack) == 1)
        await pilot.press("pageup")
        await sees(view, pilot, "scrolled, End follows")
        await pilot.press("end")
        await until(pilot, lambda: "scrolled" not in shown(view))
        await pilot.press("w")
        await sees(view, pilot, "lines are cut")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(view.screen, LogScreen))

    play(stage.view(), scene)
    assert not stage.calls


def test_new_lines_are_added_and_the_rest_is_left_alone(stage: Stage) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        log = view.query_one(LogPane)
        await until(pilot, lambda: len(log.lines) > 0)
        journal = view.feed.journal("service.api")
        before = list(log.lines)
        journal.add("one more")
        log.read(journal)
        assert len(log.lines) == len(before) + 1 and log.lines[0] is before[0]

    play(stage.view(), scene)


def test_a_shell_has_the_terminal(stage: Stage) -> None:
    view = stage.view()
    lent: list[str] = []

    @contextlib.contextmanager
    def suspend():  # type: ignore[no-untyped-def]
        lent.append("lent")
        yield
        lent.append("back")

    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await pilot.press("e")
        await sees(view, pilot, "this terminal cannot be lent; envkit exec api sh")
        view.suspend = suspend  # type: ignore[method-assign]
        await pilot.press("e")
        await sees(view, pilot, "the shell in api ended with code 3")
        await pilot.press("down", "down", "down", "e")
        await sees(view, pilot, "migrate does not run")

    play(view, scene)
    assert (stage.calls, lent) == ([("shell", "service.api")], ["lent", "back"])


@pytest.mark.parametrize(
    ("kind", "key", "result"),
    [("status", "q", QUIT), ("status", "ctrl+q", QUIT), ("status", "ctrl+c", INTERRUPT), ("up", "q", QUIT),
     ("up", "ctrl+c", INTERRUPT)],
)  # fmt: skip
def test_leaving(stage: Stage, kind: str, key: str, result: str) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        assert ("^C stop all" in shown(view)) == ("leave running" in shown(view)) == (kind == "up")
        await pilot.press("question_mark")
        await sees(view, pilot, "choose a service", "stop the services" if kind == "up" else "nothing is stopped")
        if key == "q":
            await pilot.press("q")
            await until(pilot, lambda: len(view.screen_stack) == 1)
        await pilot.press(key)

    assert play(stage.view(kind=kind), scene).return_value == result


def test_it_follows_the_size_of_the_terminal(stage: Stage) -> None:
    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await sees(view, pilot, "8080->80")
        for width, height in ((160, 48), (60, 16), (40, 10), (24, 6), (80, 24)):
            await pilot.resize_terminal(width, height)
            await until(pilot, lambda width=width: view.size.width == width)
            await pilot.pause(0.05)
            text = shown(view)
            heads = [name for name in ("SERVICE", "STATE", "HEALTH", "CPU", "MEMORY", "PORTS") if name in text]
            assert len(heads) >= min(6, width // 12), f"{width}:\n{text}"
            assert "q quit" in text
            assert ("127.0.0.1:8080->80/tcp" in text) == (width == 160)

    play(stage.view(), scene)


def test_without_colour_nothing_is_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stage.drift()
    view = stage.view(theme="ansi-dark")

    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await sees(view, pilot, "exited (137)", "unhealthy", "limits.memory")
        styles = {str(segment.style.color) for strip in drawn(view) for segment in strip if segment.style}
        assert styles <= {"None", "Color('default', ColorType.DEFAULT)"}, styles
        table = view.query_one(DataTable)
        assert table.get_component_rich_style("datatable--cursor").reverse, "the chosen row is seen"

    play(view, scene)


def drawn(view: LiveView):  # type: ignore[no-untyped-def]
    return [strip.apply_filter(view._filters[-1], view.screen.styles.background) for strip in
            (view.screen._compositor.render_strips())]  # fmt: skip


@pytest.mark.screens
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_screenshots(stage: Stage, theme: str, size: tuple[int, int], tmp_path: os.PathLike[str]) -> None:
    """Every column stands under its head, nothing is written over the edge, and the picture can be made."""
    stage.drift()

    async def scene(view: LiveView, pilot: Pilot[str]) -> None:
        await sees(view, pilot, "limits.memory", "the worker does not answer", "a apply", "unhealthy")
        lines = shown(view).splitlines()
        assert len(lines) == size[1] and all(len(line) <= size[0] for line in lines)
        head = next(line for line in lines if "SERVICE" in line)
        row = next(line for line in lines if line.startswith(" db "))
        at = head.index("STATE")
        assert row[at : at + 7] == "running" and head.rstrip()[-6:] == "UPTIME"
        assert row.rstrip().endswith("4d 0h") and len(row.rstrip()) == len(head.rstrip())
        place = os.environ.get("ENVKIT_SCREENSHOTS") or os.fspath(tmp_path)
        path = os.path.join(place, f"live-{theme}-{size[0]}x{size[1]}.png")
        picture_of(view.export_screenshot(title="envkit status --watch"), path)
        with open(path, "rb") as file:
            content = file.read()
        assert content.startswith(b"\x89PNG") and len(content) > 20_000

    play(stage.view(theme=f"envkit-{theme}"), scene, size)


def test_following_again_brings_only_what_is_new(stage: Stage) -> None:
    feed, lines = stage.feed(), ["one", "one", "two"]
    stage.memory.logs = lambda environment, query: iter(  # type: ignore[method-assign]
        [LogEntry("db", 1, "", "stdout", line) for line in lines]
    )
    feed._ask_logs()
    journal = feed.journal("service.db")
    assert list(journal.lines) == lines
    lines.append("three")
    feed._ask_logs()
    assert feed.journal("service.db") is journal
    assert list(journal.lines) == lines
    lines[1:] = ["anew"]
    feed._ask_logs()
    assert list(feed.journal("service.db").lines) == ["one", "anew"]
