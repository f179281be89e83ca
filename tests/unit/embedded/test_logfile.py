"""The reader of conmon's log format, against files as conmon leaves them."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.backend.base import LogQuery
from envkit.backend.embedded import rotate
from envkit.backend.embedded.logfile import Clock, Log, parse
from envkit.backend.embedded.logs import last_lines, logs
from envkit.host.home import Home


def stamp(second: float) -> str:
    whole = int(second)
    return f"2026-01-01T00:{whole // 60:02d}:{whole % 60:02d}.{int(second % 1 * 1e9):09d}+00:00"


def entry(second: float, text: str, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{stamp(second)} {stream} {tag} {text}\n".encode()


def texts(log: Log, **options: int | None) -> list[str]:
    return [line.text.decode() for line in log.backlog(**options)]


EPOCH = 1767225600 * 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-01-01T00:00:00.000000001+00:00", EPOCH + 1),
        (b"2026-01-01T02:00:00.5+02:00", EPOCH + 500_000_000),
        (b"2025-12-31T18:30:00Z", EPOCH - 5 * 3600 * 10**9 - 1800 * 10**9),
        (b"2025-12-31T18:30:00.000000000-05:30", EPOCH),
    ],
)
def test_clock(text: bytes, expected: int) -> None:
    assert Clock().nanoseconds(text) == expected


@pytest.mark.parametrize("raw", [b"", b"rubbish", b"a b c d", b"2026-01-01T00:00:00Z stdout X text"])
def test_parse_refuses_what_conmon_did_not_write(raw: bytes) -> None:
    assert parse(raw) is None


def test_parts_are_joined_per_stream(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(
        entry(1, "ab", tag="P") + entry(2, "error", "stderr") + entry(3, "cd", tag="P") + entry(4, "ef")
        + entry(5, "prompt: ", tag="P")
    )  # fmt: skip
    log = Log(str(tmp_path))
    assert texts(log) == ["error", "abcdef"]
    assert log.waits
    assert [line.text for line in log.unfinished()] == [b"prompt: "]
    log.close()


@pytest.mark.parametrize("tail", [0, 1, 3, 4, 99, None])
def test_tail_equals_the_end_of_everything(tmp_path: Path, tail: int | None) -> None:
    chooser = random.Random(5)
    lines = [
        entry(number / 10, f"line {number} " + "x" * chooser.randrange(300), chooser.choice(["stdout", "stderr"]),
              chooser.choice("FFP"))
        for number in range(4000)
    ]  # fmt: skip
    for name, part in (("log.2", lines[:1500]), ("log.1", lines[1500:2500]), ("log", lines[2500:])):
        (tmp_path / name).write_bytes(b"".join(part))
    whole, ending = Log(str(tmp_path)), Log(str(tmp_path))
    everything = texts(whole)
    assert texts(ending, tail=tail) == (everything if tail is None else everything[len(everything) - tail :][:tail])
    assert whole.unfinished() == ending.unfinished()
    whole.close()
    ending.close()


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("FP")), max_size=30),
    st.integers(0, 12), st.integers(0, 30), st.integers(0, 30),
)  # fmt: skip
def test_tail_since_until_agree_with_filtering(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[str, str]], tail: int, since: int, until: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    (directory / "log").write_bytes(b"".join(entry(n, f"{n}", stream, tag) for n, (stream, tag) in enumerate(kinds)))
    everything = Log(str(directory))
    chosen = [
        line
        for line in everything.backlog()
        if EPOCH + since * 10**9 <= line.nanoseconds <= EPOCH + until * 10**9
    ]
    log = Log(str(directory))
    found = list(log.backlog(tail, EPOCH + since * 10**9, EPOCH + until * 10**9))
    assert found == (chosen[-tail:] if tail else [])
    everything.close()
    log.close()


def test_since_finds_its_place_in_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(entry(number / 100, "x" * 200) for number in range(20000)))
    log = Log(str(tmp_path))
    found = list(log.backlog(since=EPOCH + 150 * 10**9))
    assert len(found) == 5000
    assert found[0].nanoseconds == EPOCH + 150 * 10**9
    log.close()


def test_following_through_rotations(tmp_path: Path) -> None:
    live = tmp_path / "log"
    live.write_bytes(entry(1, "one") + entry(2, "tw", tag="P"))
    log = Log(str(tmp_path))
    assert texts(log) == ["one"]
    os.rename(live, tmp_path / "log.1")  # conmon has not noticed yet and goes on writing there
    with open(tmp_path / "log.1", "ab") as file:
        file.write(entry(3, "o") + entry(4, "three"))
    assert [line.text for line in log.more()] == [b"two", b"three"]
    with open(tmp_path / "log.1", "ab") as file:
        file.write(entry(5, "four"))
    live.write_bytes(entry(6, "five"))
    os.rename(tmp_path / "log.1", tmp_path / "log.2")
    os.rename(live, tmp_path / "log.1")
    live.write_bytes(entry(7, "six"))
    assert [line.text for line in log.more()] == [b"four", b"five", b"six"]
    assert list(log.more()) == []
    log.close()


def test_a_replaced_directory_is_read_from_its_beginning(tmp_path: Path) -> None:
    live = tmp_path / "log"
    live.write_bytes(entry(1, "old"))
    log = Log(str(tmp_path))
    assert texts(log) == ["old"]
    live.unlink()
    assert list(log.more()) == []
    live.write_bytes(entry(2, "new"))
    assert [line.text for line in log.more()] == [b"new"]
    log.close()


def test_instances_are_merged_by_time(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    base = Path(home.instances("shop"))
    for name, seconds in (("web.1", (1, 4)), ("web.2", (2, 5)), ("db.1", (3,)), ("web.run-aa", (1,))):
        (base / name).mkdir(parents=True)
        (base / name / "log").write_bytes(b"".join(entry(second, f"{name}\r") for second in seconds))
    rows = [(row.service, row.replica, row.line) for row in logs(home, "shop", LogQuery())]
    assert rows == [
        ("web", 1, "web.1"), ("web", 2, "web.2"), ("db", 1, "db.1"), ("web", 1, "web.1"), ("web", 2, "web.2"),
    ]  # fmt: skip
    assert [row.replica for row in logs(home, "shop", LogQuery(services=("web",), tail=1))] == [1, 2]
    assert [row.replica for row in logs(home, "shop", LogQuery(services=("web",), replica=2))] == [2, 2]
    assert last_lines(str(base / "web.1"), 1) == ["web.1"]


@pytest.mark.parametrize(
    ("logging", "expected"),
    [
        (None, None),
        ({"driver": "json-file"}, None),
        ({"driver": "local"}, (20 << 20, 5)),
        ({"options": {"max-size": "10m", "max-file": "3"}}, (10 << 20, 3)),
        ({"driver": "json-file", "options": {"max-size": "1k"}}, (1024, 1)),
        ({"driver": "json-file", "options": {"max-size": "-1"}}, None),
        ({"options": {"max-size": 4096, "max-file": 2}}, (4096, 2)),
    ],
)
def test_rotation_limits(logging: dict[str, object] | None, expected: tuple[int, int] | None) -> None:
    assert rotate.limits_of(logging) == expected
