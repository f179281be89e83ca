"""Diagnostics and errors as text: what is wrong, where, the line with a caret, and the way out.

error: unknown key
  --> envkit.yaml:12:5
   12 |     enviroment: {A: b}
      |     ^^^^^^^^^^
  "enviroment" is not a key of a service
  help: did you mean "environment"?
"""

from __future__ import annotations

from collections.abc import Iterable

from envkit.diagnostics import Diagnostic, Position
from envkit.errors import ApplyError, EnvkitError, HostError, InputError
from envkit.lean import pattern
from envkit.views.terminal import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WAYS = {
    "container-name": "give one of them another name, or none",
    "env-file": "create the file, or write {path: FILE, required: false}",
    "env-syntax": "write NAME=VALUE, with quotes around a value that has blanks; a comment begins with #",
    "short-syntax": "the long form names every part; `envkit schema` prints its keys",
    "unreadable-file": "check the path and the permissions, or give another file with -f",
    "yaml-syntax": "a bracket, a quote or the indentation of this line or of one before it does not end",
}
_ANY_WAY = "`envkit schema` prints what may be written there"
"""Ways out by code, for diagnostics that bring none of their own."""

_WORD = pattern(r"[\w./${}@-]+(?::[\w./${}@-]+)*")
_LONGEST_LINE = 200


def render_diagnostic(item: Diagnostic, style: Style, *, base: str = "") -> str:
    """The block of lines for one diagnostic; file names are shown relative to base where they lie below it."""
    colour = "red" if item.is_error else "yellow"
    code = f"[{item.code}]" if item.code else ""
    lines = [f"{style(item.severity + code, 'bold', colour)}{style(': ' + item.summary, 'bold')}"]
    if item.source:
        lines += _quote(item.source, style, colour, base)
    lines += [f"  {line}" for line in item.detail.splitlines()]
    lines += [f"  {style('see also', 'dim')} {_shown(place, base)}" for place in item.related]
    if hint := _way_out(item):
        first, *rest = hint.splitlines()
        lines += [f"  {style('help:', 'cyan')} {first}", *(f"        {line}" for line in rest)]
    return "\n".join(lines)


def render_error(error: EnvkitError, style: Style, *, base: str = "") -> str:
    """The block of lines for an error of any kind; an InputError shows every diagnostic it carries."""
    if isinstance(error, InputError):
        blocks = [render_diagnostic(item, style, base=base) for item in _errors_last(error.diagnostics)]
        code = next((item.code for item in error.diagnostics if item.is_error), "")
        more = f" {style(f'`envkit explain {code}` says more.', 'dim')}" if code else ""
        return "\n\n".join([*blocks, style(f"{error.summary}.", "bold") + more])
    where = f" {error.address}" if isinstance(error, ApplyError) and error.address else ""
    lines = [f"{style('error', 'bold', 'red')}{style(f':{where} {error.summary}', 'bold')}"]
    if isinstance(error, ApplyError) and (place := _position(error.source)):
        lines += _quote(place, style, "red", base)
    lines += [f"  {line}" for line in error.detail.splitlines()]
    if isinstance(error, HostError):
        if error.command:
            lines.append(f"  {style('command:', 'dim')} {error.command_line}")
        lines += [f"  {line}" for line in error.stderr.strip().splitlines()[-10:]]
    if isinstance(error, ApplyError) and error.log:
        lines.append(f"  {style('last lines of its log:', 'dim')}")
        lines += [f"  {style('|', 'dim')} {line}" for line in error.log]
    if error.hint:
        first, *rest = error.hint.splitlines()
        lines += [f"  {style('help:', 'cyan')} {first}", *(f"        {line}" for line in rest)]
    return "\n".join(lines)


def diagnostic_json(item: Diagnostic) -> dict[str, Any]:
    """A diagnostic as plain JSON values."""
    return {
        "severity": str(item.severity), "code": item.code, "summary": item.summary, "detail": item.detail,
        "source": str(item.source) if item.source else None, "hint": _way_out(item),
        "related": [str(place) for place in item.related],
    }  # fmt: skip


def error_json(error: EnvkitError) -> dict[str, Any]:
    """An error as one plain JSON object (`{"type": "error", …}`)."""
    value: dict[str, Any] = {
        "type": "error", "summary": error.summary, "detail": error.detail, "hint": error.hint,
    }  # fmt: skip
    if isinstance(error, InputError):
        value["diagnostics"] = [diagnostic_json(item) for item in error.diagnostics]
    if isinstance(error, ApplyError):
        value |= {"address": error.address, "log": list(error.log), "source": error.source or None}
    if isinstance(error, HostError):
        value |= {"command": list(error.command), "returncode": error.returncode, "stderr": error.stderr}
    return value


def _way_out(item: Diagnostic) -> str:
    if item.hint or not item.is_error:
        return item.hint
    if item.code.startswith("unsupported"):
        return "take it away, or run the environment on another backend (--backend)"
    return _WAYS.get(item.code, _ANY_WAY)


def _errors_last(items: Iterable[Diagnostic]) -> list[Diagnostic]:
    return sorted(items, key=lambda item: item.is_error)


def _position(text: str) -> Position | None:
    file, _, rest = text.rpartition(":")
    file, _, line = file.rpartition(":")
    return Position(file, int(line), int(rest)) if file and line.isdigit() and rest.isdigit() else None


def _shown(place: Position, base: str) -> str:
    prefix = base.rstrip("/") + "/"
    file = place.file[len(prefix) :] if base and place.file.startswith(prefix) else place.file
    return f"{file}:{place.line}:{place.column}"


def _quote(place: Position, style: Style, colour: str, base: str) -> list[str]:
    lines = [f"  {style('-->', 'blue')} {_shown(place, base)}"]
    text = _line_of(place)
    if text is None:
        return lines
    number = str(place.line).rjust(4)
    start = max(0, place.column - 1)
    if start > _LONGEST_LINE // 2:
        cut = start - _LONGEST_LINE // 2
        text, start = "…" + text[cut + 1 :], start - cut
    text = text[:_LONGEST_LINE]
    word = _WORD.match(text, start)
    width = place.width or (word.end() - start if word else 1)
    width = max(1, min(width, len(text) - start))
    bar = style("|", "blue")
    lines.append(f"  {style(number, 'blue')} {bar} {text}")
    lines.append(f"  {' ' * len(number)} {bar} {' ' * start}{style('^' * width, 'bold', colour)}")
    return lines


def _line_of(place: Position) -> str | None:
    """The text of the line, None when the file cannot be read again (stdin, gone)."""
    try:
        with open(place.file, encoding="utf-8", errors="replace") as stream:
            for number, line in enumerate(stream, 1):
                if number == place.line:
                    return line.rstrip("\n").replace("\t", " ")
    except OSError:
        return None
    return None
