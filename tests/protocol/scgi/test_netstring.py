"""The head of an SCGI request: found however the input is split, and refused at the first byte that breaks a rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1.limits import Limits
from reserve.protocol.scgi.netstring import NetstringReader
from tests.protocol.http1.delivery import deliver
from tests.protocol.scgi.messages import netstring

LIMITS = Limits()


def read(pieces: list[bytes], limits: Limits = LIMITS) -> tuple[bytes, bytes] | tuple[int, str] | None:
    """The head and what follows it, or status and message of the refusal, or None."""
    reader = NetstringReader(limits)
    for number, piece in enumerate(pieces):
        try:
            block = reader.feed(piece)
        except RemoteError as error:
            assert not reader.started
            assert reader.rest == b""
            return error.status, error.message
        if block is not None:
            assert not reader.started
            return block, reader.rest + b"".join(pieces[number + 1 :])
    return None


@pytest.mark.parametrize("content", [b"", b"a\0b\0", b",", b"1:a,", bytes(range(256)), b"x" * 65536])
def test_a_head_ends_where_its_length_says(content: bytes) -> None:
    assert deliver(netstring(content) + b"body,", read) == (content, b"body,")


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_any_content_is_found(content: bytes, rest: bytes) -> None:
    assert deliver(netstring(content) + rest, read) == (content, rest)


@given(st.binary(max_size=40))
def test_any_input_has_one_outcome(data: bytes) -> None:
    deliver(data, read)


@pytest.mark.parametrize(
    ("data", "status", "part"),
    [
        (b"G", 400, "no SCGI request starts with byte 0x47; HTTP is reserve app http"),
        (b"\x16", 400, "a TLS handshake arrived"),
        (b"\x00", 400, "no SCGI request starts with byte 0x00"),
        (b":", 400, "no SCGI request starts with byte 0x3a"),
        (b"-", 400, "no SCGI request starts with byte 0x2d"),
        (b" ", 400, "no SCGI request starts with byte 0x20"),
        (b"\xb2", 400, "no SCGI request starts with byte 0xb2"),
        (b"01", 400, "byte 0x31 cannot follow '0'"),
        (b"00", 400, "byte 0x30 cannot follow '0'"),
        (b"12 ", 400, "byte 0x20 cannot follow '12'"),
        (b"12\r", 400, "byte 0x0d cannot follow '12'"),
        (b"1x", 400, "byte 0x78 cannot follow '1'"),
        (b"2:abc", 400, "byte 0x63 follows the 2 bytes of the head, and not a comma"),
        (b"0:\0", 400, "byte 0x00 follows the 0 bytes of the head"),
        (b"65537", 431, "the head is longer than 65536 bytes (--max-head)"),
        (b"99999", 431, "--max-head"),
    ],
)
def test_a_broken_rule_is_refused_at_its_first_byte(data: bytes, status: int, part: str) -> None:
    outcome = deliver(data, read)
    assert outcome is not None
    assert outcome[0] == status
    assert part in str(outcome[1])
    assert deliver(data + b"more", read) == outcome
    assert read([data[:-1]]) is None


def test_what_is_buffered_can_be_counted_and_shown() -> None:
    reader = NetstringReader(LIMITS)
    assert (reader.started, reader.buffered, reader.prefix) == (False, 0, b"")
    assert reader.feed(b"10:abc") is None
    assert (reader.started, reader.buffered, reader.prefix) == (True, 6, b"abc")
    assert reader.feed(b"defghij,rest") == b"abcdefghij"
    assert (reader.started, reader.buffered, reader.rest) == (False, 0, b"rest")


def test_a_refused_head_is_kept_for_its_log_line() -> None:
    reader = NetstringReader(LIMITS)
    with pytest.raises(RemoteError):
        reader.feed(b"3:abc;")
    assert (reader.refused, reader.started) == (b"abc;", False)
