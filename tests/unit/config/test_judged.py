"""Every case of tests/cases/config/judged: envkit's model equals Compose's, and what Compose refuses envkit refuses."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import judge
import pytest

from envkit.errors import InputError

CASES = {case.name: case for case in judge.cases()}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[tuple[Path, bool, str]]]:
    """Compose's answers, asked for two at a time while the tests run."""
    root = tmp_path_factory.mktemp("judged")

    def ask(index: int, case: judge.Case) -> tuple[Path, bool, str]:
        cwd = case.write(root / str(index) / "proj")
        answer = case.ask_compose(cwd)
        return cwd, answer.returncode == 0, answer.stdout if answer.returncode == 0 else answer.stderr

    pool = ThreadPoolExecutor(2)
    futures = {name: pool.submit(ask, index, case) for index, (name, case) in enumerate(CASES.items())}
    pool.shutdown(wait=False)
    return futures


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, answers: dict[str, Future[tuple[Path, bool, str]]]) -> None:
    cwd, accepted, said = answers[name].result(timeout=120)
    if not accepted:
        with pytest.raises(InputError) as caught:
            CASES[name].load(cwd)
        assert any(item.is_error for item in caught.value.diagnostics), said
        return
    expected = judge.undouble(json.loads(said))
    assert judge.canonical(CASES[name].load(cwd).plain) == judge.canonical(expected)
