"""The head of a uwsgi request: found however the input is split, and refused as soon as it breaks a rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1.limits import Limits
from reserve.protocol.uwsgi.packet import PacketReader, read_variables
from tests.protocol.http1.delivery import deliver
from tests.protocol.uwsgi.messages import encode, packet

LIMITS = Limits()
SMALL = Limits(max_head=128)


def read(pieces: list[bytes], limits: Limits = LIMITS) -> tuple[bytes, bytes] | tuple[int, str] | None:
    """The head and what follows it, or status and message of the refusal, or None."""
    reader = PacketReader(limits)
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


@pytest.mark.parametrize("content", [b"", b"abc", bytes(range(256)), b"x" * 65535])
def test_a_head_ends_where_its_size_says(content: bytes) -> None:
    assert deliver(packet(content) + b"body", read) == (content, b"body")
    assert deliver(packet(content, 0, 7) + b"body", read) == (content, b"body")


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_any_content_is_found(content: bytes, rest: bytes) -> None:
    assert deliver(packet(content) + rest, read) == (content, rest)


@given(st.binary(max_size=40))
def test_any_input_has_one_outcome(data: bytes) -> None:
    deliver(data, read)


@pytest.mark.parametrize(
    ("data", "status", "part"),
    [
        (b"G", 501, "the modifier1 of the request is 71; HTTP is reserve app http; only 0, WSGI, is served"),
        (b"\x05", 501, "the modifier1 of the request is 5; only 0"),
        (b"\xff", 501, "the modifier1 of the request is 255"),
        (b"\x16", 400, "a TLS handshake arrived"),
        (b"\x00\x81\x00", 431, "the head is longer than 128 bytes (--max-head)"),
        (b"\x00\x00\x01", 431, "--max-head"),
    ],
)
def test_a_broken_rule_is_refused_at_its_first_byte(data: bytes, status: int, part: str) -> None:
    outcome = deliver(data, lambda pieces: read(pieces, SMALL))
    assert outcome is not None
    assert outcome[0] == status
    assert part in str(outcome[1])
    assert deliver(data + b"more", lambda pieces: read(pieces, SMALL)) == outcome
    assert read([data[:-1]], SMALL) is None


def test_what_is_buffered_can_be_counted_and_shown() -> None:
    reader = PacketReader(LIMITS)
    assert (reader.started, reader.buffered, reader.prefix) == (False, 0, b"")
    assert reader.feed(b"\0\x0a\0\0abc") is None
    assert (reader.started, reader.buffered, reader.prefix) == (True, 7, b"abc")
    assert reader.feed(b"defghijrest") == b"abcdefghij"
    assert (reader.started, reader.buffered, reader.rest) == (False, 0, b"rest")


def test_variables_are_read_in_order() -> None:
    variables = [("A", "b"), ("", ""), ("A", "\xe9"), ("L", "x" * 60000)]
    assert read_variables(encode(*variables)) == (["A", "", "A", "L"], ["b", "", "\xe9", "x" * 60000], "")
    assert read_variables(b"") == ([], [], "")


def test_a_size_beyond_the_end_is_found_at_every_place() -> None:
    block = encode(("AB", "cd"), ("EF", "gh"))
    for end in range(len(block)):
        names, values, wrong = read_variables(block[:end])
        assert (wrong == "") == (end in (0, 8))
        assert list(zip(names, values, strict=True)) == [("AB", "cd")][: end // 8]
    assert read_variables(b"\x02\0AB\xff\xffcd") == ([], [], "the value of 'AB'")
    assert read_variables(b"\xff\xffAB") == ([], [], "the last name")


@given(st.lists(st.tuples(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))))
def test_any_variables_are_read_back(variables: list[tuple[str, str]]) -> None:
    names, values, wrong = read_variables(encode(*variables))
    assert (list(zip(names, values, strict=True)), wrong) == (variables, "")
