"""spec.dockerfile: text to instructions, words to values, stages to what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from envkit.diagnostics import Diagnostics
from envkit.errors import InputError
from envkit.spec.dockerfile.inputs import context_paths
from envkit.spec.dockerfile.mounts import MountError, parse_mount
from envkit.spec.dockerfile.parse import parse
from envkit.spec.dockerfile.platform import is_native, platform_arguments
from envkit.spec.dockerfile.stages import Program, read_program
from envkit.spec.dockerfile.words import Expander, WordError, split_words

CASES = Path(__file__).parents[2] / "cases/dockerfile"


def rows(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load((CASES / f"{name}.yaml").read_text())
    return found


def program(text: str, **arguments: str) -> Program:
    return read_program(text, "Dockerfile", arguments, platform=platform_arguments())


@pytest.mark.parametrize("row", rows("words"), ids=lambda row: row["word"])
def test_words(row: dict[str, Any]) -> None:
    expander = Expander(row.get("with", {}), row.get("escape", "\\"))
    if "error" in row:
        with pytest.raises(WordError, match=row["error"]):
            expander.word(row["word"])
    else:
        assert expander.word(row["word"]) == row["is"]


def test_several_words_are_split_after_their_variables() -> None:
    expander = Expander({"A": "1 2"})
    assert expander.words("$A '3 4' \"$A\"") == ["1", "2", "3 4", "1 2"]
    assert split_words('a="b c" d\\ e') == ['a="b c"', "d\\ e"]


def test_a_heredoc_keeps_its_quotes() -> None:
    assert Expander({"A": "x"}).raw("'$A' \"$A\" \\$A") == "'x' \"x\" $A"


@pytest.mark.parametrize("row", rows("parse"), ids=lambda row: row["name"])
def test_instructions(row: dict[str, Any]) -> None:
    found = Diagnostics()
    made = parse(row["text"], "Dockerfile", found)
    assert not list(found)
    assert [
        [item.keyword, {flag.name: flag.value for flag in item.flags}, item.rest, [list(doc) for doc in item.heredocs]]
        for item in made.instructions
    ] == row["is"]


@pytest.mark.parametrize("row", rows("errors"), ids=lambda row: row["text"].encode("unicode_escape").decode())
def test_errors(row: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        program(row["text"])
    problem, *rest = [item for item in caught.value.diagnostics if item.is_error]
    assert not rest
    assert problem.code == row["code"]
    assert problem.source is not None
    assert [problem.source.line, problem.source.column] == row["at"]
    assert row["hint"] in problem.hint


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        program("FROM scratch\nRUM a\nCOPY b\nENV c\n")
    assert [item.source.line for item in caught.value.diagnostics if item.source] == [2, 3, 4]


def test_only_the_needed_stages_are_built() -> None:
    made = program(
        "FROM scratch AS a\nFROM scratch AS b\nFROM a AS c\nCOPY --from=b x y\nFROM scratch AS d\n"
        "RUN --mount=from=c,target=/x true\n"
    )
    assert [stage.title for stage in made.needed(made.target(""))] == ["a", "b", "c", "d"]
    assert [stage.title for stage in made.needed(made.target("C"))] == ["a", "b", "c"]
    assert [stage.title for stage in made.needed(made.target("1"))] == ["b"]
    with pytest.raises(InputError, match="1 problem"):
        made.target("e")


def test_arguments_before_from_count_for_from_alone() -> None:
    made = program("ARG A=base\nARG B=${A}-slim\nFROM $B AS ${TARGETARCH}\n", A="debian")
    assert made.stages[0].base == "debian-slim"
    assert made.arguments == {"A": "debian", "B": "debian-slim"}


def test_arguments_that_nothing_declares_are_named() -> None:
    assert program("FROM scratch\nARG A\n", A="1", C="2", HTTP_PROXY="p").unused == ("C",)


def test_a_context_stands_before_a_stage_and_an_image() -> None:
    made = read_program("FROM scratch AS a\nFROM a\n", "f", {}, platform={}, contexts=["a"])
    assert made.stages[1].base_stage is None


@pytest.mark.parametrize(
    "body, paths",
    [
        ("COPY a b/c /x/", ["a", "b/c"]), ("COPY . .", [""]), ("COPY a /x\nCOPY a/b /y", ["a", "a/b"]),
        ("COPY *.txt /x/", [" *.txt"]), ("COPY src/*/x.c /x/", ["src */x.c"]), ("COPY $X /x", [""]),
        ("COPY --from=o a /x", []),
        ("ADD https://e.org/x /x", []), ("RUN --mount=target=/x,source=d true", ["d"]),
        ("RUN --mount=target=/x true", [""]), ("COPY <<E /x\ny\nE", []), ('COPY ["a b", "/x"]', ["a b"]),
        ("COPY ../a /x", ["a"]),
    ],
)  # fmt: skip
def test_what_of_the_context_counts(body: str, paths: list[str]) -> None:
    found = context_paths(program(f"FROM scratch AS o\nFROM scratch\n{body}\n").stages)
    assert [f"{path} {pattern}" if pattern else path for path, pattern in found] == paths


@pytest.mark.parametrize(
    "text", ["type=cache", "type=secret", "type=x,target=/", "target=/x,colour=red", "type=tmpfs,target=/x,size=big"]
)
def test_mounts_that_are_wrong(text: str) -> None:
    with pytest.raises(MountError):
        parse_mount(text)


def test_mounts() -> None:
    bind = parse_mount("from=a,src=/s,dst=/t,rw")
    assert (bind.kind, bind.origin, bind.source, bind.target, bind.writable) == ("bind", "a", "/s", "/t", True)
    cache = parse_mount("type=cache,target=$T,sharing=locked,mode=0700,uid=5", lambda word: word.replace("$T", "/c"))
    assert (cache.target, cache.sharing, cache.mode, cache.uid, cache.writable) == ("/c", "locked", 0o700, 5, True)
    assert not parse_mount("target=/x").writable
    assert not parse_mount("type=cache,target=/x,readonly").writable
    assert parse_mount("type=tmpfs,target=/x,size=2m").size == 2 << 20


def test_platforms() -> None:
    assert is_native("") and is_native("linux") and is_native(f"linux/{platform_arguments()['TARGETARCH']}")
    assert not is_native("windows/amd64")
    assert not is_native("linux/s390x")
