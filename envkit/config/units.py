"""Sizes, durations and command lines: the texts that Compose reads, and how it prints them back."""

from __future__ import annotations

import re

from envkit.lean import pattern

_SIZE = pattern(r"(\+?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?) ?([a-z]{0,3})", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DURATION = pattern(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)", re.ASCII)
_SECOND = 10**9
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": _SECOND, "m": 60 * _SECOND,
    "h": 3600 * _SECOND, "d": 86400 * _SECOND, "w": 604800 * _SECOND,
}  # fmt: skip


def parse_size(text: str) -> int:
    """Bytes of `64m`, `1.5 GB`, `2KiB`, `1024`, `-1`; units are powers of 1024. Raises ValueError."""
    if text == "-1":
        return -1
    match = _SIZE.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or (unit and unit != "b" and (unit[0] not in _SIZE_UNITS or unit[1:] not in ("", "b", "ib"))):
        raise ValueError(f"{text!r} is not a size; write bytes, or a number with b, k, m or g")
    return int(float(match[1]) * _SIZE_UNITS.get(unit[:1], 1))


def parse_duration(text: str) -> int:
    """Nanoseconds of `1m30s`, `1.5h`, `2d`. Raises ValueError."""
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0
    total, at = 0, 0
    while match := _DURATION.match(body, at):
        unit = _NANOSECONDS[match[2]]
        total += int(match[1]) * unit if match[1].isdigit() else int(float(match[1]) * unit)
        at = match.end()
    if not body or at < len(body):
        raise ValueError(f"{text!r} is not a duration; write a number with ms, s, m or h, such as 1m30s")
    return -total if text[0] == "-" else total


def format_duration(nanoseconds: int) -> str:
    """`1m30s`, as Go prints a time.Duration."""
    if nanoseconds == 0:
        return "0s"
    sign, value = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    for unit, size in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if value < size * 1000:
            return f"{sign}{_decimal(value, size)}{unit}"
    minutes, rest = divmod(value, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, _SECOND)}s"
    return sign + (f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}" if minutes else seconds)


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    return f"{whole}.{str(rest).rjust(len(str(size)) - 1, '0').rstrip('0')}" if rest else str(whole)


def split_command(text: str) -> list[str]:
    """A command line as words, with quotes and backslashes as in a shell and nothing expanded. Raises ValueError.

    No shell reads it, so an unquoted `;`, `&`, `|`, `<` or `>` ends it; `$(…)` and backquotes keep their text together.
    """
    words: list[str] = []
    word = ""
    has_word = escaped = False
    quotes = dict.fromkeys("\"'`)", False)  # `)`: inside $(…)
    for char in text:
        quoted = any(quotes.values())
        if escaped:
            word += {"t": "\t", "n": "\n"}.get(char, char)
            has_word, escaped = True, False
            continue
        if char == "\\" and not quotes["'"]:
            escaped = True
            continue
        if char in " \t\r\n" and not quoted:
            if has_word:
                words.append(word)
                word, has_word = "", False
            continue
        if char in ";&|<>" and not quoted:
            if char == ">" and word.isdigit():
                has_word = False
            break
        if char in "()" and not (quotes["'"] or quotes['"'] or quotes["`"]):
            if (char == ")") != quotes[")"] or (char == "(" and not word.endswith("$")):
                raise ValueError(f"{text!r}: unquoted parenthesis")
            quotes[")"] = char == "("
            word, has_word = word + char, True
            continue
        if char in quotes and not any(on for other, on in quotes.items() if other != char and _guards(other, char)):
            quotes[char] = not quotes[char]
            if char in "\"'":
                has_word = has_word or not quotes[char]
                continue
        word += char
        has_word = True
    if escaped or any(quotes.values()):
        raise ValueError(f"{text!r}: a quote or parenthesis is left open")
    return [*words, word] if has_word else words


def _guards(outer: str, inner: str) -> bool:
    """Whether inner has no meaning inside outer."""
    return {"`": outer != "`", ")": outer != ")", '"': outer in "')", "'": outer in '")'}[inner]
