"""Projects made at random from the schema: envkit and Compose take and refuse the same, and make the same models.

The seeds are fixed, so that a run means something on its own; `python -m tests.unit.config.test_differential KIND FROM
COUNT` looks at others and prints every difference.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envkit.errors import InputError
from tests.support import judge
from tests.support.composer import Composer

SEEDS = {"attribute": range(50), "merged": range(60), "project": range(40)}


def difference(case: judge.Case, cwd: Path) -> str | None:
    """What is not as Compose has it, None when all is; of no meaning where Compose itself falls over."""
    said = case.ask_compose(cwd)
    if "goroutine " in said.stderr:
        return None
    try:
        model = judge.canonical(case.load(cwd).plain)
    except InputError as error:
        words = "; ".join(f"{item.summary} {item.detail}" for item in error.diagnostics if item.is_error)
        return None if said.returncode else f"refused: {words}"
    if said.returncode:
        return f"accepted, where Compose says: {said.stderr.strip().splitlines()[-1]}"
    expected = judge.canonical(judge.undouble(json.loads(said.stdout)))
    lines = zip(expected.splitlines(), model.splitlines(), strict=False)
    return None if model == expected else next((f"{a} became {b}" for a, b in lines if a != b), "more or fewer lines")


def differences(kind: str, seeds: range, root: Path) -> Iterator[str]:
    def one(seed: int) -> str | None:
        case = getattr(Composer(seed), kind)()
        here = root / f"{kind}-{seed}"
        found = difference(case, case.write(here / "proj"))
        shutil.rmtree(here)
        if found is None:
            return None
        files = "\n".join(f"--- {name}\n{case.files[name]}" for name in case.files)
        return f"{kind} {seed}: {found}\n{' '.join(case.args)}\n{files}"

    with ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(one, seeds))


@pytest.mark.parametrize("kind", SEEDS)
def test_random_projects_are_read_as_compose_reads_them(kind: str, tmp_path: Path) -> None:
    found = list(differences(kind, SEEDS[kind], tmp_path))
    assert not found, "\n\n".join(found[:3])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        start, count = int(sys.argv[2]), int(sys.argv[3])
        for text in differences(sys.argv[1], range(start, start + count), Path(directory)):
            sys.stdout.write(f"{text}\n\n")
