"""Every case of tests/cases/config/judged: envkit's model equals Compose's, and what Compose refuses envkit refuses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envkit.errors import InputError
from tests.support import judge

CASES = {case.name: case for case in judge.cases()}
NAMES = list(CASES)
BLOCK = 16
Answer = tuple[Path, bool, str]


class Compose:
    """Compose's answers, asked for a block of cases at a time, two at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, Answer] = {}

    def answer(self, name: str) -> Answer:
        if name not in self.answers:
            first = NAMES.index(name) // BLOCK * BLOCK
            block = NAMES[first : first + BLOCK]
            with ThreadPoolExecutor(2) as pool:
                self.answers.update(zip(block, pool.map(self._ask, block), strict=True))
        return self.answers[name]

    def _ask(self, name: str) -> Answer:
        cwd = CASES[name].write(self.root / str(NAMES.index(name)) / "proj")
        answer = CASES[name].ask_compose(cwd)
        return cwd, answer.returncode == 0, answer.stderr if answer.returncode else answer.stdout


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    return Compose(tmp_path_factory.mktemp("judged"))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, compose: Compose) -> None:
    cwd, accepted, said = compose.answer(name)
    if not accepted:
        with pytest.raises(InputError) as caught:
            CASES[name].load(cwd)
        assert any(item.is_error for item in caught.value.diagnostics), said
        return
    expected = judge.undouble(json.loads(said))
    assert judge.canonical(CASES[name].load(cwd).plain) == judge.canonical(expected)
