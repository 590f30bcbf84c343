"""Where a body ends, in every delivery, and what its framing may not contain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1.body import ChunkedDecoder, LengthDecoder
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.response import LAST_CHUNK, chunk
from reserve.protocol.http1.trailer import FORBIDDEN_TRAILERS
from tests.protocol.http1.delivery import LIMITS, chunked, deliver, read_body

BEHIND = b"GET /behind HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("behind", [b"", b"0", BEHIND])
def test_a_body_of_a_stated_length(behind: bytes) -> None:
    result = deliver(b"hello" + behind, lambda pieces: read_body(lambda: LengthDecoder(5), pieces))
    assert result == (b"hello", True, behind, 5, [])


def test_a_short_body_is_not_complete() -> None:
    assert deliver(b"hell", lambda pieces: read_body(lambda: LengthDecoder(5), pieces)) == (b"hell", False, b"", 4, [])
    assert LengthDecoder(0).complete


@pytest.mark.parametrize("behind", [b"", b"0\r\n", BEHIND])
@pytest.mark.parametrize(
    ("octets", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n1\r\nd\r\n2\r\n\r\n\r\n0\r\n\r\n", b"abcd\r\n"),
        (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"5;a=b\r\nhello\r\n0;z\r\n\r\n", b"hello"),
        (b'5 ;\ta = "x\\"y; z\xe9" ; b;c="" \r\nhello\r\n0\r\n\r\n'.replace(b" \r\n", b"\r\n"), b"hello"),
    ],
)
def test_chunks(octets: bytes, content: bytes, behind: bytes) -> None:
    assert chunked(octets + behind) == (content, True, behind, len(content), [])
    unfinished = chunked(octets[:-1])
    assert unfinished[:3] == (content, False, b"")


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n", b"x\r\n", b"0x5\r\n", b"+5\r\n", b"-0\r\n", b"0_0\r\n", b" 5\r\n", b"5 \r\n", b"\x0c5\r\n",
        b"5,5\r\n", b"5.0\r\n", b"5 5\r\n",
        b"5these\r\n", b"5\n", b"5\rhello\r\n", b"5\r\r\n", b"\xb2\r\n", b"0" * 17 + b"\r\n",
        b"1" + b"0" * 16 + b"\r\n", b"5;\r\n",
        b"5;=a\r\n", b"5;a b\r\n", b"5;a b@=c\r\n", b'5;a="x\r\n', b'5;a="x"y\r\n', b"5;a=\r\n", b"5;a\0b\r\n",
        b"5;a\rb\r\n",
        b"5;\nxx\r\n", b'5;a="\x1b"\r\n', b'5;a="\\\0"\r\n', b"5;a;\r\n", b"5;a \r\n", b"1\r\naX", b"1\r\na\rX",
        b"1\r\na\n", b"5\r\nhello0\r\n",
        b"0\r\n\n", b"0\r\nX\n", b"0\r\nrubbish\r\n", b"0\r\nX : y\r\n", b"0\r\n y\r\n", b"0\r\nX: y\r\n z\r\n",
        b"0\r\nX: a\rb\r\n",
        b"0\r\nX: \0\r\n", b"0\r\n: y\r\n", b"0\r\nGET /x?: HTTP/1.1\r\n", b"0\r\n\r\r\n",
        b"0\r\nContent_Length: 5\r\n",
    ],
)  # fmt: skip
def test_refused_chunks(octets: bytes) -> None:
    assert chunked(octets) == 400
    assert chunked(octets + BEHIND) == 400


def test_a_refused_body_stays_refused() -> None:
    decoder = ChunkedDecoder(LIMITS)
    for octets in (b"INVALID!\r\n", b"0\r\n\r\n"):
        with pytest.raises(RemoteError):
            decoder.feed(octets)
    assert not decoder.complete


def test_trailers_are_kept_apart_and_in_order() -> None:
    result = chunked(b"1\r\na\r\n0\r\nX-T: \t v \r\nx-t:w\r\nY:\r\n\r\n" + BEHIND)
    assert result == (b"a", True, BEHIND, 1, [("X-T", "v"), ("x-t", "w"), ("Y", "")])


@pytest.mark.parametrize("name", sorted(FORBIDDEN_TRAILERS))
def test_trailers_that_would_change_the_request(name: str) -> None:
    assert chunked(f"0\r\n{name.title()}: x\r\n\r\n".encode()) == 400


def test_limits_are_exact() -> None:
    fields = {"max_chunk_line": 6, "max_chunk_extensions": 4, "max_trailer": 8, "max_trailer_fields": 1, "max_body": 2}
    data = b"1;ab\r\na\r\n1\r\nb\r\n0;\t\r\n".replace(b"\t", b"z") + b"A: b\r\n\r\n"
    fields["max_chunk_extensions"] = 5
    assert chunked(data, Limits(**fields))[:2] == (b"ab", True)
    for name, status in (
        ("max_chunk_line", 400), ("max_chunk_extensions", 400), ("max_trailer", 431), ("max_trailer_fields", 431),
        ("max_body", 413)
    ):  # fmt: skip
        assert chunked(data, Limits(**{**fields, name: fields[name] - 1})) == status


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"5;" + b"a" * 4095, 400),
        (b"0" * 4097, 400),
        (b"0\r\nX: " + b"a" * 16384, 431),
        (b"0\r\n" + b"X: y\r\n" * 65, 431),
        (b"fffffffffffffffb\r\n", 413),
        (b"40000001\r\n", 413),
        (b"1;e\r\na\r\n" * 32769, 400),
    ],
)
def test_refused_before_the_line_or_the_section_ends(octets: bytes, status: int) -> None:
    assert read_body(lambda: ChunkedDecoder(LIMITS), [octets]) == status
    assert read_body(lambda: ChunkedDecoder(LIMITS), [octets[i : i + 1] for i in range(len(octets))]) == status


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=8), st.binary(max_size=5))
def test_what_is_written_in_chunks_is_read_back(pieces: list[bytes], behind: bytes) -> None:
    written = b"".join(b"".join(chunk(piece)) for piece in pieces) + LAST_CHUNK
    content = b"".join(pieces)
    assert chunked(written + behind) == (content, True, behind, len(content), [])


PIECES = st.sampled_from(
    [b"1\r\n", b"a", b"\r\n", b"0\r\n", b";a=b", b'"', b"\\", b"\n", b"\r", b"X: y\r\n", b"fff", b" "]
)
STREAMS = st.one_of(
    st.binary(max_size=40), st.lists(st.one_of(PIECES, st.binary(max_size=2)), max_size=12).map(b"".join)
)
SMALL = Limits(max_chunk_line=9, max_chunk_extensions=8, max_trailer=12, max_trailer_fields=1, max_body=5)


@given(STREAMS, st.sampled_from([LIMITS, SMALL]))
def test_any_octets_are_decoded_or_refused_alike_in_any_pieces(data: bytes, limits: Limits) -> None:
    chunked(data, limits)
