"""Laws of the pipeline's parts, on random input."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.config import dotenv
from envkit.config.merge import Merge
from envkit.config.parse import MAX_ALIASED, MAX_DEPTH, parse
from envkit.config.scalars import format_float, resolve
from envkit.config.template import substitute
from envkit.config.tree import Map, as_map, clone, plain, walk
from envkit.config.units import format_duration, parse_duration, split_command
from envkit.diagnostics import Diagnostics

words = st.text(alphabet=string.ascii_letters + "äß _-.", min_size=1, max_size=8)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
)  # fmt: skip
documents = st.dictionaries(
    words,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4)),
    max_size=5,
)


def tree(text: str) -> tuple[Any, Diagnostics]:
    problems = Diagnostics()
    found = parse(text, "f", problems)
    return (found[0][0] if found else None), problems


@given(documents)
def test_json_is_yaml(value: dict[str, Any]) -> None:
    read, problems = tree(json.dumps(value, ensure_ascii=False))
    assert not problems.items
    assert plain(read) == value
    assert plain(clone(read)) == value


@given(documents)
def test_every_value_knows_where_it_was_written(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for _, item, origin in walk(tree(text)[0]):
        assert origin.line == 1
        at = text[origin.column - 1 :]
        assert at.startswith(json.dumps(item, ensure_ascii=False)[:1])


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_end_in_a_tree_or_a_diagnostic(data: bytes) -> None:
    problems = Diagnostics()
    found = parse(data, "f", problems)
    assert problems.has_errors or all(root is None or not isinstance(root, bytes) for root, _ in found)
    for item in problems:
        assert item.source is not None and item.source.line >= 1 and item.source.column >= 1


def test_hostile_yaml_is_refused() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
    )
    codes = {
        "yaml-aliases": bomb,
        "yaml-depth": "[" * 100_000,
        "yaml-recursion": "a: &a {b: [*a]}",
        "yaml-syntax": "a: 'b",
        "yaml-alias": "a: *b",
    }
    for code, text in codes.items():
        _, problems = tree(text)
        assert [item.code for item in problems] == [code]
    assert MAX_DEPTH < 1000 and MAX_ALIASED < 10**6


@given(documents)
def test_merging_nothing_changes_nothing(value: dict[str, Any]) -> None:
    def made() -> Map:
        found: Map = as_map(value, None)
        return found

    problems = Diagnostics()
    assert plain(Merge(problems).documents(Map(), made())) == value
    assert plain(Merge(problems).documents(made(), Map())) == value
    assert not problems.items


@given(st.text(max_size=40))
def test_a_doubled_dollar_is_a_dollar(text: str) -> None:
    assert substitute(text.replace("$", "$$"), lambda _: "WRONG") == text


@given(st.text(string.ascii_letters + "-:?+ ", max_size=10), st.none() | st.text(max_size=5))
def test_defaults(default: str, value: str | None) -> None:
    assert substitute(f"<${{X:-{default}}}>", lambda _: value) == f"<{value or default}>"
    assert substitute(f"<${{X-{default}}}>", lambda _: value) == f"<{default if value is None else value}>"
    assert substitute(f"<${{X:+{default}}}>", lambda _: value) == f"<{default if value else ''}>"


@given(st.integers(-(10**18), 10**18))
def test_durations_read_back(nanoseconds: int) -> None:
    assert abs(parse_duration(format_duration(nanoseconds)) - nanoseconds) <= max(1, abs(nanoseconds) >> 52)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_back(value: float) -> None:
    assert float(format_float(value)) == value


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8), max_size=5))
def test_quoted_words_survive(parts: list[str]) -> None:
    quoted = " ".join("'" + part.replace("'", "'\"'\"'") + "'" for part in parts)
    assert split_command(quoted) == parts


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,6}", fullmatch=True), st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'\\"), max_size=10), max_size=5))  # fmt: skip
def test_single_quotes_in_env_files_are_literal(values: dict[str, str]) -> None:
    text = "".join(f"{name}='{value}'\n" for name, value in values.items())
    assert {name: found[0] for name, found in dotenv.parse(text, lambda _: "WRONG").items()} == values


@settings(max_examples=300)
@given(st.text("0123456789+-._eExXoObB:", max_size=10))
def test_plain_scalars_have_one_reading(text: str) -> None:
    value = resolve(text)
    assert isinstance(value, (str, int, float, type(None)))
    if isinstance(value, str) and type(value) is str:
        assert value == text


@pytest.mark.parametrize("loaded", [False, True], ids=["alone", "beside ruamel.yaml"])
def test_bytes_that_are_no_text_are_a_diagnostic(loaded: bool, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_bytes(b"name: a\nx: \x00\n")
    lines = ["import ruamel.yaml"] if loaded else []
    lines += ["from envkit.cli.main import main", f"raise SystemExit(main(['validate', '-f', {str(file)!r}]))"]
    script = "\n".join(lines)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "error[yaml-encoding]: The file is not UTF-8 text" in run.stderr
    assert "compose.yaml:2:4" in run.stderr
