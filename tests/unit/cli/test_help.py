"""Help begins with examples that work, a typing error gets a hint, and nothing of this needs a project or root."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from envkit.cli.commands import BY_NAME, COMMANDS, Command
from envkit.cli.flags import build_parser, overview, parse, summary
from envkit.cli.main import main
from envkit.errors import UsageError

EXAMPLES = [(command, line) for command in COMMANDS for line in command.examples]


@pytest.fixture
def nowhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and an installation that nobody may write to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVKIT_HOME", "/proc/envkit")
    monkeypatch.setenv("COLUMNS", "80")


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_begins_with_examples(command: Command, nowhere, capsys):
    text = shown([command.name, "--help"], capsys)
    first, blank, title, example, *_ = text.splitlines()
    assert first == f"{command.help[:1].upper()}{command.help[1:]}." and not blank
    assert title == "examples:" and "envkit" in example
    assert text.index("examples:") < text.index("usage:") < text.index("options of every command:")
    assert "SUPPRESS" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(("command", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_examples_are_understood(command: Command, line: str):
    words = shlex.split(line.partition("envkit ")[2].partition(" > ")[0].partition(" && ")[0].rstrip(")"))
    found, _ = parse(words)
    assert found is command


def parsers(parser: Any) -> Any:
    yield parser
    for action in parser._actions:
        if hasattr(action, "_name_parser_map"):
            yield from action.choices.values()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_flag_and_word_says_what_it_is(command: Command):
    silent = [f"{parser.prog} {action.dest}" for parser in parsers(build_parser(command)) for action in parser._actions
              if not action.help and action.option_strings]  # fmt: skip
    assert not silent


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("apply --biuld", "did you mean --build?"),
        ("--plian up", "did you mean --plain?"),
        ("volume snapshot data --puase", "did you mean --pause?"),
        ("dwon", "did you mean `envkit down`?"),
        ("valdate", "did you mean `envkit validate`?"),
        ("zzz", "`envkit --help`"),
        ("logs --qqq", "envkit logs --help"),
    ],
)
def test_did_you_mean(line: str, hint: str):
    with pytest.raises(UsageError) as raised:
        parse(line.split())
    assert hint in raised.value.hint


def test_a_wrong_word_is_a_usage_error(nowhere, capsys):
    assert main(["aply"]) == 125
    assert "did you mean `envkit apply`?" in capsys.readouterr().err


def test_alone_it_fits_a_screen(nowhere, capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == summary().splitlines()
    assert len(lines) < 24 and max(map(len, lines)) <= 80
    assert {item.name for item in COMMANDS} <= set(summary().split())


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_all_commands_with_a_line_each(words: list[str], nowhere, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out == overview() + "\n"


def test_help_for_a_command_by_its_word(nowhere, capsys):
    assert shown(["help", "ps"], capsys) == shown(["ps", "--help"], capsys)


def test_names_lead_to_commands():
    assert BY_NAME["convert"].name == "config" and BY_NAME["destroy"].name == "down"
