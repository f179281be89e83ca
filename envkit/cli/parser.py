"""argparse, for command lines that need explaining: see `words` for the others."""

from __future__ import annotations

import argparse
from typing import NoReturn

from envkit.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        command = f" {self.prog.partition(' ')[2]}".rstrip()
        raise UsageError(message, hint=f"envkit{command} --help")

    def taken(self) -> tuple[set[str], set[str]]:
        """(flags, destinations) that are declared already."""
        return set(self._option_string_actions), {action.dest for action in self._actions}
