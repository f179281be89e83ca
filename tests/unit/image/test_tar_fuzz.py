"""Damage done at random: the reader and the unpacker fail only in ways that they mean to."""

from __future__ import annotations

import io
import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envkit.errors import EnvkitError
from envkit.host.idmap import IdMap
from envkit.image.limits import Limits
from envkit.image.tar import CHARACTER, DIRECTORY, HARDLINK, SYMLINK, Entry
from envkit.image.tarwrite import archive
from envkit.image.unpack import unpack

ENTRIES = [
    Entry("d", DIRECTORY, mode=0o755), Entry("d/" + "n" * 140, size=700, mtime=5), Entry("l", SYMLINK, linkname="d"),
    Entry("h", HARDLINK, linkname="d/" + "n" * 140), Entry("d/.wh.gone"), Entry("null", CHARACTER, major=1, minor=3),
    Entry("x", size=3, xattrs={"user.a": b"1"}),
]  # fmt: skip
WHOLE = b"".join(archive((entry, [b"z" * entry.size]) for entry in ENTRIES))


def mend(data: bytearray) -> None:
    """Put the right checksum into every block that looks like a header, so that damage gets past that check."""
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


@pytest.mark.root
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=12),
    st.booleans(), st.integers(0, len(WHOLE)),
)  # fmt: skip
def test_damage_is_an_error_or_harmless(changes: list[tuple[int, int]], mended: bool, cut: int) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    if mended:
        mend(data)
    data = data[: cut or None] if cut % 3 == 0 else data
    with tempfile.TemporaryDirectory(prefix="envkit-test-") as base:
        root = os.path.join(base, "root")
        os.mkdir(root)
        try:
            unpack(io.BytesIO(bytes(data)), root, IdMap("identity"), limits=Limits(bytes=1 << 24, entries=1000))
        except EnvkitError as error:
            assert error.summary
        assert os.listdir(base) == ["root"]
