"""Following logs and events: new instances, replaced ones, rotation of the event log, the end of it all."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from envkit.backend.base import LogQuery
from envkit.backend.embedded import events
from envkit.backend.embedded.logs import logs
from envkit.host.home import Home
from tests.unit.embedded.handmade import wait_for


class Follower:
    """Collects what an iterator gives, in a thread of its own."""

    def __init__(self, rows: Iterator[Any], text: Callable[[Any], str]) -> None:
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._run, args=(rows, text), daemon=True)
        self._thread.start()

    def _run(self, rows: Iterator[Any], text: Callable[[Any], str]) -> None:
        for row in rows:
            self.seen.append(text(row))

    def until(self, *expected: str) -> None:
        wait_for(lambda: self.seen == list(expected), f"{expected}, and not {self.seen}")

    def ended(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


def write(directory: Path, text: str, tag: str = "F") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "log", "a", encoding="utf-8") as file:
        moment = time.time_ns()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9)) + f".{moment % 10**9:09d}+00:00"
        file.write(f"{stamp} stdout {tag} {text}\n")


def test_logs_follow_whatever_comes_and_goes(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    base = Path(home.instances("shop"))
    write(base / "web.1", "old")
    write(base / "web.1", "one")
    follower = Follower(logs(home, "shop", LogQuery(("web",), follow=True, tail=1)), lambda row: row.line)
    follower.until("one")
    write(base / "web.1", "two")
    follower.until("one", "two")
    write(base / "db.1", "of no interest")
    write(base / "web.2", "three")
    follower.until("one", "two", "three")
    write(base / "web.1", "four")
    shutil.rmtree(base / "web.1")
    write(base / "web.1", "five")
    follower.until("one", "two", "three", "four", "five")
    os.rename(base / "web.1/log", base / "web.1/log.1")
    write(base / "web.1", "six")
    write(base / "web.1", "a prompt", "P")
    follower.until("one", "two", "three", "four", "five", "six", "a prompt")  # its writer is gone: that is all
    shutil.rmtree(base)
    follower.ended()


def test_logs_end_at_until(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    write(Path(home.instances("shop"), "web.1"), "one")
    follower = Follower(logs(home, "shop", LogQuery(follow=True, until=time.time() + 0.5)), lambda row: row.line)
    write(Path(home.instances("shop"), "web.1"), "two")
    follower.ended()
    assert follower.seen == ["one", "two"]


def test_events(tmp_path: Path, monkeypatch: Any) -> None:
    directory = str(tmp_path)
    events.record(directory, "service.web", "start")
    time.sleep(0.01)
    middle = time.time()
    time.sleep(0.01)
    events.record(directory, "service.web", "die", "exit code 1")
    assert [row["event"] for row in events.events(directory)] == ["start", "die"]
    assert next(events.events(directory, middle)).items() >= {
        "address": "service.web", "event": "die", "detail": "exit code 1",
    }.items()  # fmt: skip
    follower = Follower(events.events(directory, follow=True), lambda row: row["event"])
    follower.until("start", "die")
    monkeypatch.setattr(events, "_LIMIT", 100)
    for name in ("a", "b", "c"):
        events.record(directory, "service.web", name)
        time.sleep(0.02)
    follower.until("start", "die", "a", "b", "c")
    assert os.path.exists(tmp_path / "events.jsonl.1")
    events.record(str(tmp_path / "nowhere"), "service.web", "start")
    shutil.rmtree(tmp_path)
    follower.ended()
