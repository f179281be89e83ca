"""Messages about the user's input, as values: collected, never raised one by one.

Standard library only. The look of a diagnostic (source line, caret) is made in `views`.
"""

from __future__ import annotations

from envkit.errors import InputError
from envkit.values import StrEnum, field, struct, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@value
class Position:
    """A place in a file; line and column count from 1, `width` characters are underlined (0: up to the word's end)."""

    file: str
    line: int
    column: int
    width: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@value
class Diagnostic:
    """code: kebab-case and stable (`unknown-key`); summary: constant text without the user's names; detail: what is
    wrong and why; hint: the way out; related: further places (the other file of a merge, an anchor)."""

    severity: Severity
    code: str
    summary: str
    detail: str = ""
    source: Position | None = None
    hint: str = ""
    related: tuple[Position, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


@struct
class Diagnostics:
    """A list that a phase appends to and hands on."""

    items: list[Diagnostic] = field(default_factory=list)

    def error(
        self, code: str, summary: str, detail: str = "", source: Position | None = None, hint: str = "",
        related: tuple[Position, ...] = (),
    ) -> None:  # fmt: skip
        self.items.append(Diagnostic(Severity.ERROR, code, summary, detail, source, hint, related))

    def warning(
        self, code: str, summary: str, detail: str = "", source: Position | None = None, hint: str = "",
        related: tuple[Position, ...] = (),
    ) -> None:  # fmt: skip
        self.items.append(Diagnostic(Severity.WARNING, code, summary, detail, source, hint, related))

    @property
    def has_errors(self) -> bool:
        return any(item.is_error for item in self.items)

    def raise_if_errors(self) -> None:
        """Raise InputError with everything collected so far when at least one item is an error."""
        if self.has_errors:
            raise InputError(self.items)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
