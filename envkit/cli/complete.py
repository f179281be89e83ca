"""Completion: a small script per shell that asks `envkit completion --words …` for what may come next."""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING

from envkit.cli.commands import BY_NAME, COMMANDS
from envkit.cli.flags import build_parser, split
from envkit.cli.known import KNOWN, services

if TYPE_CHECKING:
    from envkit.cli.context import Context

_BASH = """\
_envkit() {
    local line="${COMP_LINE:0:COMP_POINT}" word found prefix
    local -a words
    read -ra words <<<"$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    prefix="${word%"${word##*[@:=]}"}"  # readline begins a new word there
    COMPREPLY=()
    while IFS= read -r found; do COMPREPLY+=("${found#"$prefix"}"); done \\
        < <(envkit completion --words "${words[@]:1}" 2>/dev/null)
    [[ "${COMPREPLY[0]-}" == *[:=] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _envkit envkit"""

_ZSH = """\
#compdef envkit
_envkit() {
    local -a found
    found=("${(@f)$(envkit completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    (( $#found )) && compadd -a found || _files
}
if [[ "$funcstack[1]" == _envkit ]]; then _envkit "$@"; else compdef _envkit envkit; fi"""

_FISH = """\
complete -c envkit -a '(envkit completion --words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'"""

_PLACES = {
    "-f": "file", "--file": "file", "-p": "project_name", "--project-name": "project_name", "--target": "target",
    "--project-directory": "project_directory", "--env-file": "env_file", "--profile": "profile",
    "--backend": "backend", "--runtime": "backend", "--context": "context",
}  # fmt: skip
"""Flags of the line that is being written which say what environment is meant -> their option."""


def script(shell: str) -> str:
    """The script to be sourced by the shell."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]


def candidates(context: Context, words: list[str]) -> list[str]:
    """What may stand in the place of the last of words. Nothing where only a file may."""
    *done, current = words or [""]
    before, name, rest = split(done)
    _obey(context, before, rest)
    flag, equals, begun = current.partition("=") if current.startswith("--") else ("", "", current)
    if equals:
        return [f"{flag}={item}" for item in _values(context, name, rest, flag) if item.startswith(begun)]
    if done and done[-1].startswith("-") and done[-1] != "-":
        values = _values(context, name, rest[:-1], done[-1])
        if values or _takes_value(name, rest, done[-1]):
            return [item for item in values if item.startswith(current)]
    return [item for item in _offered(context, name, rest, current) if item.startswith(current)]


def _offered(context: Context, name: str | None, rest: list[str], current: str) -> list[str]:
    """Commands, flags, sub-commands, or what a word of the command may be."""
    if name is None:
        if not current.startswith("-"):
            return [item for command in COMMANDS for item in (command.name, *command.aliases)]
        return sorted(_flags(build_parser(COMMANDS[0]), shared=True))
    if name not in BY_NAME:
        return []
    parser: argparse.ArgumentParser = build_parser(BY_NAME[name])
    if parts := _parts(parser):
        at = next((number for number, word in enumerate(rest) if word in parts), None)
        if at is None and not current.startswith("-"):
            return list(parts)
        if at is not None:
            parser, name, rest = parts[rest[at]], f"{name} {rest[at]}", rest[at + 1 :]
    if current.startswith("-"):
        return sorted(_flags(parser))
    return _words(context, name, parser, [word for word in rest if not word.startswith("-")])


def _words(context: Context, name: str, parser: argparse.ArgumentParser, given: list[str]) -> list[str]:
    """What a word of a command may be, by the command or by what its declaration calls it."""
    if name in KNOWN:
        return KNOWN[name](context, given)
    wanted = [action for action in parser._actions if not action.option_strings]
    for action in wanted:
        if action.choices is not None and not given:
            return [str(item) for item in action.choices]
        if action.dest == "services" or (action.dest == "service" and not given):
            return services(context)
    return []


def _values(context: Context, name: str | None, rest: list[str], flag: str) -> list[str]:
    """What may stand behind a flag."""
    if flag in KNOWN:
        return KNOWN[flag](context, rest)
    action = _action(name, rest, flag)
    return [str(item) for item in action.choices] if action is not None and action.choices is not None else []


def _takes_value(name: str | None, rest: list[str], flag: str) -> bool:
    action = _action(name, rest, flag)
    return action is not None and action.nargs != 0


def _action(name: str | None, rest: list[str], flag: str) -> argparse.Action | None:
    """What a flag is declared as, where the line stands now."""
    parser = build_parser(BY_NAME[name] if name in BY_NAME else COMMANDS[0])
    parts = _parts(parser)
    part = next((parts[word] for word in rest if word in parts), parser)
    return part._option_string_actions.get(flag)


def _flags(parser: argparse.ArgumentParser, *, shared: bool = False) -> list[str]:
    """The flags that help names; shared: only those of every command."""
    groups = [group for group in parser._action_groups if not shared or group.title == "options of every command"]
    return [flag for group in groups for action in group._group_actions if action.help != argparse.SUPPRESS
            for flag in action.option_strings]  # fmt: skip


def _parts(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The sub-commands of a command, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _obey(context: Context, before: list[str], rest: list[str]) -> None:
    """Look at the environment that the line means: -f and -p before the command, the long ones anywhere."""
    for words, flags in ((before, _PLACES), (rest, {key: item for key, item in _PLACES.items() if key[:2] == "--"})):
        for flag, given in pairwise(words):
            if (option := flags.get(flag)) is not None:
                many = option in ("file", "env_file", "profile")
                setattr(context.options, option, [*(getattr(context.options, option) or ()), given] if many else given)
