"""Where text goes and how it may look there: stdout is data, stderr is progress.

Colours follow NO_COLOR (no-color.org), CLICOLOR_FORCE/FORCE_COLOR, TERM=dumb and CI.
"""

from __future__ import annotations

import os
import sys

from envkit.values import struct, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TextIO

_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
    "bright_red": "91", "bright_green": "92", "bright_yellow": "93", "bright_blue": "94", "bright_magenta": "95",
    "bright_cyan": "96",
}  # fmt: skip


@value
class Style:
    """Paints text, or leaves it alone where colour is not wanted."""

    enabled: bool

    def __call__(self, text: str, *names: str) -> str:
        """text in the named styles ("bold", "red", …)."""
        if not self.enabled or not names or not text:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


@struct
class Terminal:
    """The two streams of a command. interactive: questions and moving lines are welcome on stderr."""

    stdout: TextIO
    stderr: TextIO
    style: Style
    err_style: Style
    interactive: bool
    width: int

    def out(self, text: str) -> None:
        """Data, to stdout, with a newline."""
        self.stdout.write(text + "\n")

    def err(self, text: str) -> None:
        """Progress and messages, to stderr, with a newline."""
        self.stderr.write(text + "\n")
        self.stderr.flush()


def open_terminal(environ: Mapping[str, str], *, no_color: bool = False, plain: bool = False) -> Terminal:
    """The process's own streams, judged by its environment."""
    interactive = not plain and not environ.get("CI") and environ.get("TERM") != "dumb" and sys.stderr.isatty()
    return Terminal(
        sys.stdout, sys.stderr, Style(_wants_colour(sys.stdout, environ, no_color)),
        Style(_wants_colour(sys.stderr, environ, no_color)), interactive, _width(environ),
    )  # fmt: skip


def adjusted(terminal: Terminal, options: Any, environ: Mapping[str, str]) -> Terminal:
    """The terminal as `--ansi` and `--progress` (COMPOSE_ANSI, COMPOSE_PROGRESS) want it."""
    ansi = options.ansi or environ.get("COMPOSE_ANSI")
    progress = options.progress or environ.get("COMPOSE_PROGRESS")
    if ansi in ("never", "always") and not options.no_color:
        terminal.style = terminal.err_style = Style(ansi == "always")
    if ansi == "never" or progress in ("plain", "json", "quiet"):
        terminal.interactive = False
    return terminal


def _wants_colour(stream: TextIO, environ: Mapping[str, str], no_color: bool) -> bool:
    if no_color or environ.get("NO_COLOR"):
        return False
    if environ.get("CLICOLOR_FORCE", "0") != "0" or environ.get("FORCE_COLOR", "0") != "0":
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()


def _width(environ: Mapping[str, str]) -> int:
    if environ.get("COLUMNS", "").isdigit():
        return max(40, int(environ["COLUMNS"]))
    try:
        return max(40, os.get_terminal_size(2).columns)
    except OSError:
        return 100
