"""What lies over the view: a service's log on the whole screen, a question, the keys."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Resize
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.widgets import RichLog, Static

from envkit.views.live.feed import KEPT, Feed, Journal
from envkit.views.live.text import keys, log_line

HELP = """\
Up Down, j k   choose a service
r              restart it
s              stop it, or start it
l, Enter       its log on the whole screen
e              a shell in it; leave the shell to come back
a              apply what the files say (asks first)
/              only services whose name or state has a text
PgUp PgDn      scroll the log; End follows it again
w              wrap long lines of the log, or cut them
Tab            to the next part of the screen
?              this page
"""


class LogPane(RichLog):
    """The lines of one instance: it follows while its end is in sight."""

    class Moved(Message):
        """It was scrolled, by a key, the wheel, or as it followed."""

    def __init__(self, *, colour: bool, **given: str) -> None:
        super().__init__(max_lines=KEPT, wrap=True, min_width=1, **given)  # type: ignore[arg-type]
        self._colour = colour
        self._journal = Journal()
        self._number = 0

    def read(self, journal: Journal) -> None:
        """Show an instance's lines: the new ones where it is the one that is shown already."""
        if journal is not self._journal or journal.number < self._number:
            self.write_anew(journal)
            return
        new = journal.number - self._number
        if new > 0:
            lines = list(journal.lines)
            self._number = journal.number
            for line in lines[-new:]:
                self._add(line)

    def write_anew(self, journal: Journal | None = None) -> None:
        """All of it, as after a change of width or of wrapping; at its end."""
        self._journal = journal or self._journal
        if not self.size.width:
            return  # on_resize() comes
        self.clear()
        self._number = self._journal.number
        self.auto_scroll = True
        for line in list(self._journal.lines):
            self._add(line, scroll_end=True)

    def _add(self, line: str, scroll_end: bool | None = None) -> None:
        text = log_line(line, colour=self._colour)
        width = self.scrollable_content_region.width if self.wrap else text.cell_len
        self.write(text, width=max(1, width), scroll_end=scroll_end)

    def on_resize(self, event: Resize) -> None:
        self.write_anew()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.post_message(self.Moved())

    def toggle_wrap(self) -> None:
        self.wrap = not self.wrap
        self.write_anew()

    @property
    def follows(self) -> bool:
        return self.is_vertical_scroll_end


class LogScreen(Screen[None]):
    """`l`: one instance's log, nothing else."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,l,q", "dismiss", "back"),
        Binding("w", "wrap", "wrap"),
        Binding("end,f", "follow", "follow", priority=True),
    ]

    def __init__(self, feed: Feed, address: str, *, colour: bool) -> None:
        super().__init__()
        self._feed, self._address, self._colour = feed, address, colour

    def compose(self) -> ComposeResult:
        yield Static(Text(f" log of {self._address.removeprefix('service.')}", "bold"), id="title")
        yield LogPane(colour=self._colour, id="log")
        yield Static(id="keys")

    def on_mount(self) -> None:
        self.query_one(LogPane).focus()
        self.heard()

    def on_resize(self) -> None:
        pairs = [("Esc", "back"), ("Up Down PgUp PgDn", "scroll"), ("End", "follow"), ("w", "wrap"), ("^C", "quit")]
        self.query_one("#keys", Static).update(keys(pairs, self.size.width))

    def heard(self) -> None:
        """There are new lines."""
        self.query_one(LogPane).read(self._feed.journal(self._address))

    def action_wrap(self) -> None:
        self.query_one(LogPane).toggle_wrap()

    def action_follow(self) -> None:
        self.query_one(LogPane).scroll_end(animate=False)


class Question(ModalScreen[bool]):
    """Something to read, and yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("n,escape,q", "dismiss(False)", "no"),
    ]

    def __init__(self, question: str, body: Text) -> None:
        super().__init__()
        self._question, self._body = question, body

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Text(self._question, "bold"))
            with VerticalScroll():
                yield Static(self._body)
            yield Static(keys([("y", "yes"), ("n", "no")], 40))


class Help(ModalScreen[None]):
    """`?`: the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "dismiss", "back")]

    def __init__(self, leaving: str) -> None:
        super().__init__()
        self._leaving = leaving

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Text("Keys", "bold"))
            with VerticalScroll():
                yield Static(Text(HELP + self._leaving))
            yield Static(keys([("Esc", "back")], 40))
