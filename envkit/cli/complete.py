"""Completion: a small script per shell that asks `envkit completion --words …` for what may come next."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from envkit.cli.commands import BY_NAME, COMMANDS
from envkit.cli.flags import BACKENDS, build_parser
from envkit.errors import EnvkitError

if TYPE_CHECKING:
    from envkit.cli.context import Context

_BASH = """\
_envkit() {
    local IFS=$'\\n'
    local found="$(envkit completion --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
    COMPREPLY=($(compgen -W "$found" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _envkit envkit"""

_ZSH = """\
#compdef envkit
_envkit() {
    local -a found
    found=(${(f)"$(envkit completion --words ${words[2,CURRENT]} 2>/dev/null)"})
    compadd -a found || _files
}
compdef _envkit envkit"""

_FISH = """\
complete -c envkit -f -a '(envkit completion --words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'"""

_TAKES_SERVICES = {
    "plan", "apply", "stop", "start", "restart", "kill", "pause", "unpause", "exec_", "run", "cp", "wait", "ps", "logs",
    "stats", "top", "port", "config", "build",
}  # fmt: skip


def script(shell: str) -> str:
    """The script to be sourced by the shell."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]


def candidates(context: Context, words: list[str]) -> list[str]:
    """What may stand in the place of the last of words."""
    current = words[-1] if words else ""
    name = next((word for word in words[:-1] if word in BY_NAME), None)
    if name is None:
        return [item for command in COMMANDS for item in (command.name, *command.aliases) if item.startswith(current)]
    if len(words) > 1 and words[-2] in ("--backend", "--runtime"):
        return list(BACKENDS)
    command = BY_NAME[name]
    parser: argparse.ArgumentParser = build_parser(command)
    if parts := _parts(parser):
        part = next((word for word in words[words.index(name) + 1 : -1] if word in parts), "")
        if not part and not current.startswith("-"):
            return [item for item in parts if item.startswith(current)]
        parser = parts.get(part, parser)
        if name == "volume" and not current.startswith("-"):
            return [item for item in _volumes(context, part, words) if item.startswith(current)]
    if current.startswith("-"):
        return sorted(flag for flag in parser._option_string_actions if flag.startswith(current))
    if command.function in _TAKES_SERVICES:
        return [item for item in _services(context) if item.startswith(current)]
    return []


def _parts(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The sub-commands of a command, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _volumes(context: Context, part: str, words: list[str]) -> list[str]:
    """Volumes, and what a part takes of snapshots."""
    try:
        rows = context.backend.volume_data().snapshots()
        if part == "restore" and words[-2] != part:
            return sorted({row.name for row in rows if words[-2] in (row.volume, row.key)})
        names = [row.name for row in context.backend.volumes(None)]
    except EnvkitError:
        return []
    kept = [f"{row.volume}@{row.name}" for row in rows] if part in ("rm", "export") else []
    return sorted({*names, *(row.volume for row in rows if part in ("restore", "snapshots")), *kept})


def _services(context: Context) -> list[str]:
    try:
        return sorted(context.load().environment.services)
    except EnvkitError:
        return []
