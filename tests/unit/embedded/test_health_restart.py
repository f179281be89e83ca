"""When probes happen, what they mean, and when an instance comes back: without processes or a clock."""

import pytest

from envkit.backend.embedded import health, restart
from envkit.backend.embedded.health import Check, Monitor


def run(monitor: Monitor, until: float, passes: "dict[float, bool] | bool", takes: float = 0.01) -> list[float]:
    """Probe as the supervisor does until the given time; passes: the result, or results from a time on."""
    starts: list[float] = []
    while (due := monitor.due()) <= until:
        starts.append(due)
        good = passes if isinstance(passes, bool) else [value for at, value in passes.items() if at <= due][-1]
        monitor.finished(due, due + takes, 0 if good else 1, "")
    return starts


@pytest.mark.parametrize(
    ("spec", "argv"),
    [
        ({"test": ["CMD", "a", "b"]}, ["a", "b"]),
        ({"test": ["CMD-SHELL", "a | b"]}, ["/bin/sh", "-c", "a | b"]),
        ({"test": ["NONE"]}, None),
        ({"interval": 3.0}, None),
        (None, None),
    ],
)
def test_argv(spec: dict[str, object] | None, argv: list[str] | None) -> None:
    assert health.argv_of(spec) == argv


def test_first_success_is_found_early() -> None:
    monitor = Monitor(Check({"test": ["CMD", "x"], "interval": 30.0}), 0.0, 7)
    run(monitor, 5.0, {0.0: False, 0.9: True})
    assert monitor.status == health.HEALTHY
    assert monitor.since < 2.0


def test_early_failures_mean_nothing_and_counted_ones_do() -> None:
    monitor = Monitor(Check({"test": ["CMD", "x"], "interval": 10.0, "retries": 3}), 0.0, 7)
    starts = run(monitor, 29.9, False)
    assert monitor.status == health.STARTING
    assert len(starts) > 8
    assert monitor.failing_streak == 2
    run(monitor, 31.0, False)
    assert monitor.status == health.UNHEALTHY
    assert monitor.failing_streak == 3


def test_after_success_the_interval_counts_from_the_end() -> None:
    monitor = Monitor(Check({"test": ["CMD", "x"], "interval": 2.0, "retries": 2}), 0.0, 7)
    starts = run(monitor, 9.0, True, takes=1.0)
    assert starts == pytest.approx([0.05, 3.05, 6.05])
    run(monitor, 30.0, False)
    assert monitor.status == health.UNHEALTHY
    run(monitor, 40.0, True)
    assert monitor.status == health.HEALTHY
    assert monitor.failing_streak == 0


def test_start_period_forgives_until_the_first_success() -> None:
    check = Check({"test": ["CMD", "x"], "interval": 1.0, "retries": 1, "start_period": 20.0, "start_interval": 0.5})
    monitor = Monitor(check, 0.0, 7)
    run(monitor, 19.0, False)
    assert (monitor.status, monitor.failing_streak) == (health.STARTING, 0)
    early = Monitor(check, 0.0, 7)
    run(early, 19.0, {0.0: True, 2.0: False})
    assert early.status == health.UNHEALTHY
    run(monitor, 21.5, False)
    assert monitor.status == health.UNHEALTHY


def test_a_new_supervisor_goes_on() -> None:
    check = Check({"test": ["CMD", "x"], "interval": 1.0, "retries": 3})
    monitor = Monitor(check, 0.0, 7)
    run(monitor, 5.0, {0.0: True, 3.0: False})
    kept = monitor.to_json()
    assert len(kept["log"]) <= 5
    again = Monitor(check, 0.0, 7)
    again.resume(kept)
    assert (again.status, again.failing_streak, again.due()) == (
        monitor.status, monitor.failing_streak, pytest.approx(monitor.due()),
    )  # fmt: skip
    other_life = Monitor(check, 0.0, 8)
    other_life.resume(kept)
    assert other_life.status == health.STARTING


@pytest.mark.parametrize(
    ("policy", "code", "attempts", "expected"),
    [
        ({"policy": "no"}, 1, 0, False),
        ({"policy": "always"}, 0, 50, True),
        ({"policy": "unless-stopped"}, 0, 50, True),
        ({"policy": "on-failure"}, 0, 0, False),
        ({"policy": "on-failure"}, 3, 99, True),
        ({"policy": "on-failure"}, None, 0, True),
        ({"policy": "on-failure", "max_attempts": 2}, 1, 1, True),
        ({"policy": "on-failure", "max_attempts": 2}, 1, 2, False),
        ({"policy": "always", "max_attempts": 2}, 0, 2, False),
    ],
)
def test_restart_policy(policy: dict[str, object], code: int | None, attempts: int, expected: bool) -> None:
    assert restart.wanted(policy, code, attempts) is expected


def test_pauses_double_to_a_minute() -> None:
    assert [restart.pause({}, n) for n in (0, 1, 2, 5)] == pytest.approx([0.1, 0.2, 0.4, 3.2])
    assert restart.pause({}, 500) == 60.0
    assert restart.pause({"delay": 5.0}, 1) == 10.0
    assert restart.pause({"delay": 90.0}, 3) == 90.0


def test_a_long_life_ends_a_run_of_failures() -> None:
    assert not restart.is_well({}, 9.0)
    assert restart.is_well({}, 10.0)
    assert not restart.is_well({"window": 60.0}, 59.0)
