"""argparse, for command lines that need explaining, and those that are written as Compose's users write them.

Like Compose's own, it takes flags between the words (`logs web -f db`), `--flag=true` and `--flag=false` for switches.
See `words` for the ordinary ones.
"""

from __future__ import annotations

import argparse
import copy
import difflib
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from envkit.errors import UsageError

_YES, _NO = ("1", "t", "true", "T", "TRUE", "True"), ("0", "f", "false", "F", "FALSE", "False")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of leaving the process."""

    suppress = argparse.SUPPRESS
    examples: tuple[str, ...] = ()
    """Command lines that the help begins with."""

    def error(self, message: str) -> NoReturn:
        command = f"{self.prog} --help"
        known = [flag for parser in self.with_parts() for flag in parser._option_string_actions if flag[:2] == "--"]
        for word in message.split() if message.startswith("unrecognized arguments") else ():
            if word.startswith("--") and (near := difflib.get_close_matches(word.partition("=")[0], known, 1, 0.7)):
                raise UsageError(message, hint=f"did you mean {near[0]}? `{command}` has all flags")
        raise UsageError(message, hint=command)

    def with_parts(self) -> list[Parser]:
        """This one and those of its sub-commands."""
        parts = [action.choices.values() for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [self, *(part for choices in parts for part in choices)]

    def format_usage(self) -> str:
        """One line: flags stand below, each with its meaning."""
        words = [item for item in self._actions if not item.option_strings and item.help != argparse.SUPPRESS]
        return f"usage: {' '.join([self.prog, '[FLAGS]', *map(_name, words)])}\n"

    def format_help(self) -> str:
        """What it does, examples, usage, words, its own flags, and those of every command."""
        for action in self._actions:
            if action.help == argparse.SUPPRESS:
                action.help = argparse.SUPPRESS  # argparse asks by identity
        formatter = self._get_formatter()
        for group in self._action_groups:
            formatter.start_section({"positional arguments": "words"}.get(group.title or "", group.title))
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        examples = "".join(f"  {line}\n" for line in self.examples)
        parts = [f"{self.description}\n" if self.description else "", f"examples:\n{examples}" if examples else "",
                 self.format_usage(), formatter.format_help()]  # fmt: skip
        return "\n".join(part for part in parts if part)

    def taken(self) -> tuple[set[str], set[str]]:
        """(flags, destinations) that are declared already."""
        return set(self._option_string_actions), {action.dest for action in self._actions}

    def read(self, words: Sequence[str], into: argparse.Namespace) -> None:
        """parse_args into a namespace. Raises UsageError; SystemExit after --help."""
        switches: dict[str, bool] = {}
        plain = list(self._without_values(words, switches))
        attempt = copy.copy(into)
        try:
            self.parse_args(plain, attempt)
        except UsageError as error:
            if not str(error).startswith("unrecognized arguments") or self._takes_rest():
                raise
            attempt = copy.copy(into)
            try:
                self.parse_intermixed_args(plain, attempt)
            except (UsageError, TypeError):
                raise error from None
        vars(into).update(vars(attempt))
        vars(into).update(switches)

    def _takes_rest(self) -> bool:
        return any(action.nargs in (argparse.REMAINDER, argparse.PARSER) for action in self._actions)

    def _without_values(self, words: Sequence[str], switches: dict[str, bool]) -> Iterator[str]:
        """The words with `--switch=true` as `--switch`, and `--switch=false` left out and noted in switches."""
        actions: dict[str, Any] = self._option_string_actions
        at, ended = 0, False
        while at < len(words):
            word = words[at]
            at += 1
            if ended or not word.startswith("-") or word == "-":
                ended = ended or self._takes_rest()  # what follows is somebody else's command line
                yield word
                continue
            name, equals, value = word.partition("=")
            action = actions.get(name)
            if action is None or action.nargs != 0:
                yield word
                if action is not None and not equals and at < len(words):
                    yield words[at]
                    at += 1
                ended = ended or word == "--"
            elif equals and value in _NO:
                switches[action.dest] = not action.const
            elif equals and value in _YES:
                yield name
                switches.pop(action.dest, None)
            else:
                yield word


def _name(action: argparse.Action) -> str:
    """A word in a line of usage."""
    name = str(action.metavar or action.dest.upper()) if action.choices is None else "|".join(map(str, action.choices))
    many = {"*": f"[{name} ...]", "+": f"{name} ...", "?": f"[{name}]", argparse.REMAINDER: f"[{name} ...]"}
    return "COMMAND ..." if action.nargs == argparse.PARSER else many.get(str(action.nargs), name)
