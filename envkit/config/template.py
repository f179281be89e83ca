"""Variable substitution: `$NAME`, `${NAME}` and the operators of the Compose Specification (12-interpolation.md).

`:-` and `-` give a default, `:?` and `?` demand a value, `:+` and `+` an alternative; with the colon an empty value
counts as unset. Operands are templates themselves. `$$` is a dollar sign, and so is a `$` before anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from envkit.lean import pattern

Lookup = Callable[[str], "str | None"]

# The operand runs to the last brace of the line; the braces are then balanced.
_TOKEN = pattern(
    r"\$(?:(?P<escaped>\$)|(?P<named>[_a-z][_a-z0-9]*)"
    r"|\{(?:(?P<name>[_a-z][_a-z0-9]*)(?:(?P<operator>:?[-+?])(?P<operand>.*))?\}|(?P<invalid>)))",
    re.IGNORECASE | re.ASCII,
)


class TemplateError(ValueError):
    """The text is no template."""


class MissingVariable(ValueError):
    """A variable that `?` demands has no value; reason is the user's own message."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason


def substitute(
    text: str, lookup: Lookup, used: list[str] | None = None, unset: list[str] | None = None
) -> str:
    """Replace every variable of text.

    lookup gives None for a variable that is not set. used collects the names that were looked up; unset those that had
    neither value nor default and became empty. Raises TemplateError and MissingVariable.
    """
    if "$" not in text:
        return text
    parts: list[str] = []
    at = 0
    while (match := _TOKEN.search(text, at)) is not None:
        parts.append(text[at : match.start()])
        at = match.end()
        if match["escaped"]:
            parts.append("$")
        elif (name := match["named"]) is not None:
            parts.append(_value(name, lookup, used, unset))
        elif match["invalid"] is not None:
            raise TemplateError(text)
        elif match["operator"] is None:
            parts.append(_value(match["name"], lookup, used, unset))
        else:
            whole = match[0]
            end = _closing_brace(whole)
            if 0 <= end < len(whole) - 1:
                at = match.start() + end + 1
            operand = match["operand"] if end < 0 else whole[match.start("operand") - match.start() : end]
            parts.append(_operate(match["name"], match["operator"], operand, lookup, used, unset))
    parts.append(text[at:])
    return "".join(parts)


def _value(name: str, lookup: Lookup, used: list[str] | None, unset: list[str] | None) -> str:
    if used is not None:
        used.append(name)
    value = lookup(name)
    if value is None:
        if unset is not None:
            unset.append(name)
        return ""
    return value


def _operate(
    name: str, operator: str, operand: str, lookup: Lookup, used: list[str] | None, unset: list[str] | None
) -> str:
    operand = substitute(operand, lookup, used, unset)
    if used is not None:
        used.append(name)
    value = lookup(name)
    is_set = value is not None and (value != "" or operator[0] != ":")
    if operator[-1] == "-":
        return value if is_set and value is not None else operand
    if operator[-1] == "+":
        return operand if is_set else value or ""
    if value is None or not is_set:
        raise MissingVariable(name, operand)
    return value


def _closing_brace(text: str) -> int:
    """The index of the brace that closes the first one of text, -1 when none does. The character after an opening
    brace is skipped, which makes `${X:-{}}` end at its last brace, as in Compose."""
    depth, at = 0, 0
    while at < len(text):
        if text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        elif text[at] == "{":
            depth += 1
            at += 1
        at += 1
    return -1


def variables(text: str) -> list[tuple[str, str, str, bool]]:
    """(name, default, alternative, required) of the outermost variables of text, in order."""
    found: list[tuple[str, str, str, bool]] = []
    for match in _TOKEN.finditer(text):
        if match["escaped"] or match["invalid"] is not None:
            continue
        name, operator, operand = match["named"] or match["name"], match["operator"] or "", match["operand"] or ""
        found.append((
            name, operand if operator.endswith("-") else "", operand if operator.endswith("+") else "",
            operator.endswith("?"),
        ))  # fmt: skip
    return found
