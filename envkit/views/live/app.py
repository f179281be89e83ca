"""The view on a terminal: a table of services, what differs from the files, the log of the selected service, keys."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Protocol

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.message import Message
from textual.widgets import DataTable, Input, Static

from envkit.errors import EnvkitError
from envkit.views.live import text as texts
from envkit.views.live.picture import Row
from envkit.views.live.screens import Help, LogPane, LogScreen, Question
from envkit.views.live.services import Services
from envkit.views.live.themes import ANSI, DARK, LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from envkit.plan.model import Plan
    from envkit.views.live.feed import Feed

QUIT, INTERRUPT = "quit", "interrupt"
_SOON = 0.1  # seconds in which new lines are gathered before they are drawn
_WHILE = 8.0  # seconds for which something that was said is shown
_TERMINAL = {"success": "green", "warning": "yellow", "error": "red", "accent": "magenta"}
_LEAVING = {
    "status": "q, Ctrl-C      leave; nothing is stopped",
    "up": "q              leave, and let the services run on\nCtrl-C         stop the services, and leave",
}


class Hands(Protocol):
    """What the keys do. Called in threads of their own, but shell, which has the terminal."""

    def control(self, address: str, verb: str) -> None:
        """verb: restart, stop or start. Raises EnvkitError."""

    def shell(self, address: str) -> int:
        """A shell in the instance, on this terminal; its exit code."""

    def apply(self) -> str:
        """What apply would do; what was done, in one line. Raises EnvkitError."""


class Drawn(Message):
    """There is a new picture."""


class Heard(Message):
    """There are new lines."""


class LiveView(App[str]):
    """Ends with QUIT or INTERRUPT. kind: whose view it is, "status" or "up", where Ctrl-C stops the services. theme: a
    name of themes.chosen(). base: the directory that is left out of file names."""

    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = "view.tcss"
    VERTICAL_BREAKPOINTS = [(0, "-low"), (24, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave", "quit"), Binding("ctrl+q", "leave(True)", priority=True),
        Binding("ctrl+c", "interrupt", "stop", priority=True),
        Binding("j", "move(1)"), Binding("k", "move(-1)"),
        Binding("r", "restart", "restart"), Binding("s", "stop_or_start", "stop/start"),
        Binding("l,enter", "log", "log", priority=False), Binding("e", "shell", "shell"),
        Binding("a", "apply", "apply"), Binding("slash", "filter", "filter"),
        Binding("question_mark", "help", "help"), Binding("w", "wrap", "wrap"),
        Binding("pageup", "scroll_log(-1)", priority=True), Binding("pagedown", "scroll_log(1)", priority=True),
        Binding("end", "follow", priority=True), Binding("escape", "clear"),
    ]  # fmt: skip

    def __init__(self, feed: Feed, hands: Hands, *, kind: str = "status", theme: str = ANSI, base: str = "") -> None:
        super().__init__(ansi_color=True if theme == ANSI else None)
        for made in (DARK, LIGHT):
            self.register_theme(made)
        self.theme = theme
        self.set_class(theme == ANSI, "-terminal")
        self.feed, self._hands, self._kind, self._base = feed, hands, kind, base
        self.picture = feed.picture
        self.rows: list[Row] = []
        self._filter = ""
        self._told = ""
        self._lines: dict[str, tuple[Text, object]] = {}
        self._shown_plan: Plan | None = None
        self._drawing = self._hearing = False
        self.working: list[threading.Thread] = []

    # -- the parts of the screen

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        yield Services(id="services")
        with VerticalScroll(id="plan"):
            yield Static(id="changes")
        yield Static(id="heading")
        yield LogPane(colour=not self.no_color, id="log")
        yield Static(id="told")
        yield Input(placeholder="part of a name or a state", id="filter")
        yield Static(id="keys")

    def on_mount(self) -> None:
        self.query_one("#filter").display = False
        self.query_one("#plan").display = False
        self.query_one("#told").display = False
        self.query_one(Services).focus()
        self.feed.drawn, self.feed.heard = self._drawn, self._heard
        self.feed.start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._loop_signal(number)

    def _loop_signal(self, number: int) -> None:
        import asyncio

        asyncio.get_running_loop().add_signal_handler(number, lambda: self.exit(INTERRUPT))

    def on_unmount(self) -> None:
        self.feed.end()

    # -- what comes in, from other threads: one message at a time

    def _drawn(self) -> None:
        if not self._drawing:
            self._drawing = True
            self.post_message(Drawn())

    def _heard(self) -> None:
        if not self._hearing:
            self._hearing = True
            self.post_message(Heard())

    @on(Drawn)
    def _draw(self) -> None:
        self._drawing = False
        self.picture = self.feed.picture
        if self._stands:
            self._redraw()

    @on(Heard)
    def _hear(self) -> None:
        self.set_timer(_SOON, self._read)

    def _read(self) -> None:
        self._hearing = False
        if not self._stands:
            return
        for screen in self.screen_stack:
            if isinstance(screen, LogScreen):
                screen.heard()
        self._read_log()

    # -- drawing

    @property
    def _stands(self) -> bool:
        """Whether there is something to draw on: messages still come while the view is being left."""
        return bool(self.query("#keys"))

    def _redraw(self) -> None:
        """Everything but the log, as the picture has it."""
        paint = self._paint()
        self._put("title", texts.title(self.picture, paint, self.size.width))
        wanted = self._filter.lower()
        self.rows = [row for row in self.picture.rows if wanted in f"{row.name} {row.condition}".lower()]
        self.query_one(Services).show(self.rows, self.size.width - 2, paint, self.theme)
        self._draw_plan()
        self._draw_told(paint)
        self._draw_keys()
        self._read_log()

    def _put(self, name: str, text: Text) -> None:
        """The text of a line of the screen, where it is another one."""
        if self._lines.get(name) != (text, text.style):
            self._lines[name] = text, text.style
            self.query_one(f"#{name}", Static).update(text, layout=False)

    def _paint(self) -> texts.Paint:
        colours = self.theme_variables if self.theme != ANSI else _TERMINAL
        names = ("success", "warning", "error", "accent")
        return texts.Paint({name: colours[name] for name in names}, plain=self.no_color)

    def _draw_plan(self) -> None:
        plan = self.picture.plan if self.picture.differs else None
        if plan == self._shown_plan:
            return
        self._shown_plan = plan
        panel = self.query_one("#plan")
        panel.display = plan is not None
        if plan is not None:
            self.query_one("#changes", Static).update(texts.panel(plan, self._base, colour=not self.no_color))
            panel.border_title = f"{'drift' if plan.drift else 'the files differ'} - press a to apply"

    def _draw_told(self, paint: texts.Paint) -> None:
        told = self.query_one("#told", Static)
        words = self._told or self.picture.problem
        told.display = bool(words)
        style = paint("warning") if not self._told else ""
        self._put("told", Text(f" {words}", style, no_wrap=True, overflow="ellipsis"))

    def _draw_keys(self) -> None:
        pairs = [("r", "restart"), ("s", "stop" if (row := self.row) is None or row.alive else "start"), ("l", "log"),
                 ("e", "shell"), ("/", "filter"), ("?", "help")]  # fmt: skip
        if self.picture.differs:
            pairs.insert(0, ("a", "apply"))
        leaving = [("q", "quit")] if self._kind == "status" else [("q", "leave running"), ("^C", "stop all")]
        self._put("keys", texts.keys([*pairs, *leaving], self.size.width, kept=len(leaving)))

    def _read_log(self) -> None:
        row, log = self.row, self.query_one(LogPane)
        log.read(self.feed.journal(row.address if row else ""))
        self.call_after_refresh(self._draw_heading)

    @on(LogPane.Moved)
    def _draw_heading(self) -> None:
        if not self._stands:
            return
        row, log = self.row, self.query_one(LogPane)
        text = Text(f" log of {row.name}" if row else " no service is chosen", "bold", no_wrap=True)
        notes = ["" if log.follows else "scrolled, End follows", "" if log.wrap else "lines are cut"]
        if self._filter:
            notes.append(f"filter: {self._filter}")
        text.append("".join(f"  {note}" for note in notes if note), "not bold dim")
        self._put("heading", text)

    @property
    def row(self) -> Row | None:
        """The chosen one."""
        chosen = self.query_one(Services).chosen
        return next((row for row in self.rows if row.name == chosen), None)

    @on(DataTable.RowHighlighted)
    def _choose(self) -> None:
        self._draw_keys()
        self._read_log()

    @on(DataTable.RowSelected)
    def _open(self) -> None:
        self.action_log()

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._draw)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something lies over the view, or the filter is typed, only leaving it is the view's own."""
        if action == "interrupt" or parameters == (True,):
            return True
        return len(self.screen_stack) == 1 and (action == "clear" or not self.query_one("#filter", Input).has_focus)

    def action_leave(self, anywhere: bool = False) -> None:
        self.exit(QUIT)

    def action_interrupt(self) -> None:
        self.exit(INTERRUPT)

    def action_move(self, by: int) -> None:
        table = self.query_one(Services)
        table.move_cursor(row=table.cursor_row + by)

    def action_restart(self) -> None:
        if (row := self._actable()) is not None:
            self._begin(row.name, "restarting", "restarted", lambda: self._hands.control(row.address, "restart"))

    def action_stop_or_start(self) -> None:
        if (row := self._actable()) is None:
            return
        if row.alive:
            self._begin(row.name, "stopping", "stopped", lambda: self._hands.control(row.address, "stop"))
        else:
            self._begin(row.name, "starting", "started", lambda: self._hands.control(row.address, "start"))

    def action_log(self) -> None:
        if (row := self._actable()) is not None:
            self.push_screen(LogScreen(self.feed, row.address, colour=not self.no_color))

    def action_shell(self) -> None:
        if (row := self._actable()) is None:
            return
        if not row.alive:
            self.tell(f"{row.name} does not run")
            return
        try:
            with self.suspend():
                code = self._hands.shell(row.address)
        except SuspendNotSupported:
            self.tell(f"this terminal cannot be lent; envkit exec {row.name} sh")
            return
        self.refresh(layout=True)
        self.tell(f"the shell in {row.name} ended" + (f" with code {code}" if code else ""))

    def action_apply(self) -> None:
        plan = self.picture.plan
        if plan is None or not self.picture.differs:
            self.tell("there is nothing to apply")
            return
        if plan.loses_data:
            self.tell("this would lose data; leave, and `envkit apply` shows what, and asks")
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._begin("", "applying", "", self._hands.apply)

        body = texts.panel(plan, self._base, colour=not self.no_color)
        self.push_screen(Question(f"Apply this to {self.picture.environment}?", body), answered)

    def action_wrap(self) -> None:
        self.query_one(LogPane).toggle_wrap()
        self.call_after_refresh(self._draw_heading)

    def action_scroll_log(self, way: int) -> None:
        log = self.query_one(LogPane)
        log.scroll_relative(y=way * max(1, log.size.height - 1), animate=False)

    def action_follow(self) -> None:
        self.query_one(LogPane).scroll_end(animate=False)

    def action_help(self) -> None:
        self.push_screen(Help(_LEAVING[self._kind]))

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """Escape: without a filter again."""
        self.query_one("#filter", Input).value = ""
        self._close_filter()

    @on(Input.Changed, "#filter")
    def _narrow(self, event: Input.Changed) -> None:
        self._filter = event.value.strip()
        self._redraw()

    @on(Input.Submitted, "#filter")
    def _close_filter(self) -> None:
        self.query_one("#filter").display = False
        self.query_one(Services).focus()

    # -- work

    def _actable(self) -> Row | None:
        row = self.row
        if row is not None and not row.address:
            self.tell(f"there is no instance of {row.name}; a applies")
            return None
        return row

    def _begin(self, name: str, doing: str, done: str, work: Callable[[], str | None]) -> None:
        """Do it in a thread of its own, and say so; one thing at a time."""
        self.working = [thread for thread in self.working if thread.is_alive()]
        if self.working:
            self.tell("wait: something is being done")
            return
        self.tell(f"{doing} {name} …".replace("  ", " "))

        def run() -> None:
            begun = time.monotonic()
            try:
                said = work() or f"{name} {done}"
                text = f"{said} ({time.monotonic() - begun:.1f} s)"
            except (EnvkitError, OSError) as error:
                hint = f" ({error.hint})" if isinstance(error, EnvkitError) and error.hint else ""
                text = f"{error}{hint}"
            self.feed.hurry()
            with suppress(RuntimeError):  # the view has been left meanwhile
                self.call_from_thread(self.tell, text)

        self.working.append(threading.Thread(target=run, name="work"))
        self.working[-1].start()

    def tell(self, text: str) -> None:
        """One line above the keys, until something else is to be said, or for a while."""
        self._told = text
        if not self._stands:
            return
        self._draw_told(self._paint())
        if not text.endswith("…"):
            self.set_timer(_WHILE, lambda: self.tell("") if self._told == text else None)
