"""Reads an ordinary command line by the same declarations as argparse, in a tenth of a millisecond.

argparse, with gettext, re, locale and shutil, takes longer than a whole `envkit apply` that finds nothing to do. What
is declared to Words can be declared to an ArgumentParser. Whatever is not plainly right (an error, `--help`, joined
short flags, an abbreviation, sub-commands) is left to argparse, which then says what is wrong.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import Any
else:

    class Namespace:
        """argparse.Namespace: attributes."""

        def __init__(self, **values):
            self.__dict__.update(values)


__all__ = ("REMAINDER", "SUPPRESS", "Namespace", "Words")

SUPPRESS, REMAINDER = "==SUPPRESS==", "..."  # argparse.SUPPRESS, argparse.REMAINDER
_ACTIONS = ("store", "append", "store_true", "store_false", "store_const")
_WITH_VALUE = ("store", "append")
_KNOWN = frozenset({"action", "choices", "const", "default", "dest", "help", "metavar", "nargs", "type"})


class Words:
    """Declarations: the part of argparse.ArgumentParser that commands use."""

    suppress = SUPPRESS
    """The very object that means it: argparse asks by identity."""

    def __init__(self) -> None:
        self._flags: dict[str, dict[str, Any]] = {}
        self._all: list[dict[str, Any]] = []
        self._rest: dict[str, Any] | None = None
        self._plain = True

    def add_argument(self, *names: str, **settings: Any) -> None:
        """See argparse; anything that is not understood here makes parse() decline."""
        positional = not names[0].startswith("-")
        long = next((name for name in names if name.startswith("--")), names[0])
        entry = {"action": "store", "dest": long.lstrip("-").replace("-", "_"), **settings}
        if entry["action"] not in _ACTIONS or settings.keys() - _KNOWN:
            self._plain = False
        if positional:
            self._plain = self._plain and self._rest is None and settings.get("nargs") == "*"
            self._rest = entry
        elif "nargs" in settings:
            self._plain = False
        else:
            for name in names:
                self._flags[name] = entry
        self._all.append(entry)

    def add_argument_group(self, *_: object) -> Words:
        return self

    def __getattr__(self, name: str) -> Any:
        """Everything else that argparse has: declined."""
        self._plain = False
        return lambda *_, **__: Words()

    def with_parts(self) -> list[Words]:
        """See Parser: a command with sub-commands is argparse's."""
        return [self]

    def taken(self) -> tuple[set[str], set[str]]:
        """(flags, destinations) that are declared already."""
        return set(self._flags), {entry["dest"] for entry in self._all}

    def parse(self, words: Sequence[str], into: Namespace) -> bool:
        """Whether words were understood and `into` now has them; otherwise `into` is as it was."""
        found = self._read(words) if self._plain else None
        if found is None:
            return False
        for entry in self._all:
            default = entry.get("default", {"store_true": False, "store_false": True}.get(entry["action"]))
            if default != SUPPRESS and not hasattr(into, entry["dest"]):
                setattr(into, entry["dest"], default)
        for name, value in found.items():
            setattr(into, name, [*(getattr(into, name, None) or ()), *value] if isinstance(value, list) else value)
        return True

    def _read(self, words: Sequence[str]) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        rest: list[str] = []
        closed = False  # argparse takes the words of a positional argument in one piece
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if word == "-" or not word.startswith("-"):
                if closed or self._rest is None:
                    return None
                rest.append(word)
                continue
            closed = bool(rest)
            name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
            entry = self._flags.get(name)
            if entry is None:
                return None
            if entry["action"] not in _WITH_VALUE:
                if equals:
                    return None
                found[entry["dest"]] = {"store_true": True, "store_false": False}.get(
                    entry["action"], entry.get("const")
                )
                continue
            if not equals:
                if at == len(words) or (words[at].startswith("-") and words[at] != "-"):
                    return None
                value = words[at]
                at += 1
            if not _store(entry, value, found):
                return None
        if rest and self._rest is not None:
            found[self._rest["dest"]] = rest
        elif self._rest is not None and "default" not in self._rest:
            found[self._rest["dest"]] = []
        return found


def _store(entry: dict[str, Any], text: str, found: dict[str, Any]) -> bool:
    try:
        value = entry["type"](text) if "type" in entry else text
    except (ValueError, TypeError):
        return False
    if "choices" in entry and value not in entry["choices"]:
        return False
    if entry["action"] == "append":
        found.setdefault(entry["dest"], []).append(value)
    else:
        found[entry["dest"]] = value
    return True
