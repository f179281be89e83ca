"""The table of services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import DataTable

from envkit.views.live import text as texts
from envkit.views.live.columns import fitting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envkit.views.live.picture import Row


class Services(DataTable[Text]):
    """One row per instance, in the columns that fit."""

    def __init__(self, **given: str) -> None:
        super().__init__(cursor_type="row", cell_padding=1, **given)  # type: ignore[arg-type]
        self._names: tuple[str, ...] = ()
        self._shape: object = None
        self._cells: dict[tuple[str, str], tuple[str, str]] = {}

    @property
    def chosen(self) -> str:
        """The name of the one that the keys mean, "" for none: the one under the cursor at this very moment."""
        return self._names[self.cursor_row] if self.cursor_row < len(self._names) else ""

    def show(self, rows: Sequence[Row], width: int, paint: texts.Paint, theme: str) -> None:
        """Draw what has changed: cells, or everything where rows or columns are others; the chosen one stays so."""
        columns = fitting(rows, width)
        cells = {
            (row.name, column.key): (column.cell(row), texts.cell_style(column, row, paint))
            for column in columns for row in rows
        }  # fmt: skip
        widths = {
            column.key: max(len(column.head), *(len(cells[row.name, column.key][0]) for row in rows), 0)
            for column in columns
        }  # fmt: skip
        shape = (tuple((column.head, widths[column.key]) for column in columns), tuple(row.name for row in rows), theme)
        if shape == self._shape:
            by_key = {column.key: column for column in columns}
            for (name, key), made in cells.items():
                if made != self._cells[name, key]:
                    self.update_cell(name, key, texts.cell(by_key[key], *made))
        else:
            self._shape, chosen = shape, self.chosen
            self.clear(columns=True)
            for column in columns:
                width = widths[column.key]
                self.add_column(texts.head(column, width), key=column.key, width=width)
            for row in rows:
                self.add_row(*(texts.cell(column, *cells[row.name, column.key]) for column in columns), key=row.name)
            at = next((number for number, row in enumerate(rows) if row.name == chosen), 0)
            self._names = tuple(row.name for row in rows)
            self.move_cursor(row=at)
        self._cells = cells
