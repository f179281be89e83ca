"""Multiplexed streams, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envkit.backend.engine_api.duplex import Frames


def framed(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in parts)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20))), st.lists(st.integers(1, 7)))
def test_frames_come_out_as_they_went_in(parts: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data, frames, found = framed(parts), Frames(True), []
    for size in [*cuts, len(data)]:
        found += list(frames.feed(data[:size]))
        data = data[size:]
    for stream in (1, 2):
        sent = b"".join(part for number, part in parts if number == stream)
        assert b"".join(part for number, part in found if number == stream) == sent


def test_a_terminal_is_not_taken_apart() -> None:
    assert list(Frames(False).feed(b"\x01\0\0\0\0\0\0\x01x")) == [(1, b"\x01\0\0\0\0\0\0\x01x")]


def test_what_is_no_frame_is_said() -> None:
    with pytest.raises(ValueError, match="not a frame"):
        list(Frames(True).feed(b"hello, world"))
