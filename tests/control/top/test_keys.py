"""Keys from bytes, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.top.keys import Keys


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]),
        (b"\r\n\x7f\x15", ["enter", "enter", "backspace", "clear"]),
        (b"\x1bj", ["escape", "j"]),
        (b"\x1b[1;5Aj", ["j"]),
        ("\u4e2d\u00e9".encode(), ["\u4e2d", "\u00e9"]),
        (b"\xff\x00\x01j", ["j"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
    ],
)
def test_keys_come_whole_and_byte_by_byte(data: bytes, expected: list[str]) -> None:
    assert Keys().feed(data) == expected
    keys = Keys()
    assert [key for byte in data for key in keys.feed(bytes([byte]))] == expected


def test_a_lone_escape_is_a_key_when_nothing_follows() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.is_unfinished
    assert keys.finish() == ["escape"]
    assert not keys.is_unfinished


@given(st.lists(st.binary(max_size=8)))
def test_no_bytes_fail_or_are_kept_without_end(pieces: list[bytes]) -> None:
    keys = Keys()
    for piece in pieces:
        assert all(key.isprintable() for key in keys.feed(piece))
        assert len(keys.finish()) <= 1
    keys.feed(b"\x1b[" + b"1" * 1000)
    assert keys.feed(b"q") in (["q"], [])
