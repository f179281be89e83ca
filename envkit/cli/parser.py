"""argparse, for command lines that need explaining, and those that are written as Compose's users write them.

Like Compose's own, it takes flags between the words (`logs web -f db`), `--flag=true` and `--flag=false` for switches.
See `words` for the ordinary ones.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from envkit.errors import UsageError

_YES, _NO = ("1", "t", "true", "T", "TRUE", "True"), ("0", "f", "false", "F", "FALSE", "False")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        command = f" {self.prog.partition(' ')[2]}".rstrip()
        raise UsageError(message, hint=f"envkit{command} --help")

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
