"""Words of a Dockerfile: split, and expanded with variables.

Source: Dockerfile reference ("Environment replacement"). Single quotes keep everything, double quotes keep white
space, the escape character keeps what follows it. Modifiers: `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*|[0-9]+|[@*#?$!-]")


class WordError(ValueError):
    """A word cannot be read; the text says why."""


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Words as written, quotes and escapes kept."""
    words, word, quote, place = [], "", "", 0
    while place < len(text):
        char = text[place]
        if char == escape and quote != "'" and place + 1 < len(text):
            word += char + text[place + 1]
            place += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            if word:
                words.append(word)
            word = ""
            place += 1
            continue
        word += char
        place += 1
    return [*words, word] if word else words


class Expander:
    """Expands words with variables; remembers which names it was asked for (`used`) and which had no value
    (`missing`)."""

    def __init__(self, variables: Mapping[str, str], escape: str = "\\") -> None:
        self._variables = variables
        self._escape = escape
        self.used: set[str] = set()
        self.missing: set[str] = set()

    def word(self, text: str) -> str:
        """The word with its variables replaced and its quotes taken away. Raises WordError."""
        return _Reading(self, text, raw=False).whole()

    def raw(self, text: str) -> str:
        """A here-document's content: quotes are ordinary characters. Raises WordError."""
        return _Reading(self, text, raw=True).whole()

    def words(self, text: str) -> list[str]:
        """Several words; what an unquoted variable holds is split as well. Raises WordError."""
        return [
            part for word in split_words(text, self._escape)
            for part in ([self.word(word)] if word[:1] in "\"'" else self.word(word).split())
        ]  # fmt: skip

    def value(self, name: str) -> str | None:
        self.used.add(name)
        value = self._variables.get(name)
        if value is None:
            self.missing.add(name)
        return value

    @property
    def escape(self) -> str:
        return self._escape


class _Reading:
    def __init__(self, expander: Expander, text: str, *, raw: bool) -> None:
        self._expander, self._text, self._raw = expander, text, raw
        self._place = 0

    def whole(self) -> str:
        return self._until("")

    def _until(self, stop: str) -> str:
        """Everything up to an unquoted character of stop, which is not taken."""
        made = ""
        while self._place < len(self._text):
            char = self._text[self._place]
            if stop and char in stop:
                return made
            if char == "'" and not self._raw:
                made += self._single()
            elif char == '"' and not self._raw:
                made += self._double()
            elif char == "$":
                made += self._dollar()
            elif char == self._expander.escape:
                self._place += 2
                made += self._text[self._place - 1 : self._place]
            else:
                made += char
                self._place += 1
        if stop:
            raise WordError(f"{self._text!r} lacks a closing {stop[-1]!r}")
        return made

    def _single(self) -> str:
        end = self._text.find("'", self._place + 1)
        if end < 0:
            raise WordError(f"{self._text!r} lacks a closing quote (')")
        made = self._text[self._place + 1 : end]
        self._place = end + 1
        return made

    def _double(self) -> str:
        made = ""
        self._place += 1
        while self._place < len(self._text):
            char = self._text[self._place]
            if char == '"':
                self._place += 1
                return made
            if char == "$":
                made += self._dollar()
                continue
            following = self._text[self._place + 1 : self._place + 2]
            if char == self._expander.escape and following in ('"', "$", self._expander.escape) and following:
                char = following
                self._place += 1
            made += char
            self._place += 1
        raise WordError(f'{self._text!r} lacks a closing quote (")')

    def _dollar(self) -> str:
        self._place += 1
        if self._text[self._place : self._place + 1] != "{":
            match = _NAME.match(self._text, self._place)
            if not match:
                return "$"
            self._place = match.end()
            return self._expander.value(match[0]) or ""
        self._place += 1
        match = _NAME.match(self._text, self._place)
        if not match:
            raise WordError(f"{self._text!r} has a ${{ without a name")
        self._place = match.end()
        return self._braced(match[0])

    def _braced(self, name: str) -> str:
        rest = self._text[self._place :]
        if rest.startswith("}"):
            self._place += 1
            return self._expander.value(name) or ""
        operator = next((each for each in (":-", ":+", ":?", "##", "%%", "//", "-", "+", "?", "#", "%", "/")
                         if rest.startswith(each)), "")  # fmt: skip
        if not operator:
            raise WordError(f"{self._text!r} has a modifier that is not supported after {name}")
        self._place += len(operator)
        value = self._expander.value(name)
        if operator in ("/", "//"):
            pattern = self._until("/")
            self._place += 1
            word = self._until("}")
            self._place += 1
            return _replaced(value or "", pattern, word, everywhere=operator == "//")
        word = self._until("}")
        self._place += 1
        if operator in ("#", "##"):
            return _without_prefix(value or "", word, greedy=operator == "##")
        if operator in ("%", "%%"):
            return _without_suffix(value or "", word, greedy=operator == "%%")
        there = bool(value) if operator.startswith(":") else value is not None
        kind = operator[-1]
        if kind == "+":
            return word if there else ""
        if kind == "?" and not there:
            raise WordError(f"{name}: {word or 'it is not set'}")
        if kind == "-" and not there:
            self._expander.missing.discard(name)
            return word
        return value or ""


def _expression(pattern: str, *, greedy: bool) -> str:
    """A shell pattern of `*` and `?` as a regular expression."""
    made, place = "", 0
    while place < len(pattern):
        char = pattern[place]
        if char == "*":
            made += ".*" if greedy else ".*?"
        elif char == "?":
            made += "."
        elif char == "\\" and place + 1 < len(pattern):
            place += 1
            made += re.escape(pattern[place])
        else:
            made += re.escape(char)
        place += 1
    return made


def _without_prefix(value: str, pattern: str, *, greedy: bool) -> str:
    return re.sub(r"\A" + _expression(pattern, greedy=greedy), "", value, count=1, flags=re.DOTALL)


def _without_suffix(value: str, pattern: str, *, greedy: bool) -> str:
    expression = re.compile(_expression(pattern, greedy=True) + r"\Z", re.DOTALL)
    starts = [place for place in range(len(value) + 1) if expression.match(value, place)]
    return value[: (starts[0] if greedy else starts[-1])] if starts else value


def _replaced(value: str, pattern: str, word: str, *, everywhere: bool) -> str:
    return re.sub(_expression(pattern, greedy=True), lambda _: word, value, count=0 if everywhere else 1)
