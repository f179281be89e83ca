"""How a command line is read."""

import pytest

from envkit.cli.commands import COMMANDS
from envkit.cli.flags import build_parser, overview, parse
from envkit.errors import UsageError


def test_global_flags_are_taken_before_and_after_the_command() -> None:
    command, options = parse(["-f", "a.yaml", "--profile", "x", "plan", "-f", "b.yaml", "--json"])
    assert command is not None
    assert command.name == "plan"
    assert options.file == ["a.yaml", "b.yaml"]
    assert options.profile == ["x"]
    assert options.json is True


def test_a_command_may_claim_a_global_letter() -> None:
    _, options = parse(["-f", "a.yaml", "logs", "-f", "web"])
    assert options.file == ["a.yaml"]
    assert options.follow is True
    assert options.services == ["web"]


def test_exec_leaves_the_commands_own_flags_alone() -> None:
    _, options = parse(["exec", "-T", "-u", "app", "web", "ls", "-l", "--json"])
    assert options.command == ["ls", "-l", "--json"]
    assert options.user == "app"
    assert options.json is False


def test_aliases_of_compose_are_known() -> None:
    command, _ = parse(["up", "-d"])
    assert command is not None
    assert command.name == "up"


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["aply"], "did you mean `envkit apply`?"),
        (["frobnicate"], "`envkit --help` lists the commands"),
        (["plan", "--nonsense"], "envkit plan --help"),
        (["--backend", "vms", "plan"], "envkit --help"),
    ],
)
def test_what_cannot_be_understood_says_what_to_do(argv: list[str], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(argv)
    assert caught.value.hint == hint


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_help_text(command) -> None:  # type: ignore[no-untyped-def]
    text = build_parser(command).format_help()
    assert command.help[1:] in text.replace("\n", " ")
    assert command.name in overview()
