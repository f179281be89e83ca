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
        self._cells: dict[tuple[str, str], Text] = {}

    @property
    def chosen(self) -> str:
        """The name of the one that the keys mean, "" for none: the one under the cursor at this very moment."""
        return self._names[self.cursor_row] if self.cursor_row < len(self._names) else ""

    def show(self, rows: Sequence[Row], width: int, paint: texts.Paint, theme: str) -> None:
        """Draw what has changed: cells, or everything where rows or columns are others; the chosen one stays so."""
        columns = fitting(rows, width)
        heads = {column.key: texts.head(column, rows) for column in columns}
        cells = {(row.name, column.key): texts.cell(column, row, paint) for row in rows for column in columns}
        shape = (tuple(map(str, heads.values())), tuple(row.name for row in rows), theme)
        if shape == self._shape:
            for (name, key), made in cells.items():
                if made != self._cells[name, key] or made.style != self._cells[name, key].style:
                    self.update_cell(name, key, made)
        else:
            self._shape, chosen = shape, self.chosen
            self.clear(columns=True)
            for column in columns:
                self.add_column(heads[column.key], key=column.key, width=len(heads[column.key]))
            for row in rows:
                self.add_row(*(cells[row.name, column.key] for column in columns), key=row.name)
            at = next((number for number, row in enumerate(rows) if row.name == chosen), 0)
            self._names = tuple(row.name for row in rows)
            self.move_cursor(row=at)
        self._cells = cells
