"""Modes as chmod(1) writes them: octal, or symbolic such as `u=rwX,go=rX`. Source: POSIX chmod, "Operands"."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"(?P<who>[ugoa]*)(?P<actions>(?:[-+=][rwxXst]*)+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def is_mode(text: str) -> bool:
    """Whether new_mode can read it."""
    if re.fullmatch(r"[0-7]{1,5}", text):
        return True
    return bool(text) and all(_CLAUSE.fullmatch(clause) for clause in text.split(","))


def new_mode(text: str, mode: int, *, directory: bool = False) -> int:
    """What a mode becomes by text ("": it stays). Raises ValueError unless is_mode(text)."""
    if not text:
        return mode
    if re.fullmatch(r"[0-7]{1,5}", text):
        return int(text, 8) & 0o7777
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"{clause!r} is no mode")
        whom = match["who"].replace("a", "ugo") or "ugo"
        for operator, letters in _ACTION.findall(match["actions"]):
            mode = _changed(mode, whom, operator, letters, directory)
    return mode


def _changed(mode: int, whom: str, operator: str, letters: str, directory: bool) -> int:
    executable = directory or bool(mode & 0o111)
    for who in dict.fromkeys(whom):
        shift = _SHIFT[who]
        bits = sum(_BITS[letter] for letter in set(letters) if letter in _BITS)
        if "X" in letters and executable:
            bits |= 1
        mask = bits << shift
        if "s" in letters and who in "ug":
            mask |= 0o4000 if who == "u" else 0o2000
        if "t" in letters:
            mask |= 0o1000
        if operator == "=":
            mode &= ~(7 << shift)
            mode |= mask
        else:
            mode = mode | mask if operator == "+" else mode & ~mask
    return mode
