"""Log lines of several services, each with its name in a colour of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from envkit.views.terminal import Terminal

if TYPE_CHECKING:
    from envkit.backend.base import LogEntry

_COLOURS = (
    "cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green", "bright_magenta",
    "bright_blue",
)  # fmt: skip


class LogView:
    """Writes entries to stdout. names: the instances that may appear, for the width and the colours."""

    def __init__(
        self, terminal: Terminal, names: Sequence[str], *, prefix: bool = True, timestamps: bool = False,
        as_json: bool = False,
    ) -> None:  # fmt: skip
        self._terminal = terminal
        self._width = max((len(name) for name in names), default=0)
        self._colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(dict.fromkeys(names))}
        self._prefix, self._timestamps, self._json = prefix, timestamps, as_json

    def __call__(self, entry: LogEntry) -> None:
        if self._json:
            text = json.dumps({
                "service": entry.service, "replica": entry.replica, "time": entry.time, "stream": entry.stream,
                "line": entry.line,
            }, ensure_ascii=False)  # fmt: skip
        else:
            name = entry.service if entry.replica == 1 else f"{entry.service}[{entry.replica}]"
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            head = self._terminal.style(f"{name.ljust(self._width)} |", colour) + " " if self._prefix else ""
            moment = f"{entry.time} " if self._timestamps else ""
            text = f"{head}{moment}{entry.line}"
        self._terminal.out(text)
        self._terminal.stdout.flush()
