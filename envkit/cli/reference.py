"""The generated pages of the reference: `python -m envkit.cli.reference docs/reference` writes commands.md, yaml.md
and diagnostics.md anew. Their source is the table of commands, the flags that are declared, the JSON schema, and what
`envkit explain` knows of codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from envkit.cli.commands import COMMANDS, Command
from envkit.cli.flags import build_parser
from envkit.views.lessons import page
from envkit.views.reference import yaml_page

_SHARED = "options of every command"
_NEVER = (argparse.SUPPRESS, "==SUPPRESS==")


def pages() -> dict[str, str]:
    """File name -> text."""
    from envkit.spec.schema import generate

    yaml = yaml_page(generate("environment"))
    return {"commands.md": "\n".join(_commands()), "yaml.md": yaml, "diagnostics.md": page()}


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield "Every command and flag, generated from what the program declares. `envkit COMMAND --help` says the same.\n"
    yield "## Flags of every command\n"
    yield "They may stand before the command or after it.\n"
    yield from _flags(_group(build_parser(COMMANDS[0]), shared=True))
    for group in dict.fromkeys(command.group for command in COMMANDS):
        yield f"## {group}\n"
        for command in COMMANDS:
            if command.group == group:
                yield from _command(command)


def _command(command: Command) -> Iterator[str]:
    parser = build_parser(command)
    yield f"### {command.name}\n"
    also = f" Also called {' and '.join(f'`{name}`' for name in command.aliases)}." if command.aliases else ""
    yield f"{_sentence(command.help)}{also}\n"
    actions = _group(parser, shared=False)
    nested = next((item for item in actions if isinstance(item, argparse._SubParsersAction)), None)
    yield from _usage(f"envkit {command.name}", [item for item in actions if item is not nested], bool(nested))
    if nested is not None:
        helps = {item.dest: item.help or "" for item in nested._choices_actions}
        for name, inner in nested.choices.items():
            yield f"#### {command.name} {name}\n"
            yield f"{_sentence(helps.get(name, ''))}\n"
            yield from _usage(f"envkit {command.name} {name}", _group(inner, shared=False), False)
    if command.examples:
        yield "\n".join(["```console", *(f"$ {line}" for line in command.examples), "```\n"])


def _usage(name: str, actions: list[argparse.Action], nested: bool) -> Iterator[str]:
    """The line of usage, the words and the flags."""
    words = [_word(item) for item in actions if not item.option_strings]
    flags = ["[FLAGS]"] if any(item.option_strings for item in actions) else []
    yield "\n".join(["```text", " ".join([name, *flags, *(["COMMAND"] if nested else []), *words]), "```\n"])
    yield from _flags([item for item in actions if item.option_strings or item.help])


def _flags(actions: list[argparse.Action]) -> Iterator[str]:
    if not actions:
        return
    yield "| | |\n|---|---|"
    for item in actions:
        names = ", ".join(f"`{flag}`" for flag in item.option_strings)
        if not names:
            yield f"| `{_cell(_word(item))}` | {_cell(_help(item))} |"
            continue
        value = "" if item.nargs == 0 else " " + _cell(" | ".join(f"`{one}`" for one in _value(item).split("|")))
        yield f"| {names}{value} | {_cell(_help(item))} |"
    yield ""


def _group(parser: Any, *, shared: bool) -> list[argparse.Action]:
    """The parser's own flags and words, or those that it has in common with all others."""
    return [
        action for group in parser._action_groups for action in group._group_actions
        if (group.title == _SHARED) == shared and action.help not in _NEVER and action.dest != "help"
    ]  # fmt: skip


def _value(item: argparse.Action) -> str:
    if item.choices is not None:
        return "|".join(str(choice) for choice in item.choices)
    return str(item.metavar or item.dest.upper())


def _word(item: argparse.Action) -> str:
    """A positional word as usage shows it."""
    name = _value(item) if item.metavar or item.choices is not None else item.dest.upper()
    many = {"*": f"[{name}…]", "+": f"{name}…", "?": f"[{name}]", argparse.REMAINDER: f"[{name}…]"}
    return many.get(str(item.nargs), name)


def _help(item: argparse.Action) -> str:
    values = {**vars(item), "prog": "envkit"}
    return ((item.help or "") % values).strip()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(directory: str) -> None:
    """Write every page."""
    for name, text in pages().items():
        with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
            file.write(text.rstrip("\n") + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
