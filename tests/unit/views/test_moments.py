"""Points in time as people write them."""

import pytest

from envkit.views.moments import parse_moment
from envkit.views.table import bytes_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", 1000.0 - 600), ("1h30m", 1000.0 - 5400), ("1.5h", 1000.0 - 5400), ("2d", 1000.0 - 172800),
        ("45s", 955.0), ("1970-01-01T00:01:00Z", 60.0), ("1700000000", 1700000000.0),
    ],
)  # fmt: skip
def test_a_moment_is_read(text: str, expected: float) -> None:
    assert parse_moment(text, now=1000.0) == expected


@pytest.mark.parametrize("text", ["", "soon", "10", "m", "5x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a point in time"):
        parse_moment(text, now=1000.0)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (34 << 20, "34 MiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert bytes_text(size) == text
