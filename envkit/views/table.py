"""Columns of text."""

from __future__ import annotations

from collections.abc import Sequence

from envkit.views.terminal import Style


def render_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], style: Style, paint: dict[str, str] | None = None
) -> str:
    """Left-aligned columns two spaces apart; a cell that equals a key of paint gets that style."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    colours = paint or {}

    def line(row: Sequence[str], header: bool = False) -> str:
        cells = []
        for text, width in zip(row, widths, strict=True):
            padding = " " * (width - len(text))
            cells.append((style(text, "bold") if header else style(text, *filter(None, [colours.get(text)]))) + padding)
        return "  ".join(cells).rstrip()

    return "\n".join([line(head, header=True), *(line(row) for row in rows)])


def bytes_text(size: int) -> str:
    """A size for people: 512 B, 1.5 KiB, 34 MiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{size} B"


def content_text(size: int, files: int) -> str:
    """What a volume or a snapshot holds, for people: 12 KiB in 3 files."""
    if not files:
        return "no files"
    return f"{bytes_text(size)} in {files} file{'s' * (files != 1)}"
