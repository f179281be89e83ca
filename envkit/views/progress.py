"""Events while something is being done: one line each for people, JSON Lines for machines."""

from __future__ import annotations

import threading
import time

from envkit.events import Event, EventKind
from envkit.lean import json
from envkit.views.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

_DOING = {
    "create": "creating", "update": "updating", "replace": "replacing", "delete": "removing", "build": "building",
    "pull": "pulling", "push": "pushing", "stop": "stopping", "start": "starting",
    "restart": "restarting", "kill": "killing",
    "pause": "pausing", "unpause": "unpausing",
}  # fmt: skip
_DONE = {
    "create": "created", "update": "updated", "replace": "replaced", "delete": "removed", "build": "built",
    "pull": "pulled", "push": "pushed", "stop": "stopped", "start": "started", "restart": "restarted", "kill": "killed",
    "pause": "paused", "unpause": "unpaused",
}  # fmt: skip
_SLOW = 0.4


class LineProgress:
    """Lines on stderr: what is done with how long it took, and what is being waited for.

    Quick work shows only its completion. What programs print while they build is one moving line on an interactive
    terminal and nothing elsewhere (a failure brings its last lines).
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._started: dict[str, float] = {}
        self._moving = False
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.data.get("output"):
                self._move(f"  … {event.address} {event.data['output']}")
            elif line := self._line(event):
                self._move("")
                self._terminal.err(line)

    def clear(self) -> None:
        """Take the moving line away: something else is about to be shown."""
        with self._lock:
            self._move("")

    def _move(self, text: str) -> None:
        """Show text in the moving line; "" takes it away."""
        if not self._terminal.interactive or not (text or self._moving):
            return
        self._moving = bool(text)
        self._terminal.stderr.write("\r\x1b[2K" + self._terminal.err_style(text[: self._terminal.width - 1], "dim"))
        self._terminal.stderr.flush()

    def _line(self, event: Event) -> str:
        style, now = self._terminal.err_style, time.monotonic()
        name = style(event.address, "bold")
        match event.kind:
            case EventKind.STARTED:
                self._started[event.address] = now
                return ""
            case EventKind.DONE:
                took = now - self._started.pop(event.address, now)
                text = f"{_DONE.get(event.action, event.action)}{': ' + event.message if event.message else ''}"
                return f"  {style('✓', 'green')} {name} {text}{style(f'  {took:.1f}s', 'dim') if took >= _SLOW else ''}"
            case EventKind.FAILED:
                return f"  {style('✗', 'red')} {name} {event.message or 'failed'}"
            case EventKind.SKIPPED:
                return f"  {style('-', 'yellow')} {name} {event.message or 'skipped'}"
            case EventKind.WAITING:
                return f"  {style('…', 'cyan')} {name} {event.message}"
            case EventKind.PROGRESS:
                return f"  {style('…', 'cyan')} {name} {event.message or _DOING.get(event.action, '')}"
            case EventKind.WARNING:
                prefix = f"{event.address}: " if event.address else ""
                return f"{style('warning', 'bold', 'yellow')}: {prefix}{event.message}"
            case _:
                return f"    {style('|', 'dim')} {event.message}"


class JsonProgress:
    """One JSON object a line on stdout; the first is the version."""

    def __init__(self, stream: TextIO, version: str) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.write({"type": "version", "envkit": version, "ui": "1.0"})

    def write(self, value: dict[str, Any]) -> None:
        """One line of the stream."""
        with self._lock:
            self._stream.write(json.dumps(value, ensure_ascii=False) + "\n")
            self._stream.flush()

    def __call__(self, event: Event) -> None:
        self.write({
            "type": event.kind.value, "address": event.address, "action": event.action, "message": event.message,
            **({"data": event.data} if event.data else {}),
        })  # fmt: skip
